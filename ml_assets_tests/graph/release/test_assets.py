"""Evaluation and decision on real materializations."""

from __future__ import annotations

import json

import pytest
from dagster import AssetCheckKey, AssetKey

from ml_assets.errors import ModelError
from ml_assets.graph.release.decision import approve, findings, pending
from ml_assets.graph.release.evaluation import COLUMNS, Finding
from ml_assets.store import registry
from ml_assets.store.lake import Commit, Lake, Rows
from ml_assets.store.pins import Pin, share_seen_before
from ml_assets.store.registry import now
from ml_assets_tests.conftest import Project, check_results, failure_text, loans


def test_the_evaluation_has_every_scope(trained: Project) -> None:
    rows = trained.rows("SELECT * FROM {p}.evaluation_report")
    assert {row["scope"] for row in rows} == {
        *("test", "train", "baseline", "gain_over_baseline", "slice", "calibration"),
        *("noise", "missing", "importance", "single", "identical"),
    }
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows if row["scope"] == "test")
    assert {row["slice"] for row in rows if row["scope"] == "importance"} == {
        *("income", "region", "signed_hour", "unemployment", "late_share")
    }
    test = next(row for row in rows if row["scope"] == "test" and row["metric"] == "roc_auc")
    assert 0.7 < test["low"] < test["value"] < test["high"]
    assert test["rows"] == 150
    slices = {row["slice"]: row["rows"] for row in rows if row["scope"] == "slice"}
    assert set(slices) == {"A", "B", "C"}
    assert sum(slices.values()) == 150
    assert next(row["value"] for row in rows if row["scope"] == "baseline") == 0.5


def test_the_pages_are_whole(trained: Project) -> None:
    folder = trained.paths.reports / "loans" / "evaluation"
    assert sorted(file.name for file in folder.iterdir()) == ["1.0.0.evidently.html", "1.0.0.html", "1.0.0.md"]
    for page in folder.glob("*.html"):
        assert "<html" in page.read_text()[:500].lower()
    assert 'href="1.0.0.md"' in (folder / "1.0.0.html").read_text()
    assert "`sklearn." in (folder / "1.0.0.md").read_text()


