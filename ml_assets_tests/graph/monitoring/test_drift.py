"""Drift: a shifted batch drifts, a calm one does not."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from ml_assets.graph.monitoring.drift import Drift, _named, compare
from ml_assets.ml.bundle import Schema
from ml_assets_tests.conftest import Project, check_results, failure_text, loans

SCHEMA = Schema("binary", "late", {}, {"a": "number", "c": "category", "empty": "number"}, [], 0.5, "x.Y")


def frame(shift: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.normal(shift, 1, 2000),
            "c": rng.choice(["x", "y"], 2000, p=[0.5 + shift / 4, 0.5 - shift / 4]),
            "empty": np.nan,
            "prediction": rng.random(2000),
        }
    )


@pytest.mark.parametrize(("shift", "columns"), [(0.0, set()), (1.0, {"a", "c"})])
def test_columns_that_moved_are_found(
    tmp_path_factory: pytest.TempPathFactory, shift: float, columns: set[str]
) -> None:
    page = tmp_path_factory.mktemp("drift") / "page.html"
    found = compare(frame(shift, 1), frame(0.0, 2), SCHEMA, 0.5, 2000, page)
    assert {c.column for c in found.columns if c.drifted} == columns
    assert {c.column for c in found.columns} == {"a", "c", "prediction"}  # a column without values is left out
    assert found.drifted == (shift > 0)
    assert page.stat().st_size > 100_000
    assert all(c.method and c.threshold > 0 for c in found.columns)


def test_arguments_are_read_from_a_metric_name() -> None:
    name = "ValueDrift(column=a,b,method=Wasserstein distance (normed),threshold=0.1)"
    assert _named(name, "method") == "Wasserstein distance (normed)"
    assert _named(name, "threshold") == "0.1"


def test_the_share_decides() -> None:
    assert not Drift([], 0.5, 0, 0).columns
    assert Drift([*_columns(2, True), *_columns(2, False)], 0.5, 1, 1).drifted
    assert not Drift([*_columns(1, True), *_columns(2, False)], 0.5, 1, 1).drifted


def _columns(count: int, drifted: bool):  # type: ignore[no-untyped-def]
    from ml_assets.graph.monitoring.drift import ColumnDrift

    return [ColumnDrift("c", "m", 1.0, 0.1, drifted)] * count


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A champion of batches 1 to 3; batch 4 is calm, batch 5 has moved."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Project(tmp_path_factory.mktemp("watched"), instance)
        made.spec_dict["monitoring"]["drift_share"] = 0.3
        for batch in (1, 2, 3, 4):
            made.write(batch, loans(batch, rows=600))
        moved = loans(5, rows=600, shift=40.0).assign(region="B")
        made.write(5, moved)
        batches = ("1", "2", "3", "4", "5")
        for result in (made.ingest(*batches[:3]), made.train(), made.ingest(*batches), made.watch("4", "5")):
            assert result.success, failure_text(result)
        yield made


def test_the_report_says_which_columns_and_how_far(watched: Project) -> None:
    calm, moved = watched.rows("SELECT * FROM {p}.drift_report ORDER BY batch")
    assert (calm["drifted"], moved["drifted"]) == (False, True)
    assert {c["column"] for c in moved["columns"] if c["drifted"]} >= {"income", "region", "prediction"}
    assert moved["rows"] == 600
    assert moved["reference_rows"] == 1000  # the sample of the YAML, out of 1,200 fitted rows
    assert (watched.paths.reports / moved["page"]).exists()


def test_the_check_warns_for_the_drifted_batch_only(watched: Project) -> None:
    checks = check_results(watched.watch("4", "5"))
    assert checks[("drift_report", "no_drift", "4")]
    assert not checks[("drift_report", "no_drift", "5")]
