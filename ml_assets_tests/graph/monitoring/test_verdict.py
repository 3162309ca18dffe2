"""Drift: what a verdict rests on and says; a shifted batch drifts, a calm one does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from ml_assets.graph.monitoring import history, samples
from ml_assets.graph.monitoring.measuring import measured, measures
from ml_assets.graph.monitoring.verdict import direction, judge, judged, weights
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.ml.drift_measures import Measure, Measured
from ml_assets.ml.reference import Reference
from ml_assets.sources.evidently_reports import read_report
from ml_assets.spec.operation import Monitoring
from ml_assets.tables import training_sets, versions
from ml_assets.tables.drift import BatchDrift
from ml_assets_tests.conftest import Project, check_results, failure_text, loans


def one(drifted: bool, ignored: bool = False, score: float = 0.3) -> Measured:
    return Measured(Measure("number", "wasserstein", 0.1, ignored=ignored), score, drifted, 0.1, 600, 1000)


def verdict(
    found: Mapping[str, Measured], importance: Mapping[str, float] | None = None, limit: float = 0.5
) -> BatchDrift:
    return judge(found, dict.fromkeys(found, "mean up 1 std"), importance or {}, limit, 600, 1000)


def test_importance_is_shared_out() -> None:
    assert weights(["a", "b", "prediction"], {"a": 0.3, "b": -0.1}) == pytest.approx(
        {"a": 2 / 3, "b": 0.0, "prediction": 1 / 3}
    ), "what helps nothing has none; the prediction has that of an average feature"
    assert weights(["a", "b"], {}) == {"a": 0.5, "b": 0.5}
    assert weights(["a", "b"], {"a": float("nan"), "b": 0.2, "gone": 9.0}) == {"a": 0.0, "b": 1.0}
    assert weights(["prediction"], {"a": 1.0}) == {"prediction": 1.0}


def test_what_the_model_rests_on_decides() -> None:
    moved = {"a": one(True), "b": one(False), "c": one(False), "prediction": one(False)}
    assert verdict(moved).weighted_share == pytest.approx(0.25)
    assert not verdict(moved).drifted
    heavy = verdict(moved, {"a": 0.3, "b": 0.01, "c": -0.2})
    assert (heavy.drifted, heavy.share) == (True, 0.25)
    light = verdict({**moved, "b": one(True), "c": one(True), "a": one(False)}, {"a": 0.3, "b": 0.01})
    assert (light.drifted, light.share) == (False, 0.5)
    assert verdict({"a": one(True), "b": one(False)}, limit=0.5).drifted, "the limit itself is drift"


def test_a_column_that_lost_its_values_is_drift_whatever_its_importance() -> None:
    rng = np.random.default_rng(3)
    old = pd.DataFrame({"a": rng.normal(size=400), "b": rng.normal(size=400), "prediction": rng.random(400)})
    new = old.assign(b=np.nan)
    reference, importance = Reference(old, {}), {"a": 0.5, "b": 0.0}

    def found(**rules: object) -> BatchDrift:
        monitoring = Monitoring.model_validate(rules)
        how = measures({"a": "number", "b": "number"}, monitoring.columns)
        return judged(new, reference, how, importance, monitoring, 400)

    assert found().drifted
    assert found().weighted_share == 0
    assert found().why.startswith(
        "Drift: b lost its values; the column that moved carries 0% of the model's importance (limit 50%)"
    )
    assert "no values any more: from 100% to 0% of the rows" in found().why
    assert not found(columns={"b": {"ignore": True}}).drifted


def test_an_ignored_column_is_measured_and_has_no_say() -> None:
    found = verdict({"a": one(True, ignored=True), "b": one(False)}, {"a": 1.0})
    assert (found.drifted, found.share, found.weighted_share) == (False, 0.0, 0.0)
    assert {c.column: (c.drifted, c.importance) for c in found.columns} == {"a": (True, 0.0), "b": (False, 1.0)}
    nothing = verdict({"a": one(True, ignored=True)})
    assert (nothing.drifted, nothing.share) == (None, None)
    assert "ignores every column" in nothing.why


def test_the_sentence_names_the_most_important_columns_first() -> None:
    found = verdict({name: one(True, score=1.0) for name in "abcd"}, {"a": 0.1, "b": 0.5, "c": 0.2, "d": 0.2})
    assert found.why.startswith(
        "Drift: the 4 columns that moved carry 100% of the model's importance (limit 50%): b (50%)"
    )
    assert found.why.endswith("; and 1 more")
    assert "moved by 1 (limit 0.1), mean up 1 std, 600 rows against 1,000" in found.why
    assert verdict({"a": one(False)}).why == "No drift: none of 1 columns has moved"


def test_a_batch_of_few_rows_gets_no_verdict() -> None:
    frame = pd.DataFrame({"a": [1.0], "prediction": [0.5]})
    found = judged(frame, Reference(frame, {}), measures({"a": "number"}, {}), {}, Monitoring(), 99)
    assert (found.drifted, found.columns) == (None, [])
    assert found.why == "No verdict: 99 rows are fewer than monitoring.min_rows (100)"
    assert found.as_row("1", "1.0.0", None, None)["weighted_share"] is None


def number(mean: float, std: float) -> pd.Series:
    return pd.Series(mean + std * np.array([-1.0, 1.0] * 500))


@pytest.mark.parametrize(
    ("current", "reference", "said"),
    [
        (number(15, 10), number(10, 10), "mean up 0.5 std, from 10 to 15"),
        (number(-20, 10), number(10, 10), "mean down 3 std, from 10 to -20"),
        (number(10, 15), number(10, 10), "wider: std from 10 to 15"),
        (number(10, 5), number(10, 10), "narrower: std from 10 to 5"),
        (number(3, 0), number(2, 0), "from always 2 to 3 on average"),
        (pd.Series(["x"] * 90 + ["z"] * 10), pd.Series(["x", "y"] * 50), "'y' lost 50.0%, from 50.0% to 0.0%"),
        (pd.Series([np.nan] * 50), number(1, 1), "no values any more: from 100% to 0% of the rows"),
        (number(1, 1), pd.Series([np.nan] * 50), "values where there were none: from 0% to 100% of the rows"),
    ],
)
def test_a_direction_is_said(current: pd.Series, reference: pd.Series, said: str) -> None:
    kind = "category" if current.dtype == object else "number"
    how = measures({"a": kind}, {})["a"]
    assert direction(current, reference, measured(current, reference, how)) == said


@pytest.fixture(scope="module")
def watched(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A champion that was fitted on batches 1 to 3; batch 5 is calm, batch 6 has moved."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Project(tmp_path_factory.mktemp("watched"), instance)
        for folder in ("lake", "bundles", "incoming"):
            shutil.copytree(trained.paths.data / folder, made.paths.data / folder, dirs_exist_ok=True)
        instance.add_dynamic_partitions("loans_batches", ["1", "2", "3", "4", "5"])
        made.write(6, loans(6, shift=40.0).assign(region="B"))
        for result in (made.ingest("6"), made.watch("5", "6")):
            assert result.success, failure_text(result)
        yield made


def test_the_report_says_which_columns_and_how_far(watched: Project) -> None:
    calm, moved = watched.rows("SELECT * FROM {p}.drift_report ORDER BY batch")
    assert (calm["batch"], moved["batch"]) == ("5", "6")
    assert (calm["drifted"], moved["drifted"]) == (False, True)
    columns = {column["column"]: column for column in moved["columns"]}
    assert {name for name, column in columns.items() if column["drifted"]} >= {"income", "region", "prediction"}
    assert columns["income"]["direction"].startswith("mean up 5.1 std, from 30.1")
    assert columns["region"]["direction"].startswith("'B' gained 65.")
    assert sum(column["importance"] for column in columns.values()) == pytest.approx(1.0)
    assert max(columns, key=lambda name: columns[name]["importance"]) == "income", "by the evaluation"
    assert columns["late_share"]["reference_rows"] < columns["income"]["reference_rows"] == 600  # batch 1 has none
    assert moved["weighted_share"] > 0.9 > moved["share"]
    assert moved["why"].startswith("Drift: ")
    assert (moved["rows"], moved["reference_rows"]) == (150, 600)


def test_page_json_and_history_are_kept(watched: Project) -> None:
    moved = watched.rows("SELECT * FROM {p}.drift_report WHERE batch = '6'")[0]
    page = (watched.paths.reports / moved["html"]).read_text()
    assert "Batch 6 compared with the training data of version 1.0.0" in page
    assert "mean up 5.1 std" in page
    report = read_report(watched.paths.reports / moved["json"])
    assert (report.error, report.drifted, report.share) == ("", True, pytest.approx(moved["share"]))
    project = history.project_folder(watched.paths.evidently, "loans")
    assert json.loads((project / "metadata.json").read_text())["name"] == "loans"
    assert len(json.loads((project / "dashboard.json").read_text())["panels"]) == 3
    runs = {run["name"]: run for run in map(json.loads, map(str, [f.read_text() for f in project.glob("snapshots/*")]))}
    assert set(runs) == {"5", "6"}, "one run for each batch, made again or not"
    assert runs["5"]["timestamp"] < runs["6"]["timestamp"]
    assert runs["6"]["metadata"]["why"] == moved["why"]


def test_the_sample_is_the_same_each_time_and_says_what_predictions_say(watched: Project) -> None:
    with Lake(watched.paths.lake, read_only=True) as lake:
        model = versions.need_alias(lake, "loans", "champion")
        by = samples.watched(lake, watched.paths, "loans", model, 1000)
        first, rows = samples.sample_of(lake, "loans", "5", by, 100)
        again, _ = samples.sample_of(lake, "loans", "5", by, 100)
        asked, _ = samples.sample_of(lake, "loans", "2", by, 100)  # which nobody scored
        pd.testing.assert_frame_equal(first, again)
        assert (rows, len(first), len(asked)) == (150, 100, 100)
        assert asked["prediction"].notna().all()
        said = lake.rows("SELECT score FROM lake.loans.predictions WHERE batch = '5'")
    assert set(first["prediction"]) <= {row["score"] for row in said}


def test_a_bundle_without_a_reference_is_compared_by_its_pin(watched: Project) -> None:
    with Lake(watched.paths.lake, read_only=True) as lake:
        model = versions.need_alias(lake, "loans", "champion")
        kept = samples.watched(lake, watched.paths, "loans", model, 1000)
        of_pin = samples._of_pin(lake, "loans", model, kept.loaded, 1000, training_sets.PARTS)
    pd.testing.assert_frame_equal(kept.reference.rows, of_pin.rows)
    assert kept.reference.facts == of_pin.facts


def test_an_older_table_and_a_broken_history_cost_no_report(watched: Project) -> None:
    project = history.project_folder(watched.paths.evidently, "loans")
    with Lake(watched.paths.lake) as lake:
        older = {"batch": "VARCHAR", "drifted": "BOOLEAN", "columns": 'STRUCT("column" VARCHAR, score DOUBLE)[]'}
        row = {"batch": "4", "drifted": False, "columns": [{"column": "income", "score": 0.1}]}
        lake.replace([Put("loans.drift_report", lake.values(older, [row]), reshape=True)], Commit("loans/drift_report"))
    (project / "batches.json").write_text("{")
    result = watched.watch("5", "6")
    checks = check_results(result)
    assert (checks[("drift_report", "no_drift", "5")], checks[("drift_report", "no_drift", "6")]) == (True, False)
    reports = watched.rows("SELECT batch, drifted, html FROM {p}.drift_report ORDER BY batch")
    assert [(row["batch"], row["drifted"]) for row in reports] == [("4", False), ("5", False), ("6", True)]
    told = [m.metadata.get("history") for m in result.asset_materializations_for_node("loans__drift_report")]
    assert all("not kept" in str(one.value) for one in told if one is not None)
    assert sum(one is not None for one in told) == 2
    (project / "batches.json").unlink()
