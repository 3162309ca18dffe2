"""The bundle: the immutable folder that a model version ships as.

model.skops    the fitted scikit-learn Pipeline, audited before it is loaded; never a pickle
features.sql   the SELECT that makes its features; or each Python file of the function that does, by its module's name
schema.json    columns of a request, features and their types, kind of target, classes, threshold
manifest.json  SHA-256 of every other file, versions of the libraries
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

from ml_assets.errors import ModelError

FORMAT = 1
LIBRARIES = ("scikit-learn", "skops", "numpy", "duckdb")
# What models hold beyond the types that skops trusts by itself. All are data, or code of scikit-learn or ours. A
# Booster restores itself from text (LightGBM) or bytes (XGBoost, CatBoost) that its library's parser reads, no Python.
TRUSTED = frozenset(
    {
        "numpy.dtype",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.tree._tree.Tree",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._dist_metrics.EuclideanDistance",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "ml_assets.ml.wrappers.ClassCodes",
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "xgboost.core.Booster",
    }
)


@dataclass(frozen=True)
class Schema:
    """What a bundle needs and says.

    Args:
        kind: binary, multiclass or regression.
        target: Name of the label.
        columns: Column name -> type word, of a request.
        features: Feature name -> number | category, in the model's order.
        classes: Labels in the order of the model's probabilities (multiclass).
        threshold: Decision threshold (binary).
        estimator: Module and name of the estimator's class; the audit trusts this type beside scikit-learn's.
    """

    kind: str
    target: str
    columns: dict[str, str]
    features: dict[str, str]
    classes: list[str]
    threshold: float | None
    estimator: str


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle."""

    schema: Schema
    model: Any


def save(folder: Path, model: Any, schema: Schema, texts: Mapping[str, str]) -> str:
    """Write a bundle; it appears whole or not at all. Returns the SHA-256 of its manifest.

    Args:
        folder: Must not exist.
        model: Fitted Pipeline.
        schema: What the bundle needs and says.
        texts: Further files by name, such as features.sql.
    """
    from skops import io

    if folder.exists():
        raise ModelError("A bundle is never written twice.", where={"folder": folder})
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    io.dump(model, new / "model.skops")
    (new / "schema.json").write_text(json.dumps(asdict(schema), indent=2))
    for name, text in texts.items():
        (new / name).write_text(text)
    manifest = {
        "format": FORMAT,
        "libraries": {name: library_version(name) for name in LIBRARIES},
        "files": {path.name: _sha256(path) for path in sorted(new.iterdir())},
    }
    (new / "manifest.json").write_text(json.dumps(manifest, indent=2))
    digest = _sha256(new / "manifest.json")
    new.rename(folder)
    return digest


def load(folder: Path, sha256: str | None = None) -> Bundle:
    """Verify every file, audit the model file, and only then construct the model.

    Args:
        folder: The bundle.
        sha256: Expected SHA-256 of its manifest, as the registry holds it.

    Raises:
        ModelError: A file is missing, changed or unknown, or the model holds a type that is not trusted.
    """
    from skops import io

    schema = verify(folder, sha256)
    file = folder / "model.skops"
    untrusted = set(io.get_untrusted_types(file=file))
    unknown = sorted(untrusted - TRUSTED - {schema.estimator})
    if unknown:
        raise ModelError(
            "The model file holds types that are not trusted.",
            found=", ".join(unknown),
            where={"file": file},
            fix="Train again with a scikit-learn estimator, or report the type.",
        )
    return Bundle(schema=schema, model=io.load(file, trusted=sorted(untrusted)))


def verify(folder: Path, sha256: str | None = None) -> Schema:
    """Check a bundle's files against its manifest, and the manifest against the registry; returns its schema."""
    manifest_file = folder / "manifest.json"
    fix = "Put the folder back from a backup, or train again."
    if not manifest_file.exists():
        raise ModelError("The bundle has no manifest.", where={"folder": folder}, fix=fix)
    if sha256 is not None and _sha256(manifest_file) != sha256:
        raise ModelError("The bundle is not the one that was registered.", where={"file": manifest_file}, fix=fix)
    manifest = json.loads(manifest_file.read_text())
    present = {path.name for path in folder.iterdir()} - {"manifest.json"}
    for name in sorted(present ^ set(manifest["files"])):
        state = "unknown" if name in present else "missing"
        raise ModelError(
            f"The bundle has {'an' if state == 'unknown' else 'a'} {state} file.",
            where={"file": folder / name},
            fix=fix,
        )
    for name, digest in manifest["files"].items():
        if _sha256(folder / name) != digest:
            raise ModelError("A file of the bundle was changed.", where={"file": folder / name}, fix=fix)
    return Schema(**json.loads((folder / "schema.json").read_text()))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
