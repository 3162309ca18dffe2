"""Evaluation and decision on real materializations."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest

from ml_assets.graph.release.promotion import approvals
from ml_assets.graph.retraining import observed
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.pipeline_summary import summarize
from ml_assets.provenance import commit_of
from ml_assets.tables import decisions, evaluations, versions
from ml_assets.tables.evaluations import EVALUATIONS, EvaluatedNumber
from ml_assets.tables.training_sets import Pin, share_seen_before
from ml_assets.tables.versions import now
from ml_assets_tests.conftest import Project, check_results, failure_text
from ml_assets_tests.graph.release.hand_made import BY


def test_the_evaluation_has_every_scope(trained: Project) -> None:
    rows = trained.rows("SELECT * FROM {p}.evaluation_report")
    assert {row["scope"] for row in rows} == {
        *("test", "train", "baseline", "gain_over_baseline", "slice", "calibration"),
        *("noise", "missing", "importance", "single", "score", "together", "identical"),
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
    assert sorted(file.name for file in folder.iterdir()) == [
        *("1.0.0.card.html", "1.0.0.evidently.html", "1.0.0.html", "1.0.0.json", "1.0.0.md")
    ]
    for page in folder.glob("*.html"):
        assert "<html" in page.read_text()[:500].lower()
    assert 'href="1.0.0.card.html"' in (folder / "1.0.0.html").read_text()
    assert 'href="1.0.0.md"' in (folder / "1.0.0.card.html").read_text()
    assert "`sklearn." in (folder / "1.0.0.md").read_text()


def test_metadata_that_people_look_at(trained: Project) -> None:
    event = trained.instance.get_latest_materialization_event(dg.AssetKey(["loans", "evaluation_report"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert isinstance(metadata["test_roc_auc"].value, float)
    assert str(metadata["plot"].value).startswith("![evaluation of version 1.0.0](data:image/png;base64,")
    assert str(metadata["report"].value) == "/ml-assets/reports/loans/evaluation/1.0.0.html"
    assert str(metadata["model_card"].value) == "/ml-assets/reports/loans/evaluation/1.0.0.card.html"
    assert "| test | roc_auc |" in str(metadata["metrics"].value)
    assert "| region=A |" in str(metadata["slices"].value)
    assert max(len(str(metadata[table].value)) for table in ("metrics", "slices")) < 1000  # shown without a click
    plotted = ("gain_over_baseline", "train_roc_auc", "calibration_ece", "noise_flips", "largest_importance")
    assert all(isinstance(metadata[name].value, float) for name in plotted)


def test_a_sound_pipeline_raises_no_alarm(trained: Project) -> None:
    key = dg.AssetKey(["loans", "evaluation_report"])
    check = dg.AssetCheckKey(key, "no_leak_is_suspected")
    event = trained.instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check].event
    assert event is not None
    evaluated = event.asset_check_evaluation
    assert evaluated is not None
    assert evaluated.passed
    assert str(evaluated.metadata["strongest_feature"].value).startswith("income: roc_auc 0.")


def test_an_evaluation_of_before_there_were_notes_is_read(lake: Lake) -> None:
    columns = {name: kind for name, kind in EVALUATIONS.types.items() if name != "note"}
    row = {"version": "1.0.0", "evaluated_at": now(), "scope": "test", "metric": "roc_auc", "value": 0.7, "rows": 9}
    lake.append([Rows("p.evaluation_report", columns, [row])], Commit("t"))
    assert evaluations.findings(lake, "p", "1.0.0") == [EvaluatedNumber("test", "roc_auc", 0.7, 9)]


def test_a_scope_of_another_name_is_read(lake: Lake) -> None:
    evaluations.record(lake, "p", [EvaluatedNumber("disguise", "agreement", 1.0, 9)], "1.0.0", "pin", Commit("t"))
    assert evaluations.findings(lake, "p", "1.0.0") == [EvaluatedNumber("target_proxy", "agreement", 1.0, 9)]


def test_what_is_not_defined_stays_so_in_the_lake(lake: Lake) -> None:
    undefined = EvaluatedNumber("slice", "roc_auc", math.nan, 9, slice_by="region", slice="A")
    evaluations.record(lake, "p", [undefined], "1.0.0", "pin", Commit("t"))
    (found,) = evaluations.findings(lake, "p", "1.0.0")
    assert math.isnan(found.value)


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
    names = ["metrics.roc_auc", "champion", "slices", "leakage", "leakage.score", "refit.negative_flips", "refit.drop"]
    assert [gate["gate"] for gate in json.loads(row["gates"])] == names
    (event,) = trained.rows("SELECT * FROM {p}.alias_events")
    assert (event["alias"], event["version"], event["run_id"]) == ("champion", "1.0.0", row["run_id"])


def test_a_version_says_who_asked_for_it_and_which_code_made_it(trained: Project) -> None:
    (row,) = trained.rows("SELECT triggered_by, git_commit FROM {p}.trained_model")
    assert row == {"triggered_by": versions.user(), "git_commit": commit_of(trained.root)}


def prepare(project: Project) -> None:
    for batch in (1, 2, 3):
        project.write(batch)
    assert project.ingest("1", "2", "3").success


def test_a_refused_version_stays_challenger_and_says_by_how_much(copied: Project) -> None:
    project = copied
    project.spec_dict["gates"]["metrics"]["roc_auc"]["min"] = 0.999
    result = project.train()
    assert result.success, failure_text(result)  # a refusal is an outcome
    checked = {name: passed for (_, name, _), passed in check_results(result).items() if name.startswith("gate_")}
    assert {"gate_champion", "gate_slices"} < set(checked)
    assert [name for name, passed in checked.items() if not passed] == ["gate_metrics_roc_auc"]
    row = project.rows("SELECT * FROM {p}.champion ORDER BY decided_at")[-1]
    assert row["decision"] == "refused"
    assert row["why"].startswith("metrics.roc_auc: roc_auc >= 0.999, found 0.")
    assert row["previous_champion"] == "1.0.0"
    with Lake(project.paths.lake, read_only=True) as lake:
        assert versions.need_alias(lake, "loans", "champion").version == "1.0.0"
        challenger = versions.need_alias(lake, "loans", "challenger")
        assert challenger.version == row["version"] != "1.0.0"
    compared = project.rows(
        "SELECT scope, low, value, high FROM {p}.evaluation_report WHERE scope = 'gain_over_champion'"
    )
    assert len(compared) == 1
    assert compared[0]["low"] <= compared[0]["high"]


def test_without_any_champion_nothing_is_scored_and_no_run_fails(project: Project) -> None:
    prepare(project)
    project.spec_dict["gates"]["metrics"]["roc_auc"]["min"] = 0.999
    assert project.train().success
    result = project.watch("3")
    assert result.success, failure_text(result)
    assert result.get_asset_materialization_events() == []  # neither predictions nor what rests on them
    (event,) = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    said = event.asset_observation_data.asset_observation.description
    assert said.startswith("There is no champion yet, so nothing was scored. lake.loans.champion says why")
    with Lake(project.paths.lake, read_only=True) as lake:
        assert not lake.exists("loans.predictions")
        (problem,) = summarize(lake, "loans").problems
        assert problem.startswith("no champion: version 1.0.0 was refused: metrics.roc_auc: roc_auc >= 0.999, found")
        now = observed.read_situation(lake, project.spec, [], {})
    assert [(one.state, one.decision) for one in now.trainings] == [("done", "refused")]
    assert now.without_promotion == list(now.trainings)  # so the next one waits for longer


def test_a_champion_whose_features_are_gone_is_compared_with_its_own(copied: Project) -> None:
    """Today's features lack all that tells; lookup and reference stand in no YAML any more."""
    copied.sql["features.sql"] = "SELECT row_id, hour(signed) AS hour_signed FROM batch"
    copied.spec_dict |= {"lookups": {}, "references": {}, "gates": {"serving": None}}
    for result in (copied.materialize("features", batches=["1", "2", "3", "4", "5"]), copied.train()):
        assert result.success, failure_text(result)
    row = copied.rows("SELECT * FROM {p}.champion ORDER BY decided_at")[-1]
    assert (row["version"], row["decision"], row["previous_champion"]) == ("2.0.0", "refused", "1.0.0")
    failed = [gate for gate in json.loads(row["gates"]) if not gate["passed"]]
    assert [(gate["gate"], gate["found"] < -0.2) for gate in failed] == [("champion", True)]
    (champion,) = copied.rows("SELECT value, note FROM {p}.evaluation_report WHERE scope = 'champion'")
    live = "SELECT value FROM {p}.performance_report WHERE batch = '5' AND metric = 'roc_auc'"
    assert champion == {"value": pytest.approx(copied.value(live)), "note": "1.0.0"}  # as it scored that batch live


