"""What a notebook gets: the rows that a version was trained on, without Dagster."""

from __future__ import annotations

import pytest

from ml_assets import open_lake, training_rows
from ml_assets.errors import ModelError
from ml_assets.tables import training_sets
from ml_assets_tests.conftest import Project


def test_the_rows_of_a_version_have_part_and_label(trained: Project) -> None:
    rows = training_rows("loans", "1.0.0", root=trained.root)
    with open_lake(trained.root) as lake:
        pin = training_sets.newest(lake, "loans")
        outcomes = lake.rows("SELECT batch, row_id, late_days > 10 AS late FROM lake.loans.validated_data")
    late = {(one["batch"], one["row_id"]): one["late"] for one in outcomes}
    assert dict(rows["part"].value_counts()) == pin.rows
    assert list(rows.columns[:4]) == ["batch", "row_id", "part", "label"]
    assert set(pin.features) <= set(rows.columns)
    assert rows["income"].dtype == "float64"
    assert [bool(label) for label in rows["label"]] == [
        late[key] for key in zip(rows["batch"], rows["row_id"], strict=True)
    ]
    assert len(training_rows("loans", root=trained.root)) == len(rows)
    with pytest.raises(ModelError, match=r"no model version '9\.0\.0'"):
        training_rows("loans", "9.0.0", root=trained.root)
