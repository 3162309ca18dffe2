"""A move takes along all that a pipeline goes on with, and nothing that is half. test_cluster.py moves to servers."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import pytest

from ml_assets.errors import LakeError
from ml_assets.lake import copying
from ml_assets.lake.backup import backup
from ml_assets.lake.copying import LakeFiles
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.lake.move import move
from ml_assets.lake.paths import Paths
from ml_assets.lake.postgres import PostgresCatalog
from ml_assets.lake.sqlite_files import rows
from ml_assets.lake.storage import FolderStorage
from ml_assets_tests.lake.history_helpers import LOG
from ml_assets_tests.lake.kept import project, quiet, states
from ml_assets_tests.postgres import Server, server

__all__ = ["project"]


@pytest.fixture
def running() -> Iterator[Server]:
    with server() as started:
        yield started


@pytest.fixture
def there(tmp_path: Path) -> Paths:
    """Where it goes."""
    return Paths(tmp_path / "q", tmp_path / "q/data")


def test_what_is_not_finished_goes_along_unless_somebody_writes_it(
    project: Paths, there: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, closed, opened = (
        "searches/t/tree-1a/00000",
        "serving/t/2026-01-02T03/a-1.log",
        "serving/t/2026-01-02T03/b-1.log",
    )
    for name in (trial, closed, opened):
        (project.data / name).parent.mkdir(parents=True, exist_ok=True)
        (project.data / name).write_text(f"{name}\n")
    copy = copying._written

    def written(source: BufferedIOBase, new: Path) -> tuple[str, int]:
        with (project.data / opened).open("a") as log:
            log.write("the next answer\n")
        return copy(source, new)

    monkeypatch.setattr(copying, "_written", written)
    assert move(project.place, there.place, quiet, 5).copied.damaged == []
    for name in (trial, closed):
        assert (there.data / name).read_text() == f"{name}\n"
    assert not (there.data / opened).exists(), "its server ships it"


def inlined(paths: Paths) -> None:
    """Two rows that are in the catalog itself, as DuckLake keeps few rows by default."""
    with Lake.of(paths) as lake:
        of_table = "schema => 't', table_name => 'trials'"
        lake.con.execute(f"CALL lake.set_option('data_inlining_row_limit', 10, {of_table})")
        lake.append([Rows("t.trials", LOG, [{"n": 7, "said": "a"}, {"n": 8, "said": "b"}])], Commit("t/candidate_x"))
    export = copying.exported(paths.catalog, paths.root)
    assert export is not None
    assert rows(export.file, "SELECT name FROM sqlite_master WHERE name LIKE 'ducklake_inlined_data_%_4'")


def test_rows_in_the_catalog_are_backed_up_and_moved_to_a_server_once_they_are_in_files(
    project: Paths, there: Paths, running: Server
) -> None:
    inlined(project)
    before = states(project)
    target = FolderStorage(there.root / "backup")
    backup(project.place, target, quiet, 5)
    assert states(Paths(project.root, target.folder)) == before
    server = LakeFiles(PostgresCatalog(running.database(), there.lake), FolderStorage(there.data))
    with pytest.raises(
        LakeError, match=r"rows of the lake are in the catalog itself(.|\n)*ducklake_flush_inlined_data"
    ):
        move(project.place, server, quiet, 5)
    with Lake.of(project) as lake:
        lake.con.execute("CALL ducklake_flush_inlined_data('lake')")
    assert move(project.place, server, quiet, 5).snapshots == len(before) + 1
    with Lake(there.lake, read_only=True, catalog=server.catalog) as lake:
        assert lake.rows("SELECT n FROM lake.t.trials WHERE n > 6 ORDER BY n") == [{"n": 7}, {"n": 8}]


def test_without_a_lake_the_next_step_is_said(project: Paths, there: Paths) -> None:
    with pytest.raises(LakeError, match=r"no lake yet(.|\n)*`ml-assets run PIPELINE`"):
        move(there.place, project.place, quiet, 5)
