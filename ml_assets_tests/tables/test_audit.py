"""What the snapshots say about each asset and batch."""

from __future__ import annotations

from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables import ingest_errors
from ml_assets.tables.audit import last_writes, read_trail
from ml_assets.tables.ingest_errors import FailedIngest

BATCH = ("p/features", "1")


def write(lake: Lake, value: int | None, run: str, batch: str = "1") -> int:
    where = "" if value is not None else " WHERE false"
    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE made AS SELECT '{batch}' AS batch, {value or 0} AS a{where}")
    commit = Commit("p/features", run, f"code of {run}", batch)
    (written,) = lake.replace([Put("p.features", "made", batch)], commit)
    return written.snapshot_id


def test_the_newest_write_and_the_moment_of_its_content(lake: Lake) -> None:
    first, second, third = write(lake, 1, "a"), write(lake, 1, "b"), write(lake, 2, "c")
    trail = read_trail(lake, "p")
    newest = trail.writes[BATCH]
    assert (newest.snapshot_id, newest.run_id, newest.code_version) == (third, "c", "code of c")
    assert newest.data_versions == {"p.features": trail.content(BATCH)}
    assert trail.content(BATCH, first) == trail.content(BATCH, second) != trail.content(BATCH, third)
    assert trail.content(BATCH, first - 1) is None
    assert trail.contents[BATCH][0] == [first, third]
    assert trail.changed_at(BATCH) == third
    assert last_writes(lake, "other") == {}


def test_a_write_without_rows_is_a_write(lake: Lake) -> None:
    first = write(lake, 1, "a")
    second = write(lake, None, "b", batch="2")
    assert second > first
    assert last_writes(lake, "p")[("p/features", "2")].run_id == "b"
    assert write(lake, None, "c", batch="2") > second


def test_a_failure_is_no_write(lake: Lake) -> None:
    write(lake, 1, "a")
    ingest_errors.record(lake, "p", [FailedIngest("wrong", "1")], Commit("p/features", "b", "code of b", "1"))
    trail = read_trail(lake, "p")
    assert trail.writes[BATCH].run_id == "a"
    assert trail.failures[BATCH].code_version == "code of b"


def test_tables_of_one_write_share_it(lake: Lake) -> None:
    lake.con.execute("CREATE TEMP TABLE made AS SELECT '1' AS batch")
    puts = [Put("p.validated_data", "made", "1"), Put("p.quarantine", "made", "1")]
    lake.replace(puts, Commit("p/validated_data", "a", "v", "1"))
    lake.replace(puts[1:], Commit("p/quarantine", "b", "v", "1"))
    writes = last_writes(lake, "p")
    assert (writes[("p/validated_data", "1")].run_id, writes[("p/quarantine", "1")].run_id) == ("a", "b")
