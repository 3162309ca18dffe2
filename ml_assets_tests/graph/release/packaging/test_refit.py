"""The model that serves is the judged recipe, fitted again on all labelled rows; the judged one stays as the proof."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ml_assets.errors import ModelError
from ml_assets.graph.code_version import training_version
from ml_assets.graph.monitoring import samples
from ml_assets.graph.release.packaging import pack, refit
from ml_assets.graph.release.promotion import approvals
from ml_assets.graph.scoring import scoring
from ml_assets.lake.lake import Lake, Rows
from ml_assets.ml import bundle, release
from ml_assets.spec import PipelineSpec
from ml_assets.tables import evaluations, releases, training_sets, versions
from ml_assets.tables.training_sets import Pin
from ml_assets.tables.versions import ModelVersion
from ml_assets_tests.conftest import Project
from ml_assets_tests.graph.release.hand_made import BY


def test_the_model_that_serves_knows_the_newest_labelled_batch(trained: Project) -> None:
    (version,) = trained.rows("SELECT * FROM {p}.trained_model")
    (packed,) = trained.rows("SELECT * FROM {p}.release_candidate")
    assert version["train_batches"] == ["1", "2", "3"]
    assert (packed["serves"], packed["fitted_batches"], packed["fitted_rows"]) == ("refit", ["1", "2", "3", "4"], 600)
    assert packed["bundle"] == f"{version['bundle']}-refit"
    assert packed["bundle_sha256"] != version["bundle_sha256"]
    judged = bundle.load(trained.paths.bundles / version["bundle"], version["bundle_sha256"])
    served = bundle.load(trained.paths.bundles / packed["bundle"], packed["bundle_sha256"])
    assert served.schema.threshold == judged.schema.threshold
    features = trained.rows("SELECT * EXCLUDE (batch) FROM {p}.features WHERE batch = '5' ORDER BY row_id")
    columns = {name: [row[name] for row in features] for name in served.schema.features}
    said = [row["score"] for row in trained.rows("SELECT score FROM {p}.predictions ORDER BY row_id")]
    np.testing.assert_allclose(said, served.scores_of(columns), rtol=0, atol=1e-12)
    assert np.abs(said - judged.scores_of(columns)).max() > 0.001


def test_it_is_compared_with_the_judged_one(trained: Project) -> None:
    (packed,) = trained.rows("SELECT * FROM {p}.release_candidate")
    assert (packed["flip_rows"], packed["known_rows"]) == (150, 450)
    assert 0 <= packed["negative_flips"] <= packed["flips"] < 0.25
    assert packed["flips"] > 0
    assert 0 < packed["golden_change"] < 1
    assert packed["known_served"] == pytest.approx(packed["known_judged"], abs=0.05)
    (made,) = trained.rows("SELECT gates FROM {p}.champion")
    gates = {gate["gate"]: gate for gate in json.loads(made["gates"])}
    assert gates["refit.negative_flips"]["found"] == packed["negative_flips"]
    assert gates["refit.drop"]["found"] == pytest.approx(packed["known_judged"] - packed["known_served"])
    (judged,) = trained.rows("SELECT value FROM {p}.evaluation_report WHERE scope = 'train' AND metric = 'roc_auc'")
    assert packed["known_judged"] == pytest.approx(judged["value"])


def test_the_release_holds_both_and_says_which_is_which(trained: Project) -> None:
    folder = trained.paths.releases / "loans" / "1.0.0"
    models = release.read_facts(folder).models
    assert {name: (one["batches"], one["rows"]) for name, one in models.items()} == {
        "bundle": (["1", "2", "3", "4"], 600),
        "judged": (["1", "2", "3"], 450),
    }
    for name, one in models.items():
        bundle.verify(folder / name, one["sha256"])
    card = (folder / "model_card.md").read_text()
    assert all(one["sha256"] in card for one in models.values())


def test_scoring_and_drift_follow_the_model_that_serves(trained: Project) -> None:
    with Lake(trained.paths.lake, read_only=True) as lake:
        model = versions.need_alias(lake, "loans", "champion")
        scorer = scoring.load(lake, trained.paths, "loans", model, "champion")
        watched = samples.watched(lake, trained.paths, "loans", model, 1000)
    assert scorer.knows == {"1", "2", "3", "4"}
    assert len(watched.reference.rows) == 600  # of four batches, not of three


@pytest.fixture
def unpacked(copied: Project) -> Iterator[tuple[Lake, Project, Pin, ModelVersion]]:
    """The trained project as it was before the version was packed and promoted."""
    with Lake(copied.paths.lake) as lake:
        for asset_name in ("release_candidate", "alias_events", "champion"):
            lake.con.execute(f"DROP TABLE lake.loans.{asset_name}")
        model = versions.versions(lake, "loans")[0]
        yield lake, copied, training_sets.newest(lake, "loans", pin_id=model.pin_id), model


Unpacked = tuple[Lake, Project, Pin, ModelVersion]


def test_a_fit_that_was_killed_before_it_was_recorded_is_made_again_alike(unpacked: Unpacked) -> None:
    lake, project, pin, model = unpacked
    folder = project.paths.bundles / "loans" / "1.0.0-refit"
    before = bundle.load(folder)
    shutil.rmtree(project.paths.releases / "loans" / "1.0.0" / "bundle")  # packing was killed, too
    (folder / "schema.json").write_text("{}")
    version = training_version(project.spec)
    choice = refit.choose(lake, project.paths, project.spec, pin, model, version)
    after = bundle.load(folder, choice.served.bundle_sha256)
    rows = training_sets.read(lake, "loans", pin, ("test",))
    np.testing.assert_array_equal(before.scores(rows), after.scores(rows))
    assert before.schema == after.schema
    packed = pack.pack(lake, project.paths, project.spec, pin, model, _found(lake), None, choice.served)
    assert packed.folder.name == "1.0.0"


def _found(lake: Lake) -> list[Any]:
    return evaluations.findings(lake, "loans", "1.0.0")


def _with(spec: PipelineSpec, **changes: Any) -> PipelineSpec:
    return PipelineSpec.model_validate({**spec.model_dump(by_alias=True), **changes})


def test_the_judged_model_serves_where_gates_failed_and_where_the_yaml_says_so(unpacked: Unpacked) -> None:
    lake, project, pin, model = unpacked
    version = training_version(project.spec)

    def why(spec: PipelineSpec, code_version: str = version) -> tuple[str, str]:
        choice = refit.choose(lake, project.paths, spec, pin, model, code_version)
        assert choice.served.bundle_sha256 == model.bundle_sha256
        return choice.served.serves, choice.why

    strict = {**project.spec_dict["gates"], "metrics": {"roc_auc": {"min": 0.999}}}
    assert why(_with(project.spec, gates=strict)) == ("judged", "gates failed: metrics.roc_auc")
    assert why(_with(project.spec, training={"refit": "judged"})) == ("judged", "training.refit: judged")
    assert "have changed since it was trained" in why(project.spec, "another")[1]
    near = {**project.spec_dict["gates"], "refit": {"max_negative_flips": 0.0, "max_drop": 0.0}}
    assert why(_with(project.spec, gates=near))[1].startswith("the model fitted on all rows is too far from it: refit.")
    assert not (project.paths.bundles / f"{model.bundle}-refit").exists()


def test_gates_that_pass_later_pack_the_refit_model_beside_the_judged_one(unpacked: Unpacked) -> None:
    """As where a person loosens a gate that was too strict. What was packed before stays as it is."""
    lake, project, pin, model = unpacked
    paths, spec = project.paths, project.spec
    judged = pack.pack(lake, paths, spec, pin, model, _found(lake), None, releases.judged(model))
    row = pack.as_row(judged, "1.0.0", "run") | {"serves": "judged"}
    lake.append([_row(row)], BY)
    choice = refit.choose(lake, paths, spec, pin, model, training_version(spec))
    packed = pack.pack(lake, paths, spec, pin, model, _found(lake), None, choice.served)
    assert (judged.folder.name, packed.folder.name) == ("1.0.0", "1.0.0-refit")
    assert releases.served(lake, "loans", model).serves == "judged"  # until it is recorded
    row = pack.as_row(packed, "1.0.0", "run") | choice.as_row(pin)
    lake.append([_row(row)], BY)
    assert releases.served(lake, "loans", model) == choice.served
    again = refit.choose(lake, paths, spec, pin, model, "other code")
    assert again == choice  # it is not fitted again
    assert pack.pack(lake, paths, spec, pin, model, _found(lake), None, again.served).sha256 == packed.sha256


def _row(row: dict[str, Any]) -> Rows:
    return Rows("loans.release_candidate", releases.RELEASES.types, [row])


def test_a_version_that_was_champion_keeps_its_model(copied: Project) -> None:
    with Lake(copied.paths.lake) as lake:
        lake.con.execute("DROP TABLE lake.loans.release_candidate")  # as of an ml_assets before refits
        model = versions.versions(lake, "loans")[0]
        pin = training_sets.newest(lake, "loans", pin_id=model.pin_id)
        choice = refit.choose(lake, copied.paths, copied.spec, pin, model, training_version(copied.spec))
        assert (choice.served, choice.why) == (releases.judged(model), "the version has served with it before")


def test_a_changed_bundle_of_either_model_is_refused(copied: Project) -> None:
    with Lake(copied.paths.lake, read_only=True) as lake:
        approvals._check_sound(lake, copied.paths, "loans", "1.0.0")
        for name in ("1.0.0-refit", "1.0.0"):
            file = copied.paths.bundles / "loans" / name / "schema.json"
            kept = file.read_text()
            file.write_text(kept + " ")
            with pytest.raises(ModelError, match="A file of the bundle was changed"):
                approvals._check_sound(lake, copied.paths, "loans", "1.0.0")
            file.write_text(kept)
