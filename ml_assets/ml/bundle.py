"""The bundle: the immutable folder that a model version ships as.

model.skops    the fitted scikit-learn Pipeline, audited before it is loaded; never a pickle
model.onnx     the same as an ONNX graph, where it predicts the same; then it is what predicts, everywhere
features.sql   the SELECT that makes its features; or each Python file of the function that does, by its module's name
schema.json    columns of a request, features and their types, kind of target, classes, threshold, engine
reference.*    a sample of the rows that it was fitted on, and facts of all of them: what drift is measured against
manifest.json  SHA-256 of every other file, versions of the libraries

Batch scoring, evaluation and the server load a bundle in the same way and ask the same engine, so that what was
evaluated is what serves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version as library_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.atomic import written_folder
from ml_assets.errors import ModelError
from ml_assets.ml import archives, documents, estimators, manifest
from ml_assets.ml import reference as references
from ml_assets.ml.engine import OnnxModel
from ml_assets.ml.reference import Reference

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ENGINES, KINDS = ("onnx", "skops"), ("binary", "multiclass", "regression")
COLUMN_TYPES = ("string", "integer", "number", "boolean", "date", "timestamp")
FEATURE_TYPES = ("number", "category")
LIBRARIES = ("scikit-learn", "skops", "numpy", "duckdb", "onnxruntime")
PARITY = 1e-12  # largest difference from scikit-learn with which the ONNX graph is used
PARITY_ROWS = 50_000
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
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
        "catboost.core.CatBoostClassifier",
        "catboost.core.CatBoostRegressor",
    }
)
MAX_MODEL = 16 * 2**30  # bytes that the model file may unpack to


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
        estimator: Module and name of the estimator's class. Where the digest of the bundle is known, the audit trusts
            this type beside those of the libraries: the training wrote it.
        nullable: Columns of a request that may be null.
        engine: What predicts: onnx or skops.
        why: Why it is not onnx; empty otherwise.
        categories: Feature -> values that the model knows, in the order of their codes (onnx).
    """

    kind: str
    target: str
    columns: dict[str, str]
    features: dict[str, str]
    classes: list[str]
    threshold: float | None
    estimator: str
    nullable: list[str] = field(default_factory=list)
    engine: str = "skops"
    why: str = ""
    categories: dict[str, list[str]] = field(default_factory=dict)

    @property
    def probability_columns(self) -> list[str]:
        """Names for the probability of each class, where a score does not say it all (multiclass)."""
        return [f"probability_{name}" for name in self.classes] if self.kind == "multiclass" else []


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle; `model` has predict, or predict_proba, over a feature frame."""

    schema: Schema
    model: Any

    def scores(self, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Scores of rows of features, as `estimators.predict_scores` has them."""
        frame = estimators.feature_frame(rows, self.schema.features)
        return estimators.predict_scores(self.model, frame, self.schema.kind)

    def scores_of(self, columns: Mapping[str, Sequence[Any]]) -> np.ndarray[Any, Any]:
        """The same for plain columns, without pandas where the engine needs none."""
        if isinstance(self.model, OnnxModel):
            return estimators.scores_of(self.model.predict_columns(columns), self.schema.kind)
        import pandas as pd

        return self.scores(pd.DataFrame(dict(columns)))


def save(
    folder: Path,
    model: Any,
    schema: Schema,
    texts: Mapping[str, str],
    rows: pd.DataFrame | None = None,
    reference: Reference | None = None,
) -> str:
    """Write a bundle; it appears whole or not at all. Returns the SHA-256 of its manifest.

    Args:
        folder: Must not exist.
        model: Fitted Pipeline.
        schema: What the bundle needs and says.
        texts: Further files by name, such as features.sql.
        rows: Feature frame of train rows, on which the ONNX graph must agree; without them skops predicts.
        reference: What later batches are compared with.
    """
    from skops import io

    if folder.exists():
        raise ModelError("A bundle is never written twice.", where={"folder": folder})
    with written_folder(folder) as new:
        io.dump(model, new / "model.skops")
        schema, proto = with_engine(model, schema, rows)
        if proto is not None:
            (new / "model.onnx").write_bytes(proto)
        (new / "schema.json").write_text(json.dumps(asdict(schema), indent=2))
        for name, text in texts.items():
            (new / name).write_text(text)
        if reference is not None:
            references.write(new, reference)
        libraries = {name: library_version(name) for name in LIBRARIES}
        return manifest.write(new, {"libraries": libraries})


