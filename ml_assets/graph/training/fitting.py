"""The trained model: the best candidate, refit on train and validation rows, versioned and kept as a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ml_assets.atomic import short_hash
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle
from ml_assets.ml.fitting import fit
from ml_assets.provenance import commit_of
from ml_assets.spec import PipelineSpec
from ml_assets.tables import training_sets, versions
from ml_assets.tables.training_sets import FITTED, LABEL, Pin
from ml_assets.tables.versions import ModelVersion

LOCK_TIMEOUT_S = 3600


def train(
    lake: Lake,
    paths: Paths,
    spec: PipelineSpec,
    pin: Pin,
    winner: Mapping[str, Any],
    texts: Mapping[str, str],
    commit: Commit,
) -> tuple[ModelVersion, bool]:
    """Fit, save and register the winner; the same pin and recipe give the version that exists already.

    Args:
        lake: The lake.
        paths: Where bundles are kept.
        spec: The pipeline.
        pin: The training set.
        winner: Row of the best candidate.
        texts: File name -> text of the pipeline's SQL and Python files.
        commit: Who writes.

    Returns:
        The version, and whether it is new.
    """
    params = winner["params"]
    recipe = _recipe(spec, pin, commit.code_version)
    print_ = _hash([pin.pin_id, winner["estimator"], params, spec.tuning.seed, winner["threshold"], recipe])
    with lake.catalog.lock(versions.VERSIONS.of(spec.name), LOCK_TIMEOUT_S, "training a model"):
        earlier = versions.versions(lake, spec.name)
        for model in reversed(earlier):
            if model.fingerprint == print_:
                bundle.verify(paths.artifacts.bundles.fetch(model.bundle), model.bundle_sha256)
                return model, False
        number = versions.next_version(recipe, earlier)
        name = f"{spec.name}/{number}"
        paths.artifacts.bundles.remove(name)  # of a run that died before its version was registered
        fitted = fit(  # no name for the rows here: a fit may need their memory
            training_sets.read(lake, spec.name, pin, FITTED),
            LABEL,
            spec,
            pin.features,
            winner["candidate"],
            params,
            winner["threshold"],
        )
        with paths.artifacts.bundles.put(name) as folder:
            digest = fitted.save(folder, texts)
        row = {
            "version": number,
            "candidate": winner["candidate"],
            "estimator": winner["estimator"],
            "params": params,
            "pin_id": pin.pin_id,
            "snapshot_id": pin.snapshot_id,
            "train_batches": sorted({batch for part in FITTED for batch in pin.batches[part]}),
            "recipe": recipe,
            "fingerprint": print_,
            "validation_score": winner["validation_score"],
            "selection_score": winner["selection_score"],
            "selection_why": winner["selection_why"],
            "threshold": winner["threshold"],
            "bundle": name,
            "bundle_sha256": digest,
            "code_version": commit.code_version,
            "run_id": commit.run_id,
            "git_commit": commit_of(paths.root),
            "triggered_by": commit.triggered_by or versions.user(),
        }
        versions.register(lake, spec.name, row, commit)
    return versions.of_pin(lake, spec.name, pin.pin_id), True


def _recipe(spec: PipelineSpec, pin: Pin, code_version: str) -> dict[str, str]:
    """Hashes that decide the version number: `schema` is MAJOR, `method` is MINOR."""
    request = {column.name: column.type for column in spec.columns if not column.outcome}
    return {
        "schema": _hash([request, pin.features, spec.target.model_dump()]),
        "method": _hash(
            [
                {name: candidate.model_dump() for name, candidate in spec.candidates.items()},
                spec.tuning.model_dump(),
                code_version,
            ]
        ),
    }


def _hash(value: Any) -> str:
    return short_hash(json.dumps(value, sort_keys=True, default=str))
