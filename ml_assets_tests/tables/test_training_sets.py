"""A pin gives the same rows for ever, and its parts never share a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from ml_assets.errors import TrainingError
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables import training_sets
from ml_assets.tables.training_sets import Pin

ROWS = 400


@pytest.fixture
def filled(lake: Lake) -> Iterator[Lake]:
    fill(lake, 1.0)
    return lake


def fill(lake: Lake, value: float) -> None:
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE f AS SELECT b AS batch, i AS row_id, {value} * i AS x
        FROM (VALUES ('1'), ('2'), ('3')) t(b), range({ROWS}) r(i);
        CREATE OR REPLACE TEMP TABLE v AS
        SELECT batch, row_id, row_id % 4 = 0 AS y, row_id % 10 AS customer FROM f"""
    )
    lake.replace([Put("loans.features", "f"), Put("loans.validated_data", "v")], Commit(asset="loans/features"))


def pin(lake: Lake, split: dict[str, Any]) -> Pin:
    by_batch = {"train": ["1"], "validation": ["2"], "test": ["3"]}
    batches = by_batch if split["by"] == "batch" else {part: ["1", "2", "3"] for part in training_sets.PARTS}
    rows = dict.fromkeys(training_sets.PARTS, 0)
    made = Pin("p", lake.snapshot(), batches, rows, {"x": "number"}, "CASE WHEN row_id > 0 THEN y END", split, 7)
    counts = f"SELECT part, count(*) FROM ({training_sets.rows_sql('loans', made)}) GROUP BY part"
    return replace(made, rows=dict(lake.con.execute(counts, training_sets.parameters(made)).fetchall()))


SPLITS = [
    {"by": "batch", "validation": 1, "test": 1, "group": None},
    {"by": "random", "validation": 0.2, "test": 0.25, "group": None},
    {"by": "stratified", "validation": 0.2, "test": 0.25, "group": None},
    {"by": "group", "validation": 0.2, "test": 0.3, "group": "customer"},
]


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split["by"])
def test_every_labelled_row_is_in_one_part(filled: Lake, split: dict[str, Any]) -> None:
    rows = training_sets.read(filled, "loans", pin(filled, split))
    assert len(rows) == 3 * (ROWS - 1)  # row 0 of each batch has no label
    assert not rows.duplicated(["batch", "row_id"]).any()
    assert set(rows["part"]) == {"train", "validation", "test"}
    assert training_sets.rows_in_two_parts(filled, "loans", pin(filled, split)) == 0


def test_shares_strata_and_groups_are_kept(filled: Lake) -> None:
    _, random, stratified, group = (
        training_sets.read(filled, "loans", pin(filled, split), extra=("customer",)) for split in SPLITS
    )
    assert (random["part"] == "test").mean() == pytest.approx(0.25, abs=0.05)
    shares = stratified[stratified["part"] == "test"].groupby("label").size() / stratified.groupby("label").size()
    assert shares.to_list() == pytest.approx([0.25, 0.25], abs=0.01)
    assert (group.groupby("slice_customer")["part"].nunique() == 1).all()


def test_a_pin_reads_the_same_rows_after_the_tables_changed(filled: Lake) -> None:
    kept = pin(filled, SPLITS[1])
    before = training_sets.read(filled, "loans", kept)
    fill(filled, 2.0)
    pd.testing.assert_frame_equal(training_sets.read(filled, "loans", kept), before)


def test_parts_and_order(filled: Lake) -> None:
    rows = training_sets.read(filled, "loans", pin(filled, SPLITS[0]), ("validation", "test"))
    assert set(rows["batch"]) == {"2", "3"}
    assert rows[["batch", "row_id"]].apply(tuple, axis=1).is_monotonic_increasing


def test_saved_pins_come_back_newest_first_or_by_run(filled: Lake) -> None:
    with pytest.raises(TrainingError, match="no training set yet"):
        training_sets.newest(filled, "loans")
    first = pin(filled, SPLITS[0])
    second = Pin(**{**first.__dict__, "pin_id": "q"})
    training_sets.save(filled, "loans", first, Commit(asset="loans/training_set", run_id="r1"))
    training_sets.save(filled, "loans", second, Commit(asset="loans/training_set", run_id="r2"))
    assert training_sets.newest(filled, "loans") == second
    assert training_sets.newest(filled, "loans", run_id="r1") == first
    assert training_sets.newest(filled, "loans", pin_id="p") == first


def test_an_expired_snapshot_is_named(filled: Lake) -> None:
    gone = Pin(**{**pin(filled, SPLITS[0]).__dict__, "snapshot_id": 9999})
    with pytest.raises(TrainingError, match="Snapshot 9999"):
        training_sets.read(filled, "loans", gone)


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split["by"])
def test_small_batches_are_read_together_and_large_ones_alone(
    lake: Lake, split: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake, 1.0)
    for name, made in (("features", "f"), ("validated_data", "v")):
        lake.con.execute(f"DROP TABLE lake.loans.{name}")  # to be written a batch at a time, as stages do
        for batch in ("1", "2", "3"):
            commit = Commit(asset=f"loans/{name}", batch=batch)
            lake.replace([Put(f"loans.{name}", f"(FROM {made} WHERE batch = '{batch}')", batch)], commit)
    kept = pin(lake, split)
    together = list(training_sets._by_batch(lake, "loans", kept, training_sets.PARTS, ()))
    assert len(together) == 1
    whole = training_sets.read(lake, "loans", kept)
    monkeypatch.setattr(training_sets, "READ_AT_ONCE", 2 * ROWS)
    groups = [rows.num_rows for rows in training_sets._by_batch(lake, "loans", kept, training_sets.PARTS, ())]
    assert groups == ([3 * (ROWS - 1)] if split["by"] == "stratified" else [2 * (ROWS - 1), ROWS - 1])
    pd.testing.assert_frame_equal(training_sets.read(lake, "loans", kept), whole)
    monkeypatch.setattr(training_sets, "READ_AT_ONCE", 1)
    pd.testing.assert_frame_equal(training_sets.read(lake, "loans", kept), whole)
