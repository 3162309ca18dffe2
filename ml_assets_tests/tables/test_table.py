"""Tables of an earlier format: read under today's names, also as they were; changed by the first write."""

from __future__ import annotations

import datetime as dt

from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.tables import maintenance, pipelines, versions
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.maintenance import MAINTENANCE
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import VERSIONS

BY = Commit("p/test")
THINGS = Table(
    "things",
    "A thing.",
    (
        Column("name", "VARCHAR", "Its name."),
        Column("triggered_by", "VARCHAR", "Who wanted it.", earlier="asked_by"),
        Column("weight", "DOUBLE", "How heavy it is, in kg."),
    ),
    written_by="a test",
    format=2,
)


def earlier(lake: Lake) -> int:
    """A row of the first format; returns its snapshot."""
    types = {"name": "VARCHAR", "asked_by": "VARCHAR"}
    (written,) = lake.append([Rows("p.things", types, [{"name": "a", "asked_by": "me"}])], BY)
    return written.snapshot_id


def test_an_earlier_format_is_read_as_if_written_today(lake: Lake) -> None:
    assert THINGS.relation(lake, "p") is None
    assert THINGS.query(lake, "p", "SELECT * FROM {t}") == []
    earlier(lake)
    expected = {"name": "a", "triggered_by": "me", "weight": None}
    assert THINGS.query(lake, "p", "SELECT * FROM {t} WHERE triggered_by = ?", ["me"]) == [expected]


def test_the_first_write_changes_the_table_and_the_past_stays_readable(lake: Lake) -> None:
    then = earlier(lake)
    lake.append([THINGS.rows("p", [{"name": "b", "triggered_by": "you", "weight": 2.5}])], BY)
    assert list(lake.columns(THINGS.sql("p"))) == ["name", "triggered_by", "weight"]
    assert [row["triggered_by"] for row in THINGS.query(lake, "p", "SELECT * FROM {t} ORDER BY name")] == ["me", "you"]
    was = lake.rows(f"SELECT * FROM {THINGS.relation(lake, 'p', then)}")
    assert was == [{"name": "a", "triggered_by": "me", "weight": None}]


def test_a_reader_needs_no_write(lake: Lake) -> None:
    types = {name: kind for name, kind in VERSIONS.types.items() if name not in ("triggered_by", "git_commit")}
    row = {"version": "1.0.0", "created_at": dt.datetime(2026, 1, 1), "asked_by": "sensor p_retrain"}
    lake.append([Rows("p.trained_model", {**types, "asked_by": "VARCHAR"}, [row])], BY)
    with Lake(lake.folder, read_only=True) as reader:
        (record,) = versions.records(reader, "p")
    assert (record["triggered_by"], record["git_commit"]) == ("sensor p_retrain", None)


def test_the_rows_of_upkeep_become_those_of_maintenance(lake: Lake) -> None:
    row = {"finished_at": dt.datetime(2026, 1, 1), "keep_days": 30}
    lake.append([Rows("p.upkeep", MAINTENANCE.types, [row])], Commit("p/upkeep"))
    assert [one["keep_days"] for one in MAINTENANCE.query(lake, "p", "SELECT keep_days FROM {t}")] == [30]
    maintenance.run_maintenance(lake, "p", keep_days=7)
    found = MAINTENANCE.query(lake, "p", "SELECT keep_days FROM {t} ORDER BY finished_at")
    assert [one["keep_days"] for one in found] == [30, 7]
    assert lake.tables() == ["p.maintenance"]


def test_a_table_of_ones_own_makes_no_pipeline(lake: Lake) -> None:
    lake.append([Rows("reports.arrivals", {"flight": "VARCHAR", "batch": "VARCHAR"}, [{"flight": "UA 1"}])], BY)
    lake.append([Rows("reports.mean", {"x": "DOUBLE"}, [{"x": 1.0}])], BY)
    assert pipelines.names(lake) == []
    lake.append([ARRIVALS.rows("p", [])], BY)
    assert pipelines.names(lake) == ["p"]
