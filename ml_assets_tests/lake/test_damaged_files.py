"""A data file that is lost or damaged is named, and replaced by making its batch or table again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from ml_assets.errors import LakeError
from ml_assets.lake import damaged_files
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets_tests.lake.history_helpers import rows, write


def data_file(lake: Lake, table_name: str, batch: str | None = None) -> Path:
    """The one living file of a table, or of a batch of it."""
    found = lake.rows(
        f"SELECT s.path || t.path || f.path AS path {damaged_files.LIVING} AND t.table_name = $table_name "
        "AND v.partition_value IS NOT DISTINCT FROM $batch",
        {"schema": "t", "table_name": table_name, "batch": batch},
    )
    (one,) = found
    return lake.folder / "data" / one["path"]


def whole(lake: Lake, value: int) -> None:
    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE made AS SELECT {value} AS v")
    lake.replace([Put("t.names", "made")], Commit("t/names"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


@pytest.mark.parametrize("damage", [Path.unlink, cut, lambda file: file.write_bytes(b"")])
def test_making_it_again_replaces_a_damaged_file(lake: Lake, damage: Callable[[Path], object]) -> None:
    for batch in "ab":
        write(lake, "features", batch, rows({1: 5, 2: 6}))
    first = lake.snapshot()
    whole(lake, 1)
    lost, names = data_file(lake, "features", "a"), data_file(lake, "names")
    for file in (lost, names):
        damage(file)
    lake.close()
    lake.con.execute("SET enable_external_file_cache = false")  # DuckDB may still know the bytes
    found = lake.damaged_files("t")
    paths = [(one.table, one.batch, one.path) for one in found]
    assert paths == [("t.features", "a", str(lost)), ("t.names", None, str(names))]
    assert """'key:"t/features"' --partition a""" in str(found[0])
    with pytest.raises(LakeError, match=r"features cannot be read") as caught:
        lake.row_ids("t.features", "a")
    assert caught.value.where["batch"] == "a"
    write(lake, "features", "a", rows({1: 7}))
    whole(lake, 2)
    assert sorted(lake.table("t.features").fetchall()) == [("a", 1, 7), ("b", 1, 5), ("b", 2, 6)]
    assert lake.table("t.names").fetchall() == [(2,)]
    assert lake.damaged_files("t") == []
    assert lake.table("t.features", snapshot=first, batches=["b"]).fetchall() == [("b", 1, 5), ("b", 2, 6)]
    write(lake, "features", "a", rows({1: 8}))
    assert lake.count("t.features", "a") == 1


def test_a_kill_before_the_lost_file_is_off_the_list_doubles_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(lake, "features", "a", rows({1: 5, 2: 6}))
    data_file(lake, "features", "a").unlink()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(damaged_files, "end", killed)
    with pytest.raises(KeyboardInterrupt):
        write(lake, "features", "a", rows({1: 7}))
    with pytest.raises(LakeError, match="cannot be read"):
        lake.count("t.features", "a")
    monkeypatch.undo()
    write(lake, "features", "a", rows({1: 7}))
    assert lake.table("t.features").fetchall() == [("a", 1, 7)]


def test_a_log_that_cannot_be_read_is_not_thrown_away(lake: Lake) -> None:
    """Its rows cannot be made again."""
    lake.con.execute("CREATE TEMP TABLE made AS SELECT 'p' AS pin, 1 AS v")
    put = Put("t.log", "made", append=True, key=("pin",))
    lake.replace([put], Commit("t/log"))
    file = data_file(lake, "log")
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(LakeError, match="write to the lake failed") as caught:
        lake.replace([put], Commit("t/log"))
    assert "put the file back" in str(caught.value)
    file.write_bytes(content)
    lake.replace([put], Commit("t/log"))
    assert lake.table("t.log").fetchall() == [("p", 1)]


def test_a_wrong_statement_is_no_damaged_file(lake: Lake) -> None:
    with pytest.raises(duckdb.CatalogException):
        lake.con.execute("FROM lake.t.nothing")
    with pytest.raises(LakeError, match="no table"):
        lake.table("t.nothing")
