"""Training sets, candidates, versions: on real materializations."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ml_assets.errors import SpecError
from ml_assets.graph.training.candidates import journal_name
from ml_assets.graph.training.journal import Journal
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle, selection
from ml_assets.spec import PipelineSpec
from ml_assets.tables import training_sets, versions
from ml_assets.tables.evaluations import findings
from ml_assets_tests.conftest import Project, check_results, failure_text


def test_the_pin_divides_batches_in_order(trained: Project) -> None:
    (row,) = trained.rows("SELECT * FROM {p}.training_set")
    assert (row["train_batches"], row["validation_batches"], row["test_batches"]) == (["1", "2"], ["3"], ["4"])
    assert (row["train_rows"], row["validation_rows"], row["test_rows"]) == (300, 150, 150)


def test_every_trial_is_a_row(trained: Project) -> None:
    rows = trained.rows("SELECT * FROM {p}.trials ORDER BY candidate, trial")
    assert [(row["candidate"], row["trial"]) for row in rows] == [
        ("linear", 0),
        ("linear", 1),
        ("tree", 0),
        ("tree", 1),
    ]
    for row in rows:
        assert row["metric"] == "roc_auc"
        assert row["score"] == pytest.approx(sum(row["fold_scores"]) / 2)
        assert len(row["fold_scores"]) == 2
        assert row["pin_id"] == rows[0]["pin_id"]
        assert row["code_version"]
        assert row["state"] == "complete"
        assert row["memory_mib"] > 10
    assert {"max_depth", "min_samples_leaf"} == set(json.loads(rows[2]["params"]))
    assert trained.paths.artifacts.searches.names("loans") == []  # journals have done their work


def test_a_journal_belongs_to_one_search(trained: Project, tmp_path: Path) -> None:
    with Lake(trained.paths.lake, read_only=True) as lake:
        pin = training_sets.newest(lake, "loans")
    paths = Paths(trained.root, tmp_path / "journals")
    spec = trained.spec
    name = journal_name(paths, spec, "tree", pin, "v1")
    assert name == journal_name(paths, spec, "tree", pin, "v1")
    other = copy.deepcopy(trained.spec_dict)
    other["tuning"]["seed"] = 5
    others = [
        journal_name(paths, spec, "tree", pin, "v2"),
        journal_name(paths, spec, "tree", replace(pin, pin_id="other"), "v1"),
        journal_name(paths, PipelineSpec.model_validate(other), "tree", pin, "v1"),
    ]
    assert len({name, *others}) == 4
    kept = journal_name(paths, spec, "linear", pin, "v1")
    store = paths.artifacts.searches
    for each in (name, kept, others[0]):
        Journal(store, each).write({"number": 0, "elapsed": 0.1})
    assert journal_name(paths, spec, "tree", pin, "v2") == others[0]
    assert store.names("loans") == sorted(each.removeprefix("loans/") for each in (kept, others[0]))


def test_the_best_candidate_by_cross_validation_and_validation_becomes_the_model(trained: Project) -> None:
    rows = trained.rows("SELECT * FROM {p}.candidates")
    assert all(0 < row[name] < 0.2 for row in rows for name in ("cv_se", "validation_se"))
    best = selection.ranked(rows, "roc_auc")[0]
    (model,) = trained.rows("SELECT * FROM {p}.trained_model")
    chosen = (model["candidate"], model["selection_score"], model["selection_why"])
    assert chosen == (best["candidate"], best["selection_score"], best["selection_why"])
    assert "by their standard errors" in model["selection_why"]
    assert model["version"] == "1.0.0"
    assert model["train_batches"] == ["1", "2", "3"]
    folder = trained.paths.bundles / model["bundle"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "features.json",
        "features.sql",
        "manifest.json",
        "model.onnx",
        "model.skops",
        "reference.json",
        "reference.parquet",
        "region_history.sql",
        "schema.json",
    ]
    loaded = bundle.load(folder, model["bundle_sha256"])
    assert loaded.schema.features == {
        "income": "number",
        "region": "category",
        "signed_hour": "number",
        "unemployment": "number",
        "late_share": "number",
    }
    assert "late_days" not in loaded.schema.columns


def test_a_model_can_be_rebuilt_from_its_pin(trained: Project) -> None:
    from ml_assets.ml import estimators

    with Lake(trained.paths.lake, read_only=True) as lake:
        (model,) = versions.versions(lake, "loans")
        row = lake.rows("SELECT estimator, params FROM lake.loans.trained_model")[0]
        pin = training_sets.newest(lake, "loans", pin_id=model.pin_id)
        rows = training_sets.read(lake, "loans", pin, ("train", "validation"))
        test = estimators.feature_frame(training_sets.read(lake, "loans", pin, ("test",)), pin.features)
    again = estimators.make_model(row["estimator"], json.loads(row["params"]), pin.features, pin.seed)
    again.fit(estimators.feature_frame(rows, pin.features), estimators.label_array(rows["label"], "binary"))
    kept = bundle.load_sklearn(trained.paths.bundles / model.bundle)
    assert (again.predict_proba(test) == kept.predict_proba(test)).all()


def test_the_champion_is_judged_again_and_kept(copied: Project) -> None:
    result = copied.materialize("evaluation_report", "release_candidate", "champion")
    assert result.success, failure_text(result)
    decisions = [row["decision"] for row in copied.rows("SELECT decision FROM {p}.champion ORDER BY decided_at")]
    assert decisions == ["promoted", "kept"]
    with Lake(copied.paths.lake, read_only=True) as lake:
        newest = findings(lake, "loans", "1.0.0")
    assert len(newest) == copied.value("SELECT count(*) FROM {p}.evaluation_report")


def test_training_again_on_the_same_data_gives_the_same_version(copied: Project) -> None:
    leftover = copied.paths.bundles / "loans" / "1.0.1"
    leftover.mkdir(parents=True)
    (leftover / "half.txt").touch()
    for _ in range(2):
        result = copied.fit()
        assert result.success, failure_text(result)
        assert not (leftover / "half.txt").exists()  # a bundle of a run that died is replaced
    versions = [row["version"] for row in copied.rows("SELECT version FROM {p}.trained_model ORDER BY created_at")]
    assert versions == ["1.0.0", "1.0.1"]


def test_version_numbers_follow_what_changed(copied: Project) -> None:
    assert copied.fit().success  # one more batch
    copied.spec_dict["candidates"]["tree"]["params"]["min_samples_leaf"] = 5  # another method
    assert copied.fit().success
    copied.sql["features.sql"] = "SELECT row_id, income FROM batch"  # other features
    assert copied.materialize("features", batches=["1", "2", "3", "4", "5"]).success
    assert copied.fit().success
    versions = [row["version"] for row in copied.rows("SELECT version FROM {p}.trained_model ORDER BY created_at")]
    assert versions == ["1.0.0", "1.0.1", "1.1.0", "2.0.0"]


def test_features_of_two_versions_are_named(copied: Project) -> None:
    copied.sql["features.sql"] = "SELECT row_id, income, region FROM batch"
    assert copied.materialize("features", batches=["3"]).success
    result = copied.materialize("training_set")
    assert not check_results(result)[("training_set", "features_are_of_one_version", None)]


def test_a_wrong_parameter_names_candidate_and_nearest(copied: Project) -> None:
    copied.spec_dict["candidates"]["tree"]["params"] = {"min_sample_leaf": 3}
    with pytest.raises(SpecError, match=r"did you mean 'min_samples_leaf'\?") as caught:
        copied.defs()
    assert "candidate tree" in str(caught.value)


def test_trained_model_without_its_candidates_names_the_next_step(copied: Project) -> None:
    assert copied.materialize("training_set").success
    text = failure_text(copied.materialize("trained_model"))
    assert "has not been trained on the newest training set" in text
    assert "Materialize loans/candidate_" in text


@pytest.mark.parametrize(
    ("target", "test", "text"),
    [
        ("CASE WHEN false THEN true END", 1, "The target 'late' is NULL in every row"),
        ("late_days > 10", 4, "The split needs at least 6 batches with labels"),
        ("late_days > 1000", 1, "part has one class only"),
        ("CASE WHEN row_id < 9 THEN late_days > 10 END", 1, "fewer than 20 labelled rows"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_error(copied: Project, target: str, test: int, text: str) -> None:
    copied.spec_dict["target"]["sql"] = target.replace("row_id", "loan % 1000")
    copied.spec_dict["split"] = {"test": test}
    found = failure_text(copied.fit())
    assert text in found
    assert "pipeline loans" in found
