"""A feature that breaks in a batch: the check that names it, and the training that waits for a fix."""

from __future__ import annotations

from dataclasses import replace

from ml_assets.graph.retraining import observed
from ml_assets.graph.retraining.rules import decide
from ml_assets.graph.retraining.situation import Situation, TrainingReason
from ml_assets.lake.lake import Lake
from ml_assets_tests.conftest import Project, check_results, failure_text, loans


def situation(project: Project) -> Situation:
    asked = [TrainingReason("drift", "drift 6 1.0.0", "batch 6 has drifted", ("6",), 1.0)]
    with Lake(project.paths.lake, read_only=True) as lake:
        found = observed.read_situation(lake, project.spec, [], {})
    return replace(found, evidence=asked)


def test_a_feature_without_values_is_named_and_no_training_starts_on_it(copied: Project) -> None:
    copied.write(6, loans(6).assign(income=None).astype({"income": "float64"}))
    result = copied.ingest("6")
    assert result.success, failure_text(result)
    checked = check_results(result)
    assert not checked[("features", "no_broken_feature", None)]
    (one,) = [
        e for e in result.get_asset_check_evaluations() if e.check_name == "no_broken_feature" and not e.partition
    ]
    assert one.description == "income is missing in 100% of the rows, usually in 0% (since batch 6)"
    rules = copied.spec.retrain
    (decision,) = decide(rules, 3, situation(copied))
    assert (decision.word, decision.why.partition(":")[0]) == ("wait", "inputs are broken")
    copied.write(6, loans(6))  # the source has corrected it
    result = copied.ingest("6")
    assert check_results(result)[("features", "no_broken_feature", None)]
    assert [one.word for one in decide(rules, 3, situation(copied))] == ["train"]
