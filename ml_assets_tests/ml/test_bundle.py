"""A bundle is whole, unchanged and trusted, or it is not loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from ml_assets.errors import ModelError
from ml_assets.ml import bundle, estimators
from ml_assets.ml.onnx import estimators as onnx_estimators

TYPES = {"a": "number", "c": "category"}
FRAME = estimators.feature_frame(pd.DataFrame({"a": np.arange(80.0), "c": ["x", "y"] * 40}), TYPES)
LABELS = (np.arange(80) % 3 == 0).astype(int)


def schema(path: str) -> bundle.Schema:
    return bundle.Schema("binary", "late", {"a": "number", "c": "string"}, TYPES, [], 0.4, path)


@pytest.mark.parametrize(
    ("path", "engine"),
    [
        ("sklearn.ensemble.HistGradientBoostingClassifier", "onnx"),
        ("sklearn.ensemble.RandomForestClassifier", "onnx"),
        ("sklearn.linear_model.LogisticRegression", "onnx"),
        ("sklearn.neighbors.KNeighborsClassifier", "skops"),
        ("sklearn.neural_network.MLPClassifier", "skops"),
    ],
)
def test_saved_models_answer_as_before(tmp_path: Path, path: str, engine: str) -> None:
    params = {"max_iter": 2000} if "MLP" in path else {}
    model = estimators.make_model(path, params, TYPES, 0).fit(FRAME, LABELS)
    digest = bundle.save(tmp_path / "1.0.0", model, schema(path), {"features.sql": "SELECT 1"}, FRAME)
    loaded = bundle.load(tmp_path / "1.0.0", digest)
    assert loaded.schema.engine == engine
    assert (path.rpartition(".")[2] in loaded.schema.why) == (engine == "skops")
    expected = model.predict_proba(FRAME)[:, 1]
    np.testing.assert_allclose(loaded.scores(FRAME), expected, rtol=0, atol=1e-12)
    again = bundle.load_sklearn(tmp_path / "1.0.0", digest)
    np.testing.assert_array_equal(again.predict_proba(FRAME)[:, 1], expected)


def test_a_wrong_export_is_caught_and_skops_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "sklearn.ensemble.HistGradientBoostingClassifier"
    model = estimators.make_model(path, {}, TYPES, 0).fit(FRAME, LABELS)
    monkeypatch.setitem(onnx_estimators.LINKS, "LogitLink", "half_sigmoid")
    bundle.save(tmp_path / "1.0.0", model, schema(path), {}, FRAME)
    loaded = bundle.load(tmp_path / "1.0.0")
    assert loaded.schema.engine == "skops"
    assert loaded.schema.why.startswith("ONNX differs from scikit-learn by 0.")
    assert not (tmp_path / "1.0.0" / "model.onnx").exists()
    np.testing.assert_array_equal(loaded.scores(FRAME), model.predict_proba(FRAME)[:, 1])


def test_the_engine_onnx_needs_neither_skops_nor_scikit_learn(tmp_path: Path) -> None:
    path = "sklearn.ensemble.HistGradientBoostingClassifier"
    model = estimators.make_model(path, {}, TYPES, 0).fit(FRAME, LABELS)
    bundle.save(tmp_path / "1.0.0", model, schema(path), {}, FRAME)
    code = (
        "import sys; from pathlib import Path; from ml_assets.ml import bundle; "
        f"loaded = bundle.load(Path({str(tmp_path / '1.0.0')!r})); "
        "print(loaded.model.predict_columns({'a': [1.0, None], 'c': ['x', None]}).shape, "
        "sorted({'skops', 'sklearn', 'pandas', 'onnx', 'pydantic'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "(2, 2) []"


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
