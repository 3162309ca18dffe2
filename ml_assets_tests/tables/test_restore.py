"""An earlier state can be written again; logs and decisions cannot."""

from __future__ import annotations

import pytest

from ml_assets.errors import LakeError, SchemaChange
from ml_assets.lake.history import snapshots
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables.audit import last_writes
from ml_assets.tables.restore import plan, restore
from ml_assets_tests.lake.history_helpers import log, model, rows, write


def test_a_restored_batch_is_a_new_snapshot_that_says_so(lake: Lake) -> None:
    old = write(lake, "features", "a", rows({1: 1}), code="v1")
    write(lake, "features", "b", rows({1: 7}), code="v2")
    newest = write(lake, "features", "a", rows({1: 2, 2: 2}), code="v2").snapshot_id
    planned = plan(lake, "t.features", old.snapshot_id, "a")
    assert [(one.batch, one.rows_now, one.rows_then) for one in planned.batches] == [("a", 2, 1)]
    (made,) = restore(lake, planned, "wrong file")
    assert made > newest
    assert sorted(lake.table("t.features").fetchall()) == [("a", 1, 1), ("b", 1, 7)]
    assert lake.table("t.features", snapshot=newest, batches=["a"]).aggregate("count(*)").fetchall() == [(2,)]
    written = snapshots(lake, {}, "t", limit=1)[0]
    assert (written.asset, written.batch, written.code_version) == ("t/features", "a", "v1")
    assert written.restored is not None
    assert (written.restored["snapshot"], written.restored["why"]) == (old.snapshot_id, "wrong file")
    assert written.restored["by"]
    assert lake.batches("t.features") == ["a", "b"]
    writes = last_writes(lake, "t")
    assert writes["t/features", "a"].code_version == "v1"
    assert writes["t/features", "b"].code_version == "v2"
    extra = lake.rows("SELECT commit_extra_info ->> '$.data_versions.\"t.features\"' AS v FROM lake.snapshots()")
    assert [row["v"] for row in extra].count(old.data_version) == 2, "equal content has its earlier data version"


def test_nothing_is_written_where_nothing_differs(lake: Lake) -> None:
    old = write(lake, "features", "a", rows({1: 1})).snapshot_id
    write(lake, "features", "b", rows({1: 1}))
    assert plan(lake, "t.features", old, "a").batches == []
    write(lake, "features", "a", rows({1: 1}))
    assert plan(lake, "t.features", old, "a").batches == []


def test_a_whole_table_takes_back_its_columns_and_empties_later_batches(lake: Lake) -> None:
    write(lake, "features", "a", "SELECT 1::BIGINT AS row_id, 1 AS v, 'x' AS gone")
    old = write(lake, "features", "b", "SELECT 1::BIGINT AS row_id, 2 AS v, 'y' AS gone").snapshot_id
    write(lake, "features", "a", "SELECT 1::BIGINT AS row_id, 'text' AS v, 5 AS new", code="v2")
    write(lake, "features", "c", "SELECT 1::BIGINT AS row_id, 'text' AS v, 5 AS new", code="v2")
    planned = plan(lake, "t.features", old)
    assert [one.batch for one in planned.batches] == ["a", "b", "c"]
    restore(lake, planned, "why")
    assert lake.columns("lake.t.features") == lake.columns(f"(FROM lake.t.features AT (VERSION => {old}))")
    assert sorted(lake.table("t.features").fetchall()) == sorted(lake.table("t.features", snapshot=old).fetchall())
    assert lake.batches("t.features") == ["a", "b"]
    assert [last_writes(lake, "t")["t/features", batch].code_version for batch in "abc"] == ["v1", "v1", ""]


def test_one_batch_keeps_the_columns_of_the_others(lake: Lake) -> None:
    old = write(lake, "features", "a", "SELECT 1::BIGINT AS row_id, 1 AS v, 'x' AS gone").snapshot_id
    write(lake, "features", "a", "SELECT 1::BIGINT AS row_id, 9 AS v, 5 AS new")
    write(lake, "features", "b", "SELECT 1::BIGINT AS row_id, 9 AS v, 5 AS new")
    restore(lake, plan(lake, "t.features", old, "a"), "why")
    found = lake.rows("SELECT batch, v, gone, new FROM lake.t.features ORDER BY batch")
    assert found == [{"batch": "a", "v": 1, "gone": "x", "new": None}, {"batch": "b", "v": 9, "gone": None, "new": 5}]


def test_one_batch_whose_column_has_another_type_now_is_refused(lake: Lake) -> None:
    old = write(lake, "features", "a", "SELECT 1::BIGINT AS row_id, 1 AS v").snapshot_id
    write(lake, "features", "a", "SELECT 1::BIGINT AS row_id, 'text' AS v")
    with pytest.raises(SchemaChange, match="column v was INTEGER at snapshot") as caught:
        plan(lake, "t.features", old, "a")
    assert "without --batch" in str(caught.value)


def test_tables_that_were_written_together_go_together(lake: Lake) -> None:
    def put(value: int) -> int:
        lake.con.execute(f"CREATE OR REPLACE TEMP TABLE made AS SELECT 'a' AS batch, 1 AS row_id, {value} AS v")
        puts = [Put("t.validated_data", "made", "a"), Put("t.quarantine", "made", "a")]
        return lake.replace(puts, Commit("t/validated_data", batch="a", code_version=f"v{value}"))[0].snapshot_id

    old, _ = put(1), put(2)
    (one,) = (planned := plan(lake, "t.quarantine", old)).batches
    assert (sorted(one.tables), one.asset) == (["t.quarantine", "t.validated_data"], "t/validated_data")
    restore(lake, planned, "why")
    assert lake.table("t.validated_data").fetchall() == lake.table("t.quarantine").fetchall() == [("a", 1, 1)]
    assert last_writes(lake, "t")["t/validated_data", "a"].code_version == "v1"


def test_what_cannot_be_restored_says_why_and_what_to_do(lake: Lake) -> None:
    old = write(lake, "features", "a", rows({1: 1})).snapshot_id
    log(lake, 1)
    model(lake, "1.0.0", old)
    newest = lake.snapshot()
    for name, batch, snapshot, text in (
        ("t.feature", None, old, "did you mean 't.features'?"),
        ("t.trained_model", None, old, "ml-assets models rollback t, or models promote t VERSION"),
        ("t.trials", None, old, "its rows are only ever added"),
        ("t.features", "aa", old, "did you mean 'a'?"),
        ("t.features", None, 999, "There is no snapshot 999"),
    ):
        with pytest.raises(LakeError) as caught:
            plan(lake, name, snapshot, batch)
        assert text in str(caught.value)
    assert lake.snapshot() == newest
