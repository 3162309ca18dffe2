"""Four real data sets go from a file and the name of a column to a champion, with nothing written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sklearn.datasets

from ml_assets.scaffold.draft import Draft, draft
from ml_assets.scaffold.project import write_pipeline
from ml_assets_tests.conftest import Project, failure_text
from ml_assets_tests.scaffold.test_names import NAMES, of_yaml


def packaged(name: str, **options: Any) -> pd.DataFrame:
    """A data set that ships inside scikit-learn, classes by their names."""
    found = getattr(sklearn.datasets, f"load_{name}")(as_frame=True, **options)
    frame: pd.DataFrame = found.frame
    if name in ("breast_cancer", "iris"):
        frame["target"] = frame["target"].map(dict(enumerate(found.target_names)))
    return frame


def breast_cancer(folder: Path) -> None:
    """With names of every kind."""
    frame = packaged("breast_cancer")
    odd = dict(zip(frame.columns, [name for name in NAMES if name != "target"], strict=False))
    frame.rename(columns={**odd, "target": "target"}).to_csv(folder / "breast_cancer.csv", index=False)


def iris(folder: Path) -> None:
    packaged("iris").to_csv(folder / "iris.csv.gz", index=False)


def diabetes(folder: Path) -> None:
    packaged("diabetes", scaled=False).to_json(folder / "diabetes.jsonl", orient="records", lines=True)


def digits(folder: Path) -> None:
    """Three batches of 64 pixels."""
    frame = packaged("digits").iloc[:450].astype(int)
    for batch in range(3):
        frame.iloc[batch::3].to_parquet(folder / f"digits_{batch + 1:02d}.parquet")


SETS = {
    breast_cancer: ("binary", "stratified", "boosting", "roc_auc", 0.9),
    iris: ("multiclass", "stratified", "boosting", "balanced_accuracy", 0.8),
    diabetes: ("regression", "random", "linear", "r2", 0.2),
    digits: ("multiclass", "batch", "linear", "balanced_accuracy", 0.8),
}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def project_of(made: Draft, root: Path, instance: dg.DagsterInstance, candidate: str) -> Project:
    """The written pipeline, its search cut down to one trial of one candidate."""
    write_pipeline(made, root / "defs")
    spec = of_yaml(root / "defs").model_dump(exclude_unset=True)
    spec["source"]["settle_seconds"] = 0
    spec["tuning"].update(trials=1, folds=2)
    spec.setdefault("gates", {})["serving"] = {"p95_ms": 5000}  # how busy this machine is says nothing of a model
    spec["candidates"] = {candidate: spec["candidates"][candidate]}
    if candidate == "boosting":
        spec["candidates"][candidate]["params"]["max_iter"] = 20
    return Project(root, instance, spec, {"features.sql": (root / "defs" / "features.sql").read_text()})


@pytest.mark.parametrize(
    "write",
    [iris, *(pytest.param(write, marks=pytest.mark.slow) for write in (breast_cancer, diabetes, digits))],
    ids=lambda write: write.__name__,
)
def test_from_a_file_to_a_champion(write: Any, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    kind, split, candidate, metric, least = SETS[write]
    folder = tmp_path / "incoming"
    folder.mkdir()
    write(folder)
    made = draft(write.__name__, "incoming", "target", tmp_path, tmp_path)
    assert (made.target.kind, made.split["by"], made.path) == (kind, split, "incoming")
    project = project_of(made, tmp_path, instance, candidate)
    assert project.arrive().success
    asset_names = ("raw_data", "validated_data", "quarantine", "features", "training_set", f"candidate_{candidate}")
    released = ("trained_model", "evaluation_report", "release_candidate", "champion")
    result = project.materialize(*asset_names, *released, batches=made.batches[:: max(len(made.batches) - 1, 1)])
    assert result.success, failure_text(result)
    assert project.value("SELECT decision FROM {p}.champion") == "promoted"
    assert project.value("SELECT count(*) FROM {p}.quarantine") == 0
    (test,) = project.rows(f"SELECT value FROM {{p}}.evaluation_report WHERE scope = 'test' AND metric = '{metric}'")
    assert test["value"] > least
    (release,) = project.rows("SELECT engine, started, parity FROM {p}.release_candidate")
    assert (release["engine"], release["started"]) == ("onnx", True)
    assert release["parity"] <= 1e-12
