"""What is read of each batch is read again only where its files are others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import audit, remembered
from ml_assets.tables.table import Column, Table

GAUGES = Table(
    "gauges", "A reading.", (Column("batch", "VARCHAR", "The batch."), Column("height", "BIGINT", "In cm.")), "x"
)
SQL = "SELECT batch, count(*) AS rows, max(height) AS highest FROM {t} WHERE height > 0 GROUP BY batch"


def write(lake: Lake, batch: str, *heights: int) -> None:
    rows = [{"batch": batch, "height": height} for height in heights]
    lake.replace([GAUGES.put("tides", lake.values(GAUGES.types, rows), batch)], Commit("tides/gauges", "r", "v", batch))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str] | None]:
    """The batches of each read of the table."""
    asked: list[Sequence[str] | None] = []
    query = Table.query

    def spy(self: Table, lake: Lake, pipeline: str, sql: str, batches: Any = None) -> list[dict[str, Any]]:
        asked.append(batches)
        return query(self, lake, pipeline, sql, batches=batches)

    monkeypatch.setattr(Table, "query", spy)
    return asked


def as_ducklake_reads(lake: Lake) -> list[dict[str, Any]]:
    return lake.rows(SQL.replace("{t}", "lake.tides.gauges") + " ORDER BY batch")


def test_only_batches_with_other_files_are_read_again(lake: Lake, read: list[Sequence[str] | None]) -> None:
    assert remembered.rows(lake, GAUGES, "tides", SQL) == []
    for batch in ("neap", "spring"):
        write(lake, batch, 1, 2)
    read.clear()
    first = remembered.rows(lake, GAUGES, "tides", SQL)
    assert first == as_ducklake_reads(lake)
    assert read == [["neap", "spring"]]
    assert remembered.rows(lake, GAUGES, "tides", SQL) == first
    assert len(read) == 1
    write(lake, "spring", 5)
    write(lake, "surge", 0)  # none of whose rows count
    assert remembered.rows(lake, GAUGES, "tides", SQL) == as_ducklake_reads(lake) != first
    assert read[1:] == [["spring", "surge"]]
    lake.maintain(lambda: lake.con.execute("DELETE FROM lake.tides.gauges WHERE height = 2").fetchall(), Commit("t"))
    assert remembered.rows(lake, GAUGES, "tides", SQL) == as_ducklake_reads(lake)
    assert read[2:] == [["neap"]]
    lake.maintain(
        lambda: lake.con.execute("DELETE FROM lake.tides.gauges WHERE batch = 'neap'").fetchall(), Commit("t")
    )
    assert [row["batch"] for row in remembered.rows(lake, GAUGES, "tides", SQL)] == ["spring"]


def test_all_is_read_again_where_a_column_has_changed(lake: Lake, read: list[Sequence[str] | None]) -> None:
    write(lake, "neap", 1)
    remembered.rows(lake, GAUGES, "tides", SQL)
    change = "ALTER TABLE lake.tides.gauges DROP COLUMN height"
    lake.maintain(lambda: lake.con.execute(change).fetchall(), Commit("t"))
    change = "ALTER TABLE lake.tides.gauges ADD COLUMN height BIGINT"
    lake.maintain(lambda: lake.con.execute(change).fetchall(), Commit("t"))
    read.clear()
    assert remembered.rows(lake, GAUGES, "tides", SQL) == as_ducklake_reads(lake) == []
    assert read == [["neap"]]


def test_rows_that_are_in_no_file_of_a_batch_are_read_each_time(lake: Lake) -> None:
    lake.append([GAUGES.rows("tides", [{"batch": "neap", "height": 3}])], Commit("tides/gauges"))
    lake.append([GAUGES.rows("tides", [{"batch": "neap", "height": 4}])], Commit("tides/gauges"))
    assert remembered.rows(lake, GAUGES, "tides", SQL) == [{"batch": "neap", "rows": 2, "highest": 4}]


def test_what_is_read_is_of_the_snapshot(lake: Lake) -> None:
    write(lake, "neap", 1)
    with Lake(lake.folder) as writer, lake.one_snapshot():
        assert lake.count("tides.gauges") == 1
        write(writer, "spring", 1)
        assert [row["batch"] for row in remembered.rows(lake, GAUGES, "tides", SQL)] == ["neap"]
    assert [row["batch"] for row in remembered.rows(lake, GAUGES, "tides", SQL)] == ["neap", "spring"]


def test_a_trail_is_read_on_from_its_last_write(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[int] = []
    fold = audit._fold

    def spy(trail: audit.Trail, write: audit.LastWrite, failures: str) -> None:
        folded.append(write.snapshot_id)
        fold(trail, write, failures)

    monkeypatch.setattr(audit, "_fold", spy)
    write(lake, "neap", 1)
    write(lake, "spring", 1)
    before = audit.read_trail(lake, "tides")
    assert len(folded) == 2
    assert audit.read_trail(lake, "tides").contents == before.contents
    assert len(folded) == 2
    write(lake, "spring", 2)
    after = audit.read_trail(lake, "tides")
    assert len(folded) == 3
    place = ("tides/gauges", "spring")
    assert [len(trail.contents[place][0]) for trail in (before, after)] == [1, 2]
    remembered.memory(lake).clear()
    assert audit.read_trail(lake, "tides") == after


def test_a_trail_is_read_anew_where_its_last_write_is_another(lake: Lake) -> None:
    write(lake, "neap", 1)
    trail = audit.read_trail(lake, "tides")
    kept = remembered.memory(lake)
    ((key, (last, _)),) = kept.items()
    kept[key] = (*last[:3], last[3].replace("neap", "ebb")), audit.Trail()
    assert audit.read_trail(lake, "tides") == trail


def test_a_lake_that_was_not_used_for_long_is_forgotten(lake: Lake, tmp_path: Path) -> None:
    kept = remembered.memory(lake)
    others = [Lake(tmp_path / str(number)) for number in range(remembered.MOST_LAKES)]
    for other in others[:-1]:
        remembered.memory(other)["what"] = "read"
    assert remembered.memory(lake) is kept
    remembered.memory(others[-1])
    assert remembered.memory(lake) is kept
    assert remembered.memory(others[1]) == {"what": "read"}
    assert remembered.memory(others[0]) == {}