def with_engine(model: Any, schema: Schema, rows: pd.DataFrame | None) -> tuple[Schema, bytes | None]:
    """The schema with the engine that shall predict, and the ONNX graph where that is it.

    The graph is compared with the model on up to 50,000 of the rows, sampled with a seed, and on rows with
    missing and unknown values. It is used where no two predictions differ by more than 1e-12.
    """
    from ml_assets.ml import onnx

    if rows is None or not len(rows):
        return replace(schema, why="no rows to compare on"), None
    try:
        exported = onnx.export(model, schema.features)
    except onnx.NotExportable as error:
        return replace(schema, why=f"ONNX is not known to be exact for {error}"), None
    except Exception as error:  # what another version of scikit-learn may keep in another way
        return replace(schema, why=f"the export failed: {type(error).__name__}: {error}"), None
    sample = parity_rows(rows)
    parts = {"train rows": sample, "rows with missing and unknown values": onnx.hard_rows(sample, schema.features)}
    for name, part in parts.items():
        try:
            difference = onnx.parity(exported, model, part)
        except Exception as error:  # either library may refuse rows in its own way
            return replace(schema, why=f"{name} cannot be compared: {str(error).splitlines()[0]}"), None
        if difference > PARITY:
            return replace(schema, why=f"ONNX differs from scikit-learn by {difference:.2g} on {name}"), None
    return replace(schema, engine="onnx", why="", categories=exported.categories), exported.proto


def parity_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Up to 50,000 of the rows, sampled with a seed."""
    return rows.sample(PARITY_ROWS, random_state=0) if len(rows) > PARITY_ROWS else rows


def load(folder: Path, sha256: str | None = None) -> Bundle:
    """Verify every file, audit the model file, and only then construct the model.

    Args:
        folder: The bundle.
        sha256: Expected SHA-256 of its manifest, as the registry holds it. Without it, the folder's own word on which
            type to trust counts for nothing.

    Raises:
        ModelError: A file is missing, changed, unknown or unreadable, or the model holds a type that is not trusted.
    """
    schema = verify(folder, sha256)
    file = folder / f"model.{schema.engine}"
    if schema.engine == "onnx":
        try:
            model = OnnxModel(file.read_bytes(), schema.features, schema.categories)
        except Exception as error:  # of the library, of many kinds, and of a file that is not there
            raise _unreadable(file, error) from error
        return Bundle(schema=schema, model=model)
    return Bundle(schema=schema, model=_audited(file, schema, sha256 is not None))


def _audited(file: Path, schema: Schema, is_ours: bool) -> Any:
    """The scikit-learn model, where its file holds no type but trusted ones."""
    from skops import io

    archives.check(file, MAX_MODEL)
    trusted = TRUSTED | {schema.estimator} if is_ours else TRUSTED
    try:
        untrusted = set(io.get_untrusted_types(file=file))
    except Exception as error:  # of the library, of many kinds: the file is not what it wrote
        raise _unreadable(file, error) from error
    unknown = sorted(untrusted - trusted)
    if unknown:
        needs_digest = not set(unknown) - {schema.estimator}
        raise ModelError(
            "The model file holds types that are not trusted.",
            found=", ".join(unknown),
            where={"file": file},
            fix="Give the manifest's --sha256 where you know it from the training."
            if needs_digest
            else "Train again with a scikit-learn estimator, or report the type.",
        )
    try:
        return io.load(file, trusted=sorted(untrusted))
    except Exception as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> ModelError:
    found = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ModelError("The model file cannot be loaded.", found=found, where={"file": file}, fix=manifest.FIX)


def load_sklearn(folder: Path, sha256: str | None = None) -> Any:
    """The fitted scikit-learn Pipeline of a bundle, whatever its engine is."""
    return _audited(folder / "model.skops", verify(folder, sha256), sha256 is not None)


def texts(folder: Path) -> dict[str, str]:
    """The SQL and Python files of a bundle, by name."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.suffix in (".sql", ".py")}


def verify(folder: Path, sha256: str | None = None) -> Schema:
    """Check a bundle's files against its manifest, and the manifest against the registry; returns its schema."""
    manifest.verify(folder, sha256)
    return read_schema(folder)


def read_schema(folder: Path) -> Schema:
    """The schema of a bundle that was verified.

    Raises:
        ModelError: It is not one that this version reads.
    """
    schema = documents.read(folder / "schema.json", Schema)
    words = [("engine", schema.engine, ENGINES), ("kind", schema.kind, KINDS)]
    words += [(f"columns.{name}", word, COLUMN_TYPES) for name, word in schema.columns.items()]
    words += [(f"features.{name}", word, FEATURE_TYPES) for name, word in schema.features.items()]
    for name, word, known in words:
        if word not in known:
            raise ModelError(
                "The schema has a word that this version does not know.",
                found=f"{name}: {word!r}; known are {', '.join(known)}",
                where={"file": folder / "schema.json"},
            )
    return schema