def test_metadata_that_people_look_at(trained: Project) -> None:
    event = trained.instance.get_latest_materialization_event(AssetKey(["loans", "evaluation_report"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert isinstance(metadata["test_roc_auc"].value, float)
    assert str(metadata["picture"].value).startswith("![evaluation of version 1.0.0](data:image/png;base64,")
    assert str(metadata["page"].value) == "http://127.0.0.1:3001/loans/evaluation/1.0.0.html"
    assert str(metadata["model_card"].value) == "http://127.0.0.1:3001/loans/evaluation/1.0.0.md"
    assert "| test | roc_auc |" in str(metadata["metrics"].value)
    assert "| region=A |" in str(metadata["slices"].value)
    assert max(len(str(metadata[table].value)) for table in ("metrics", "slices")) < 1000  # shown without a click
    plotted = ("gain_over_baseline", "train_roc_auc", "calibration_ece", "noise_flips", "largest_importance")
    assert all(isinstance(metadata[name].value, float) for name in plotted)


def test_a_sound_pipeline_raises_no_alarm(trained: Project) -> None:
    key = AssetKey(["loans", "evaluation_report"])
    check = AssetCheckKey(key, "no_leak_is_suspected")
    event = trained.instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check].event
    assert event is not None
    evaluated = event.asset_check_evaluation
    assert evaluated is not None
    assert evaluated.passed
    assert str(evaluated.metadata["strongest_feature"].value).startswith("income: roc_auc 0.")


def test_an_evaluation_of_before_there_were_notes_is_read(lake: Lake) -> None:
    columns = {name: kind for name, kind in COLUMNS.items() if name != "note"}
    row = {"version": "1.0.0", "evaluated_at": now(), "scope": "test", "metric": "roc_auc", "value": 0.7, "rows": 9}
    lake.append([Rows("p.evaluation_report", columns, [row])], Commit("t"))
    assert findings(lake, "p", "1.0.0") == [Finding("test", "roc_auc", 0.7, 9)]


def test_rows_that_were_trained_on_are_counted(lake: Lake) -> None:
    features = [
        *({"batch": "1", "row_id": row, "a": row, "b": None} for row in range(4)),
        *({"batch": "2", "row_id": row, "a": row, "b": None} for row in (0, 1, 8, 9)),
    ]
    labels = [
        {"batch": row["batch"], "row_id": row["row_id"], "y": row["a"] != 1 or row["batch"] == "1"} for row in features
    ]
    lake.append(
        [Rows("p.features", {"batch": "VARCHAR", "row_id": "BIGINT", "a": "BIGINT", "b": "DOUBLE"}, features)],
        Commit("t"),
    )
    lake.append(
        [Rows("p.validated_data", {"batch": "VARCHAR", "row_id": "BIGINT", "y": "BOOLEAN"}, labels)], Commit("t")
    )
    pin = Pin(
        "x", lake.snapshot(), {"train": ["1"], "validation": ["1"], "test": ["2"]}, {}, {"a": "number", "b": "number"},
        "y", {"by": "batch", "validation": 1, "test": 1}, 0,
    )  # fmt: skip
    assert share_seen_before(lake, "p", pin) == 0.25  # row 0; the features of row 1 have another label there


def test_the_first_version_is_promoted_with_its_gates(trained: Project) -> None:
    (row,) = trained.rows("SELECT * FROM {p}.champion")
    assert (row["decision"], row["version"], row["previous_champion"]) == ("promoted", "1.0.0", None)
    assert [gate["gate"] for gate in json.loads(row["gates"])] == ["metrics.roc_auc", "champion", "slices"]
    (event,) = trained.rows("SELECT * FROM {p}.alias_events")
    assert (event["alias"], event["version"], event["run_id"]) == ("champion", "1.0.0", row["run_id"])


def prepare(project: Project) -> None:
    for batch in (1, 2, 3):
        project.write(batch)
    assert project.ingest("1", "2", "3").success


def test_a_refused_version_stays_challenger_and_says_by_how_much(project: Project) -> None:
    prepare(project)
    assert project.train().success
    project.write(3, loans(30))
    assert project.ingest("3").success
    project.spec_dict["gates"]["metrics"]["roc_auc"]["min"] = 0.999
    result = project.train()
    assert result.success  # a refusal is a decision, not a failure
    assert not check_results(result)[("evaluation_report", "gates_passed", None)]
    row = project.rows("SELECT * FROM {p}.champion ORDER BY decided_at")[-1]
    assert row["decision"] == "refused"
    assert row["why"].startswith("metrics.roc_auc: roc_auc >= 0.999, found 0.")
    assert row["previous_champion"] == "1.0.0"
    with Lake(project.paths.lake, read_only=True) as lake:
        assert registry.need_alias(lake, "loans", "champion").version == "1.0.0"
        challenger = registry.need_alias(lake, "loans", "challenger")
        assert challenger.version == row["version"] != "1.0.0"
    compared = project.rows(
        "SELECT scope, low, value, high FROM {p}.evaluation_report WHERE scope = 'gain_over_champion'"
    )
    assert len(compared) == 1
    assert compared[0]["low"] <= compared[0]["high"]


def test_without_any_champion_nothing_scores_and_the_error_says_where_to_look(project: Project) -> None:
    prepare(project)
    project.spec_dict["gates"]["metrics"]["roc_auc"]["min"] = 0.999
    assert project.train().success
    text = failure_text(project.watch("3"))
    assert "There is no champion yet" in text
    assert "loans.champion says why" in text


def test_manual_approval_waits_for_a_person(project: Project) -> None:
    prepare(project)
    project.spec_dict["gates"]["approval"] = "manual"
    assert project.train().success
    with Lake(project.paths.lake) as lake:
        assert list(pending(lake, "loans")) == ["1.0.0"]
        assert registry.alias(lake, "loans", "champion") is None
        with pytest.raises(ModelError, match="does not wait for approval"):
            approve(lake, "loans", "9.9.9", "because")
        made = approve(lake, "loans", "1.0.0", "looked at the slices")
        assert (made.decision, made.previous_champion) == ("promoted", None)
        assert registry.need_alias(lake, "loans", "champion").version == "1.0.0"
        assert pending(lake, "loans") == {}
    row = project.rows("SELECT * FROM {p}.champion ORDER BY decided_at")[-1]
    assert (row["why"], bool(row["by"])) == ("looked at the slices", True)


def test_a_changed_bundle_stops_the_run_and_scoring(project: Project) -> None:
    prepare(project)
    assert project.train().success
    file = project.paths.bundles / "loans" / "1.0.0" / "features.sql"
    file.write_text("SELECT 1")
    text = failure_text(project.watch("3"))
    assert "A file of the bundle was changed" in text
    assert str(file) in text
