"""A bundle is whole, unchanged and trusted, or it is not loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from ml_assets.errors import ModelError
from ml_assets.ml import bundle, estimators

TYPES = {"a": "number", "c": "category"}
FRAME = estimators.feature_frame(pd.DataFrame({"a": np.arange(80.0), "c": ["x", "y"] * 40}), TYPES)
LABELS = (np.arange(80) % 3 == 0).astype(int)


def schema(path: str) -> bundle.Schema:
    return bundle.Schema("binary", "late", {"a": "number", "c": "string"}, TYPES, [], 0.4, path)


@pytest.mark.parametrize(
    "path",
    [
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.ensemble.RandomForestClassifier",
        "sklearn.ensemble.GradientBoostingClassifier",
        "sklearn.linear_model.LogisticRegression",
        "sklearn.neighbors.KNeighborsClassifier",
        "sklearn.neural_network.MLPClassifier",
    ],
)
def test_saved_models_answer_as_before(tmp_path: Path, path: str) -> None:
    params = {"max_iter": 2000} if "MLP" in path else {}
    model = estimators.make_model(path, params, TYPES, 0).fit(FRAME, LABELS)
    digest = bundle.save(tmp_path / "1.0.0", model, schema(path), {"features.sql": "SELECT 1"})
    loaded = bundle.load(tmp_path / "1.0.0", digest)
    assert loaded.schema == schema(path)
    np.testing.assert_array_equal(loaded.model.predict_proba(FRAME), model.predict_proba(FRAME))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, str]:
    path = "sklearn.linear_model.LogisticRegression"
    model = estimators.make_model(path, {}, TYPES, 0).fit(FRAME, LABELS)
    return tmp_path / "1.0.0", bundle.save(tmp_path / "1.0.0", model, schema(path), {"features.sql": "SELECT 1"})


def test_every_way_to_change_a_bundle_is_found(saved: tuple[Path, str]) -> None:
    folder, digest = saved
    (folder / "extra.py").write_text("import os")
    with pytest.raises(ModelError, match="unknown file") as caught:
        bundle.load(folder, digest)
    assert "extra.py" in str(caught.value)
    (folder / "extra.py").unlink()
    text = (folder / "features.sql").read_text()
    (folder / "features.sql").write_text(text + " ")
    with pytest.raises(ModelError, match="was changed"):
        bundle.load(folder, digest)
    (folder / "features.sql").unlink()
    with pytest.raises(ModelError, match="missing file"):
        bundle.load(folder, digest)
    (folder / "features.sql").write_text(text)
    bundle.load(folder, digest)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(ModelError, match="not the one that was registered"):
        bundle.load(folder, digest)
    with pytest.raises(ModelError, match="no manifest"):
        bundle.load(folder / "nowhere")


def test_a_bundle_is_never_written_twice(saved: tuple[Path, str]) -> None:
    with pytest.raises(ModelError, match="never written twice"):
        bundle.save(saved[0], None, schema("x.Y"), {})


class Stranger(BaseEstimator):  # type: ignore[misc]
    """An estimator that no bundle has declared."""

    def fit(self, features: object, labels: object) -> Stranger:
        self.fitted_ = True
        return self


def test_a_type_that_nobody_declared_is_not_constructed(tmp_path: Path) -> None:
    bundle.save(tmp_path / "1.0.0", Stranger().fit(None, None), schema("sklearn.tree.DecisionTreeClassifier"), {})
    with pytest.raises(ModelError, match="not trusted") as caught:
        bundle.load(tmp_path / "1.0.0")
    assert "Stranger" in str(caught.value)


def test_no_pickle_in_the_package() -> None:
    import ml_assets

    root = Path(ml_assets.__file__).parent
    words = ("import pickle", "import joblib", "eval(", "exec(", "cloudpickle", "allow_unsigned")
    found = [f"{file}: {word}" for file in root.rglob("*.py") for word in words if word in file.read_text()]
    assert found == []
