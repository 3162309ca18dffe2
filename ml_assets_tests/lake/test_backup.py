"""A backup holds one moment of a lake while others write, costs what is new, and gives back what is lost."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
import time
from pathlib import Path

import pytest

from ml_assets.errors import LakeError
from ml_assets.lake import copying, ledger
from ml_assets.lake.backup import Backup, backup
from ml_assets.lake.check import check
from ml_assets.lake.copying import LakeFiles, Progress
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.recovery import Recovered, recover_backup
from ml_assets.lake.storage import FolderStorage
from ml_assets.tables.maintenance import run_maintenance
from ml_assets_tests.conftest import wait_until
from ml_assets_tests.lake.history_helpers import rows, write
from ml_assets_tests.lake.kept import data_files, project, quiet, states

__all__ = ["project"]


@pytest.fixture
def target(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "backup")


def back_up(paths: Paths, target: FolderStorage) -> Backup:
    return backup(paths.place, target, quiet, 5)


def put_back(paths: Paths, target: FolderStorage) -> Recovered:
    return recover_backup(paths.place, target, quiet, 5)


def test_the_second_one_copies_what_is_new(project: Paths, target: FolderStorage) -> None:
    first = back_up(project, target).copied
    assert (first.files, first.unchanged, first.damaged) == (6 + 3, 0, [])
    with Lake.of(project) as lake:
        write(lake, "features", "c", rows({1: 4}))
    with project.artifacts.reports.put("t/drift/a.html") as file:
        file.write_text("a report that was rendered again")
    second = back_up(project, target).copied
    assert (second.files, second.unchanged) == (2, 8)
    assert second.bytes == data_files(project)[-1].stat().st_size + len("a report that was rendered again")
    assert back_up(project, target).copied.files == 0


def test_a_backup_is_read_as_a_data_folder_and_never_written(project: Paths, target: FolderStorage) -> None:
    back_up(project, target)
    copy = Paths(project.root, target.folder)
    assert states(copy) == states(project)
    with Lake.of(copy) as lake, pytest.raises(LakeError, match="published copy"):
        write(lake, "features", "a", rows({1: 9}))


def test_it_is_one_moment_while_others_write(project: Paths, target: FolderStorage) -> None:
    is_done = threading.Event()

    def keep_writing() -> None:
        with Lake.of(project) as lake:
            while not is_done.is_set():
                write(lake, "features", "a", rows({1: 5}))
                time.sleep(0.01)

    def written_since(snapshot: int) -> bool:
        return max(project.catalog.newest_snapshots().values()) > snapshot

    writer, made = threading.Thread(target=keep_writing), [0]
    writer.start()
    try:
        for _ in range(3):
            made.append(back_up(project, target).snapshot_id)
            wait_until(lambda: written_since(made[-1]), 30, "a write after the backup", 0.02)
    finally:
        is_done.set()
        writer.join()
    assert made == sorted(set(made))
    copy, now = states(Paths(project.root, target.folder)), states(project)
    assert max(now) > max(copy) == made[-1]
    assert copy == {one: now[one] for one in copy}
    assert check(Paths(project.root, target.folder).place, False, quiet).faults == []


def test_what_is_lost_comes_back(project: Paths, target: FolderStorage) -> None:
    before = states(project)
    back_up(project, target)
    shutil.rmtree(project.data)
    done = put_back(project, target)
    assert (done.source, done.files.files) == (target.url, 9)
    assert states(project) == before
    assert (project.bundles / "t/1.0.0/model").read_bytes() == b"weights"
    with Lake.of(project) as lake:
        write(lake, "features", "a", rows({1: 6}))
    assert back_up(project, target).copied.files == 1 + 3  # what was put back of models and reports has new times


def test_only_what_is_damaged_is_put_back_into_a_newer_lake(project: Paths, target: FolderStorage) -> None:
    back_up(project, target)
    with Lake.of(project) as lake:
        write(lake, "features", "d", rows({1: 7}))
    before = states(project)
    lost, changed = data_files(project)[:2]
    lost.unlink()
    changed.write_bytes(changed.read_bytes()[:-9] + b"ninebytes")
    (project.bundles / "t/1.0.0/model").write_bytes(b"weighty")
    (project.reports / "t/drift/a.html").write_text("newer than the backup")
    done = put_back(project, target)
    assert (done.source, done.files.files, done.files.damaged) == (None, 3, [])
    assert states(project) == before
    assert (project.bundles / "t/1.0.0/model").read_bytes() == b"weights"
    assert (project.reports / "t/drift/a.html").read_text() == "newer than the backup"
    assert put_back(project, target).files.files == 0


def test_damage_never_reaches_a_backup(project: Paths, target: FolderStorage) -> None:
    back_up(project, target)
    before = {
        path: path.read_bytes() for path in target.folder.rglob("*") if path.is_file() and "lake/data" in str(path)
    }
    data_files(project)[0].write_bytes(b"short")
    data_files(project)[1].unlink()
    (project.bundles / "t/1.0.0/model").write_bytes(b"weighty")
    shutil.rmtree(project.reports)
    found = {one.name.split("/")[0]: one.what for one in back_up(project, target).copied.damaged}
    assert found["bundles"] == "has other bytes than when its hash was taken"
    assert found["lake"] == "is lost"
    assert {path: path.read_bytes() for path in before} == before
    assert (target.folder / "reports/t/drift/a.html").exists()
    assert (target.folder / "bundles/t/1.0.0/model").read_bytes() == b"weights"


def test_one_that_breaks_off_leaves_the_earlier_one_whole(
    project: Paths, target: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(project, target)
    before = states(Paths(project.root, target.folder))
    with Lake.of(project) as lake:
        for batch in "cde":
            write(lake, "features", batch, rows({1: 9}))

    def broken(far: Progress) -> None:
        if far.files == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "SAVE_S", 0)
    with pytest.raises(KeyboardInterrupt):
        backup(project.place, target, broken, 5)
    assert states(Paths(project.root, target.folder)) == before
    assert back_up(project, target).copied.files == 2
    assert states(Paths(project.root, target.folder)) == states(project)


def test_what_no_snapshot_needs_any_more_leaves_the_backup(project: Paths, target: FolderStorage) -> None:
    back_up(project, target)
    with Lake.of(project) as lake:
        lake.con.execute("CALL ducklake_expire_snapshots('lake', versions => [1, 2])")
    assert back_up(project, target).removed == 1
    assert states(Paths(project.root, target.folder)) == states(project)


def test_maintenance_removes_no_file_while_one_runs(project: Paths) -> None:
    with Lake.of(project) as lake:
        lake.con.execute("CALL ducklake_expire_snapshots('lake', versions => [1, 2])")
        before = data_files(project)
        with project.catalog.lock(copying.FILES_LOCK, 5, "testing"):
            assert run_maintenance(lake, "t", 30, grace=dt.timedelta()).files_removed == 0
        assert data_files(project) == before
        assert run_maintenance(lake, "t", 30, grace=dt.timedelta()).files_removed > 0


@pytest.fixture
def another(tmp_path: Path) -> Paths:
    """A project with another lake."""
    paths = Paths(tmp_path / "other", tmp_path / "other/data")
    with Lake.of(paths) as lake:
        write(lake, "features", "a", rows({1: 1}))
    return paths


def test_other_places_are_refused(project: Paths, another: Paths, target: FolderStorage, tmp_path: Path) -> None:
    back_up(project, target)
    for paths, place, text in (
        (another, target, "something else than a backup of this lake"),
        (project, FolderStorage(another.data), "something else"),
        (project, FolderStorage(project.data / "backup"), "there already"),
    ):
        with pytest.raises(LakeError, match=text):
            back_up(paths, place)
    with pytest.raises(LakeError, match="another lake"):
        put_back(another, target)
    with pytest.raises(LakeError, match="no backup"):
        put_back(project, FolderStorage(tmp_path / "nowhere"))
    shutil.copytree(project.lake, tmp_path / "earlier")
    with Lake.of(project) as lake:
        write(lake, "features", "a", rows({1: 8}))
    back_up(project, target)
    shutil.rmtree(project.lake)
    shutil.copytree(tmp_path / "earlier", project.lake)
    with pytest.raises(LakeError, match="writes that the lake does not have"):
        back_up(project, target)


def test_a_copy_that_arrives_with_other_bytes_is_refused(
    project: Paths, target: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "sha256", lambda *_: "of other bytes")
    with pytest.raises(LakeError, match="other bytes than what was copied"):
        back_up(project, target)


def test_places_are_equal_by_what_they_are(project: Paths) -> None:
    assert project.place == LakeFiles(project.catalog, FolderStorage(project.data))
