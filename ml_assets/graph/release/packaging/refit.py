"""Which model of a version serves: the judged one, or the same recipe fitted again on all labelled rows.

The judged model has never seen the newest labelled batches: they chose it and tested it. Once the gates that need no
server have passed, its candidate, parameters, threshold and seed are fitted on all rows of the training set. The
judged model and its report stay as the proof; the refit one is compared with it, and where it is too far from it, as
where the newest rows are of another world than those before, the judged one serves.

What serves is settled once: a version that has been champion, or was refit, keeps its model.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ml_assets.graph.release.evaluation import robustness
from ml_assets.graph.release.evaluation.evaluate import predict
from ml_assets.graph.release.packaging.golden import golden_rows
from ml_assets.graph.release.promotion import decide
from ml_assets.graph.release.promotion.gates import judge_refit
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle
from ml_assets.ml.fitting import fit
from ml_assets.spec import PipelineSpec
from ml_assets.tables import releases, training_sets, versions
from ml_assets.tables.releases import JUDGED, REFIT, Served
from ml_assets.tables.training_sets import FITTED, LABEL, PARTS, Pin
from ml_assets.tables.versions import ModelVersion

LOCK_TIMEOUT_S = 3600
# What a release says of the comparison; a version that is packed again says the same.
COMPARED = ("flips", "negative_flips", "flip_rows", "golden_change", "known_rows", "known_judged", "known_served")


@dataclass(frozen=True)
class Choice:
    """The model that serves.

    Args:
        served: Which one.
        why: Why it is that one.
        compared: Column of `COMPARED` -> how it compares with the judged one; empty for the judged one.
    """

    served: Served
    why: str
    compared: Mapping[str, Any]

    def as_row(self, pin: Pin) -> dict[str, Any]:
        """As columns of `release_candidate`."""
        served = self.served
        return {
            "serves": served.serves,
            "serves_why": self.why,
            "bundle": served.bundle,
            "bundle_sha256": served.bundle_sha256,
            "fitted_batches": sorted({batch for part in served.parts for batch in pin.batches[part]}),
            "fitted_rows": sum(pin.rows[part] for part in served.parts),
            **self.compared,
        }


def alone(paths: Paths, pipeline: str) -> AbstractContextManager[object]:
    """Keeps other runs from fitting and packing versions of the pipeline until the release is recorded."""
    return paths.catalog.lock(releases.RELEASES.of(pipeline), LOCK_TIMEOUT_S, "packing a release")


def choose(lake: Lake, paths: Paths, spec: PipelineSpec, pin: Pin, model: ModelVersion, code_version: str) -> Choice:
    """The model of a version that serves; fitted now, where it shall be and is not yet.

    Args:
        lake: The lake.
        paths: Where bundles are kept.
        spec: The pipeline.
        pin: The training set of the version.
        model: The version.
        code_version: Today's of `trained_model`: another code than the judged model's is never fitted.

    Raises:
        ModelError: The version has not been evaluated, or a bundle of it was changed.
    """
    release = releases.newest(lake, spec.name, model.version)
    if release is not None and release.serves == REFIT:
        served = releases.served(lake, spec.name, model)
        bundle.verify(paths.artifacts.bundles.fetch(served.bundle), served.bundle_sha256)
        return Choice(served, release.serves_why or "", {name: getattr(release, name) for name in COMPARED})
    against = _why_judged(lake, spec, model, code_version)
    if against:
        return Choice(releases.judged(model), against, {})
    served = _refit(lake, paths, spec, pin, model)
    compared = compare(lake, paths, spec, pin, model, served)
    too_far = [gate.shortfall() for gate in judge_refit(spec, compared) if not gate.passed]
    if too_far:  # the judged model has passed every gate, and serves
        paths.artifacts.bundles.remove(served.bundle)
        return Choice(
            releases.judged(model), f"the model fitted on all rows is too far from it: {too_far[0]}", compared
        )
    return Choice(served, "the gates on the judged model passed", compared)


def _why_judged(lake: Lake, spec: PipelineSpec, model: ModelVersion, code_version: str) -> str:
    """Why the judged model serves; empty where the version shall be refit."""
    if spec.training.refit == JUDGED:
        return "training.refit: judged"
    moves = versions.alias_events(lake, spec.name)
    if any(move["alias"] == "champion" and move["version"] == model.version for move in moves):
        return "the version has served with it before"
    failed = [gate.gate for gate in decide.evaluated(lake, spec, model) if not gate.passed]
    if failed:
        return f"gates failed: {', '.join(failed)}"
    if model.code_version != code_version:
        return f"code or YAML have changed since it was trained; the job {spec.name}_train makes a version of today's"
    return ""


def _refit(lake: Lake, paths: Paths, spec: PipelineSpec, pin: Pin, model: ModelVersion) -> Served:
    """Fit the recipe of the judged model on all rows of its training set, and save the bundle."""
    judged = paths.artifacts.bundles.fetch(model.bundle)
    judged_schema = bundle.verify(judged, model.bundle_sha256)
    name = f"{model.bundle}-{REFIT}"
    paths.artifacts.bundles.remove(name)  # of a run that was killed before its release was recorded
    fitted = fit(
        training_sets.read(lake, spec.name, pin, PARTS),
        LABEL,
        spec,
        pin.features,
        model.candidate,
        model.params,
        model.threshold,
    )
    # A request is what it was for the judged model, whatever the YAML says of columns today.
    schema = replace(fitted.schema, columns=judged_schema.columns, nullable=judged_schema.nullable)
    with paths.artifacts.bundles.put(name) as folder:
        digest = replace(fitted, schema=schema).save(folder, bundle.texts(judged))
    return Served(model.version, REFIT, name, digest, PARTS)


def compare(
    lake: Lake, paths: Paths, spec: PipelineSpec, pin: Pin, model: ModelVersion, served: Served
) -> dict[str, Any]:
    """How a refit model compares with the judged one, as `COMPARED`.

    Decisions are compared on the test rows, and the tuning metric on the train and validation rows. Only the refit
    model was fitted on the test rows, so that most flips there are corrections; negative ones tell of a broken fit.
    """
    both, bundles = (releases.judged(model), served), paths.artifacts.bundles
    loaded = [bundle.load(bundles.fetch(one.bundle), one.bundle_sha256) for one in both]
    batch = max(pin.all_batches)
    golden = [np.asarray(golden_rows(lake, spec, pin, batch, one).scores) for one in loaded]
    test = training_sets.read(lake, spec.name, pin, ("test",))
    before, after = (predict(one, test, model.version) for one in loaded)
    known = training_sets.read(lake, spec.name, pin, FITTED)
    scores = [predict(one, known, model.version).score(spec.metric) for one in loaded]
    return {
        "flips": robustness.flips(before, after),
        "negative_flips": robustness.negative_flips(before, after),
        "flip_rows": len(test),
        "golden_change": float(np.abs(golden[1] - golden[0]).max(initial=0.0)),
        "known_rows": len(known),
        "known_judged": scores[0],
        "known_served": scores[1],
    }
