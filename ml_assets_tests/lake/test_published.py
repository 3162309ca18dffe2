"""A catalog that is lost, old or put in place by hand costs no data: nothing is written, published or removed."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from ml_assets.errors import LakeError
from ml_assets.lake.database import sqlite_file
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.lake.recovery import recover
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets.lake.sqlite_files import CATALOG, PUBLIC_CATALOG, largest_snapshot
from ml_assets.tables.maintenance import run_maintenance
from ml_assets_tests.lake.history_helpers import rows, write


def files(folder: Path) -> dict[str, bytes]:
    """Every data file, and the published copy."""
    found = [*(folder / "data").rglob("*.parquet"), *folder.glob(PUBLIC_CATALOG)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def value(folder: Path) -> object:
    with Lake(folder, read_only=True) as lake:
        return lake.table("t.features").fetchall()


@pytest.fixture
def folder(lake: Lake) -> Path:
    """A closed lake with one batch."""
    write(lake, "features", "a", rows({1: 7}))
    lake.close()
    return lake.folder


def refused(folder: Path, match: str) -> str:
    with Lake(folder) as lake, pytest.raises(LakeError, match=match) as caught:
        write(lake, "features", "b", rows({1: 8}))
    return str(caught.value)


@pytest.mark.parametrize("how", ["missing", "empty", "without tables", "broken"])
def test_a_lost_catalog_is_refused_until_it_is_recovered(folder: Path, how: str) -> None:
    catalog = folder / CATALOG
    catalog.unlink()
    (folder / (CATALOG + "-wal")).write_bytes(b"left over" * 1000)
    if how == "without tables":
        (folder / (CATALOG + "-wal")).unlink()
        _other_database(catalog)
    elif how != "missing":
        catalog.write_bytes(b"" if how == "empty" else b"no database" * 500)
    before = files(folder)
    text = refused(folder, "cannot be opened" if how == "broken" else "catalog is lost")
    assert "ml-assets lake recover" in text
    for look in (lambda: value(folder), lambda: SqliteCatalog(folder).newest_snapshot("t")):
        with pytest.raises(LakeError, match="lake recover"):
            look()
    assert files(folder) == before
    done = recover(SqliteCatalog(folder), None, 5)
    assert (done.source.name, done.unknown_files) == (PUBLIC_CATALOG, 0)
    assert value(folder) == [("a", 1, 7)]
    with sqlite_file(catalog) as con:
        assert con.execute("FROM sqlite_query('file', 'PRAGMA journal_mode')").fetchall() == [("wal",)]
    with Lake(folder) as lake:
        write(lake, "features", "a", rows({1: 9}))
    assert value(folder) == [("a", 1, 9)]
    with pytest.raises(LakeError, match="in order"):
        recover(SqliteCatalog(folder), None, 5)


def _other_database(file: Path) -> None:
    """A SQLite file with another program's table."""
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE notes (text)")
        other.commit()


def test_without_a_published_copy_a_backup_is_the_way_back(folder: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    shutil.copy(folder / CATALOG, backup)
    for name in (CATALOG, PUBLIC_CATALOG):
        (folder / name).unlink()
    assert "recover --from BACKUP" in refused(folder, "it is missing|catalog is lost")
    with pytest.raises(LakeError, match="no copy"):
        recover(SqliteCatalog(folder), None, 5)
    recover(SqliteCatalog(folder), backup, 5)
    assert value(folder) == [("a", 1, 7)]


def test_a_catalog_older_than_its_copy_writes_and_publishes_nothing(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / CATALOG, tmp_path / "old.sqlite")
    with Lake(folder) as lake:
        newest = write(lake, "features", "a", rows({1: 8})).snapshot_id
    shutil.copy(tmp_path / "old.sqlite", folder / CATALOG)
    assert f"snapshot {newest} in the copy" in refused(folder, "older than its published copy")
    with pytest.raises(LakeError, match="newer than the catalog"):
        SqliteCatalog(folder).publish(5)
    assert largest_snapshot(folder / PUBLIC_CATALOG) == newest
    shutil.copy(folder / PUBLIC_CATALOG, folder / CATALOG)
    assert "makes a catalog of it" in refused(folder, "a published copy")
    recover(SqliteCatalog(folder), None, 5)
    assert value(folder) == [("a", 1, 8)]


def test_a_catalog_that_went_while_it_was_open_is_not_written(folder: Path) -> None:
    with Lake(folder) as lake:
        assert lake.count("t.features") == 1
        (folder / CATALOG).rename(folder / "elsewhere")
        with pytest.raises(LakeError, match="removed or replaced"):
            write(lake, "features", "a", rows({1: 8}))
        (folder / "elsewhere").rename(folder / CATALOG)
    assert value(folder) == [("a", 1, 7)]


def test_upkeep_keeps_files_that_are_older_than_the_lake_or_its_recovery(folder: Path) -> None:
    data = folder / "data/t/features/batch=a"
    with Lake(folder) as lake:  # three days old, and a killed writer's file of two days ago
        metadata = "__ducklake_metadata_lake.ducklake_snapshot"
        lake.con.execute(f"UPDATE {metadata} SET snapshot_time = '{dt.datetime.now() - dt.timedelta(days=3)}+00'")
        for name, days in (("earlier", 9), ("killed", 2)):
            (data / f"{name}.parquet").write_bytes(b"x")
            moment = time.time() - days * 86400
            os.utime(data / f"{name}.parquet", (moment, moment))
        assert run_maintenance(lake, "t", 30, dry_run=True).files_removed == 1
        run_maintenance(lake, "t", 30)
        assert (data / "earlier.parquet").exists()
        assert not (data / "killed.parquet").exists()
    (folder / CATALOG).unlink()
    shutil.copy(data / "earlier.parquet", data / "later.parquet")
    os.utime(data / "later.parquet", (moment, moment))
    assert recover(SqliteCatalog(folder), None, 5).unknown_files == 2
    with Lake(folder) as lake:
        assert run_maintenance(lake, "t", 30).files_removed == 0
    assert (data / "later.parquet").exists()


def test_a_full_disk_fails_the_copy_and_not_the_write(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(lake, "features", "a", rows({1: 7}))
    program = lake.folder / "full.py"
    program.write_text("import sys\nsys.exit('database or disk is full')")
    monkeypatch.setattr("ml_assets.lake.published.COPY", program)
    lake.close()
    assert "Everything is written" in caplog.text
    assert "disk is full" in caplog.text
    assert not (lake.folder / PUBLIC_CATALOG).exists()
    monkeypatch.undo()
    lake.append([Rows("t.log", {"n": "INTEGER"}, [{"n": 1}])], Commit("t/log"))
    lake.close()
    assert largest_snapshot(lake.folder / PUBLIC_CATALOG) == largest_snapshot(lake.folder / CATALOG)


def test_a_lake_that_may_not_be_read_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(LakeError, match="Give this user access"):
        SqliteCatalog(folder).newest_snapshot("t")