@pytest.fixture
def second(copied: Project) -> Project:
    """The trained project, where 1.0.1 is the newest version, as good as the champion 1.0.0 and undecided."""
    with Lake(copied.paths.lake) as lake:
        (model,) = versions.records(lake, "loans")
        pin = model["pin_id"]
        (made,) = decisions.decisions(lake, "loans")
        versions.register(lake, "loans", {**model, "version": "1.0.1", "created_at": versions.now()}, BY)
        found = evaluations.findings(lake, "loans", made.version)
        found.append(EvaluatedNumber("gain_over_champion", "roc_auc", 0.0, 150, -0.01, 0.01))
        evaluations.record(lake, "loans", found, "1.0.1", pin, BY)
    return copied


def test_after_a_refusal_the_champion_goes_on_scoring_in_the_same_run(second: Project) -> None:
    second.spec_dict["gates"]["metrics"]["roc_auc"]["min"] = 0.999
    result = second.materialize("champion", "predictions", batches=["5"])
    assert result.success, failure_text(result)
    (gate,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "gate_metrics_roc_auc"]
    assert (gate.passed, gate.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert 0.6 < float(str(gate.metadata["found"].value)) < 0.999
    assert second.value("SELECT decision FROM {p}.champion WHERE version = '1.0.1'") == "refused"
    assert second.value("SELECT DISTINCT model_version FROM {p}.predictions WHERE batch = '5'") == "1.0.0"
    with Lake(second.paths.lake, read_only=True) as lake:
        found = summarize(lake, "loans")
    assert found.newest is not None
    assert (found.newest.version, found.newest.decision, found.problems) == ("1.0.1", "refused", [])


def test_a_person_answers_in_the_ui(second: Project) -> None:
    second.spec_dict["gates"]["approval"] = "manual"
    assert second.materialize("champion").success  # waiting is no failure
    job = second.defs().resolve_job_def("loans_approve")

    def answer(**given: str) -> dg.ExecuteInProcessResult:
        config = {"version": "1.0.1", "decision": "approve", "why": "checked the slices", "by": "ana", **given}
        run_config = {"ops": {"approve_loans": {"config": config}}}
        return job.execute_in_process(run_config=run_config, instance=second.instance, raise_on_error=False)

    assert "Version 1.0.0 does not wait for approval." in failure_text(answer(version="1.0.0"))
    assert "needs a reason and a name" in failure_text(answer(by=" "))
    with pytest.raises(dg.DagsterInvalidConfigError, match="maybe"):
        answer(decision="maybe")
    result = answer()
    assert result.success, failure_text(result)
    row = second.rows("SELECT * FROM {p}.champion ORDER BY decided_at")[-1]
    assert (row["decision"], row["version"], row["previous_champion"]) == ("promoted", "1.0.1", "1.0.0")
    assert (row["decided_by"], row["why"], row["run_id"]) == ("ana", "checked the slices", result.run_id)
    event = second.instance.get_latest_materialization_event(dg.AssetKey(["loans", "champion"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["champion"].value == "1.0.1"
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == "1.0.1"
    assert "does not wait" in failure_text(answer(decision="reject"))


def test_the_launchpad_offers_the_version_that_waits(second: Project) -> None:
    second.spec_dict["gates"]["approval"] = "manual"
    assert "No version waits" not in str(offered(second)[1])
    assert offered(second)[0] is True  # nothing waits yet, so it has to be named
    assert second.materialize("champion").success
    second._built = None  # as if the code location was loaded again
    required, about, default = offered(second)
    assert (required, default) == (False, "1.0.1")
    assert [name for name, field in approval_fields(second).items() if field.is_required] == ["decision"]
    assert "Waiting: 1.0.1 (since " in about
    second.spec_dict["gates"]["approval"] = "auto"
    assert "No version waits: gates.approval is auto." in offered(second)[1]


def approval_fields(project: Project) -> Mapping[str, Any]:
    """What the launchpad of the approval asks for; it shows those that have a default."""
    job = project.defs().resolve_job_def("loans_approve")
    return dict(job.nodes[0].definition.config_schema.config_type.fields)


def offered(project: Project) -> tuple[bool, str, object]:
    """Of the approval's version: must it be given, what is said of it, and what the launchpad is filled with."""
    field = approval_fields(project)["version"]
    assert field.description in str(project.defs().resolve_job_def("loans_approve").description)
    return field.is_required, str(field.description), field.default_value if field.default_provided else None


def test_a_rollback_scores_the_next_batch(second: Project) -> None:
    def versions() -> dict[str, str]:
        assert second.materialize("predictions", batches=["5"]).success
        rows = second.rows("SELECT DISTINCT batch, model_version FROM {p}.predictions")
        return {row["batch"]: row["model_version"] for row in rows}

    with Lake(second.paths.lake) as lake:
        approvals.promote(lake, second.paths, "loans", "1.0.1", "to try it")
    assert versions() == {"5": "1.0.1"}
    with Lake(second.paths.lake) as lake:
        approvals.rollback(lake, second.paths, "loans", "complaints")
    assert versions() == {"5": "1.0.0"}


def test_a_changed_bundle_stops_the_run_and_scoring(copied: Project) -> None:
    project = copied
    file = project.paths.bundles / "loans" / "1.0.0-refit" / "features.sql"
    file.write_text("SELECT 1")
    text = failure_text(project.watch("5"))
    assert "A file of the bundle was changed" in text
    assert str(file) in text
