"""Maintenance frees what nothing needs, and whatever happens to it, what a model was trained on stays exact."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from pathlib import Path

import pytest

from ml_assets.errors import LakeError
from ml_assets.lake import maintenance
from ml_assets.lake.lake import Lake
from ml_assets.lake.maintenance import SMALL_FILES
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets.lake.sqlite_files import PUBLIC_CATALOG
from ml_assets.tables import training_sets
from ml_assets.tables.audit import all_writes, last_writes
from ml_assets.tables.maintenance import run_maintenance
from ml_assets_tests.lake.history_helpers import content, log, model, rows, write
from ml_assets_tests.processes import killed, started

NOW = dt.timedelta(0)


def files(lake: Lake) -> set[Path]:
    return set((lake.folder / "data").rglob("*.parquet"))


def history(lake: Lake, writes: int = SMALL_FILES, start: int = 0) -> dict[int, dict[str, tuple[object, ...]]]:
    """Writes of every kind; returns the content of the snapshots that a model of `t` or `u` was trained on."""
    pinned = {}
    for number in range(start, start + writes):
        log(lake, number)
        if number % 2:
            write(lake, "features", "a", rows({row: number * row for row in range(5)}), code=f"v{number}")
        if number % 5 == 2:
            snapshot = lake.snapshot()
            pinned[snapshot] = content(lake, snapshot)
            model(lake, f"1.0.{number}", snapshot, pipeline="tu"[number % 2])
    return pinned


def expirable(lake: Lake, pipeline: str, keep_days: int) -> list[int]:
    return maintenance.expirable(lake, pipeline, keep_days, training_sets.pinned(lake))


def check(lake: Lake, pinned: dict[int, dict[str, tuple[object, ...]]]) -> None:
    for snapshot, expected in pinned.items():
        found = content(lake, snapshot)
        assert {name: found[name] for name in expected} == expected, snapshot


def test_pinned_snapshots_stay_exact_and_the_others_go(lake: Lake) -> None:
    write(lake, "raw_data", "z", rows({1: 1}), code="once")  # a batch whose only write expires
    pinned = history(lake)
    newest, before = content(lake), last_writes(lake, "t")
    expected, many = expirable(lake, "t", 0), files(lake)
    done = run_maintenance(lake, "t", 0, "run-1", grace=NOW)
    assert set(expected) <= set(done.snapshots)
    assert len(expected) > 10
    assert not set(done.snapshots) & set(pinned)
    check(lake, pinned)
    assert content(lake) == newest
    with pytest.raises(LakeError, match="cannot be read at snapshot"):
        lake.table("t.features", snapshot=expected[5]).fetchall()
    assert len(files(lake)) < len(many)
    assert done.files_removed == len(many - files(lake))
    assert done.files_merged >= SMALL_FILES
    after = last_writes(lake, "t")
    assert {key: after[key] for key in before} == before
    assert after["t/raw_data", "z"].code_version == "once"
    (row,) = lake.rows("FROM lake.t.maintenance")
    assert (row["snapshots_expired"], row["run_id"]) == (len(done.snapshots), "run-1")
    assert row["bytes_after"] < row["bytes_before"]
    history(lake, 4, start=100)
    run_maintenance(lake, "t", 0, grace=NOW)
    check(lake, pinned)
    again = last_writes(lake, "t")
    assert again["t/raw_data", "z"] == after["t/raw_data", "z"]
    assert again["t/features", "a"].code_version == "v103"


def test_when_a_content_came_is_still_known(lake: Lake) -> None:
    """Staleness asks whether the input has changed since, not whether it was written again."""
    for value in (1, 1, 2, 2, 2, 3):
        write(lake, "features", "a", rows({1: value}))
    run_maintenance(lake, "t", 0)
    versions = lake.rows(f"SELECT data_versions FROM {all_writes(lake, 't')} ORDER BY snapshot_id", {"prefix": "t/f"})
    found = [row["data_versions"] for row in versions if "t.features" in row["data_versions"]]
    assert [one for one, _ in groupby(found)] == list(dict.fromkeys(found))
    assert len(set(found)) == 3
    assert lake.count("t.writes") == 4, "the first of each content, and the newest"
    run_maintenance(lake, "t", 0)
    assert lake.count("t.writes") == 4


def test_what_a_pin_of_a_model_reads_is_kept(lake: Lake) -> None:
    ids = [write(lake, "features", "a", rows({1: value})).snapshot_id for value in range(4)]
    model(lake, "1.0.0", ids[0], pin_snapshot=ids[1])
    assert expirable(lake, "t", 0) == [ids[2], ids[3], ids[3] + 1], "all but the two, and the newest"


def test_nothing_goes_that_was_the_state_of_the_lake_within_keep_days(lake: Lake) -> None:
    """An old snapshot that has just been replaced may be what a running training has pinned."""
    old = write(lake, "features", "a", rows({1: 1})).snapshot_id
    older = write(lake, "features", "a", rows({1: 2})).snapshot_id
    write(lake, "features", "a", rows({1: 3}))
    catalog = "__ducklake_metadata_lake.ducklake_snapshot"
    lake.con.execute(f"UPDATE {catalog} SET snapshot_time = '2020-01-01 00:00:00+00' WHERE snapshot_id <= {older}")
    assert expirable(lake, "t", 30) == [old]
    assert run_maintenance(lake, "t", 30).snapshots == [old]
    assert lake.table("t.features", snapshot=older).fetchall() == [("a", 1, 2)]


def test_another_pipelines_snapshots_are_left_alone(lake: Lake) -> None:
    first = write(lake, "features", "a", rows({1: 1}), pipeline="u").snapshot_id
    write(lake, "features", "a", rows({1: 2}), pipeline="u")
    write(lake, "features", "a", rows({1: 2}))
    run_maintenance(lake, "t", 0, grace=NOW)
    assert lake.table("u.features", snapshot=first).fetchall() == [("a", 1, 1)]
    with pytest.raises(LakeError, match="no pipeline 'tt'"):
        run_maintenance(lake, "tt", 0)


def test_a_replaced_file_stays_for_those_who_read_it(lake: Lake) -> None:
    history(lake)
    lake.publish()
    here = files(lake)
    done = run_maintenance(lake, "t", 0)
    assert done.files_merged >= SMALL_FILES
    assert done.files_removed == 0
    assert here <= files(lake)
    public = Lake(lake.folder, read_only=True)
    assert (lake.folder / PUBLIC_CATALOG).exists()
    assert content(public) == content(lake)
    public.close()


def test_a_left_over_file_goes_after_a_day_and_never_sooner(lake: Lake) -> None:
    write(lake, "features", "a", rows({1: 1}))
    folder = lake.folder / "data/t/features/batch=a"
    young, old = folder / "young.parquet", folder / "old.parquet"
    for file in (young, old):
        file.write_bytes(b"x" * 10)
    two_days_ago = dt.datetime.now().timestamp() - 2 * 86400
    os.utime(old, (two_days_ago, two_days_ago))
    catalog = "__ducklake_metadata_lake.ducklake_snapshot"
    lake.con.execute(f"UPDATE {catalog} SET snapshot_time = '2020-01-01 00:00:00+00'")  # the lake is older
    assert run_maintenance(lake, "t", 30, grace=NOW).files_removed == 1
    assert (young.exists(), old.exists()) == (True, False)


def test_deleted_rows_are_written_out(lake: Lake) -> None:
    first = write(lake, "features", "a", rows({row: row for row in range(9)})).snapshot_id
    lake.con.execute("DELETE FROM lake.t.features WHERE row_id = 3")
    assert run_maintenance(lake, "t", 30).files_merged == 1
    assert lake.count("t.features") == 8
    assert lake.table("t.features", snapshot=first).aggregate("count(*)").fetchall() == [(9,)]
    assert run_maintenance(lake, "t", 30).files_merged == 0


def test_a_dry_run_changes_nothing(lake: Lake) -> None:
    history(lake)
    newest, here = lake.snapshot(), files(lake)
    would = run_maintenance(lake, "t", 0, dry_run=True)
    assert (lake.snapshot(), files(lake), lake.exists("t.maintenance")) == (newest, here, False)
    assert would.snapshots == expirable(lake, "t", 0)
    assert would.files_merged == SMALL_FILES


def test_the_lock_is_taken_for_one_step_at_a_time(lake: Lake) -> None:
    """Between two steps a writer gets its turn."""
    history(lake)
    turns = []

    class Watched(SqliteCatalog):
        @contextlib.contextmanager
        def write_lock(self, tables: Collection[str], timeout_s: float) -> Iterator[Callable[[], None]]:
            with super().write_lock(tables, timeout_s) as check_lock:
                yield check_lock
            with super().write_lock(tables, 0):  # fails where the lock is still held
                turns.append(lake.snapshot())

    lake.catalog = Watched(lake.folder)
    run_maintenance(lake, "t", 0)
    # Two tables: rewritten, merged, looked at again; then writes, expiry, replaced files, left-over files, the report.
    assert len(turns) >= 8


def _maintained_until_killed(folder: Path, after_s: float) -> None:
    with Lake(folder) as lake:
        history(lake, 2, start=1000)
        threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        while True:
            run_maintenance(lake, "t", 0, grace=NOW)


def test_killed_maintenance_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    pinned: dict[int, dict[str, tuple[object, ...]]] = {}
    written = None
    for number, after_s in enumerate((0.03, 0.1, 0.25)):
        with Lake(folder) as lake:
            write(lake, "raw_data", f"once-{number}", rows({1: 1}), code="once")
            pinned |= history(lake, SMALL_FILES, start=100 * number)
        assert killed(started(_maintained_until_killed, folder, after_s))
        with Lake(folder, lock_timeout_s=5) as lake:
            check(lake, pinned)
            writes = last_writes(lake, "t")
            assert [writes["t/raw_data", f"once-{n}"].code_version for n in range(number + 1)] == ["once"] * (
                number + 1
            )
            assert lake.table("t.features", batches=["a"]).aggregate("count(*)").fetchall() == [(5,)]
            written = content(lake)
    with Lake(folder) as lake:
        run_maintenance(lake, "t", 0, grace=NOW)
        check(lake, pinned)
        assert content(lake) == written
