"""Trainings copied to a real MLflow server on SQLite."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_assets.errors import TrackingError
from ml_assets.graph import mlflow_server
from ml_assets.graph.deployment import deploy
from ml_assets.graph.tracking import mlflow_runs
from ml_assets.graph.tracking.record import TrackedRun
from ml_assets.ml import bundle
from ml_assets_tests.conftest import Project, failure_text
from ml_assets_tests.ports import free_port

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while not _answers(address):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.3)
        yield address
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def tracked(trained: Project, server: str) -> Project:
    """The trained project with a tracker; mlflow_runs writes nothing to its lake."""
    return replace(trained, spec_dict=copy.deepcopy(trained.spec_dict) | {"tracking": {"mlflow": server}})


@pytest.fixture
def client(server: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=server)


def runs_of(client: Any) -> dict[str, Any]:
    experiment = client.get_experiment_by_name("loans")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_a_version_its_candidates_and_trials_are_runs(tracked: Project, client: Any, tmp_path: Path) -> None:
    result = tracked.materialize("mlflow_runs")
    assert result.success, failure_text(result)
    runs = runs_of(client)
    assert set(runs) == {"loans 1.0.0", "tree", "tree 0", "tree 1", "linear", "linear 0", "linear 1"}
    version = runs["loans 1.0.0"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["tree"].data.tags["mlflow.parentRunId"] == version.info.run_id
    assert runs["tree 1"].data.tags["mlflow.parentRunId"] == runs["tree"].info.run_id
    (test,) = tracked.rows("SELECT value FROM {p}.evaluation_report WHERE scope = 'test' AND metric = 'roc_auc'")
    assert version.data.metrics["test_roc_auc"] == test["value"]
    (trial,) = tracked.rows("SELECT score, params FROM {p}.trials WHERE candidate = 'tree' AND trial = 1")
    assert runs["tree 1"].data.metrics["roc_auc"] == trial["score"]
    assert runs["tree 1"].data.params["min_samples_leaf"] == "10"
    files = {
        file.path for folder in ("bundle", "report") for file in client.list_artifacts(version.info.run_id, folder)
    }
    assert {"bundle/model.skops", "bundle/manifest.json", "report/1.0.0.html"} <= files


def test_the_model_can_be_loaded_from_mlflow(tracked: Project, client: Any) -> None:
    import mlflow.sklearn

    tracked.materialize("mlflow_runs")
    run_id = runs_of(client)["loans 1.0.0"].info.run_id
    mlflow.set_tracking_uri(tracked.spec_dict["tracking"]["mlflow"])
    model = mlflow.sklearn.load_model(f"runs:/{run_id}/model")
    rows = pd.DataFrame(tracked.rows("SELECT * FROM {p}.features WHERE batch = '5'"))
    judged = bundle.load(tracked.paths.bundles / "loans" / "1.0.0")
    assert len(rows) == 150
    np.testing.assert_allclose(model.predict_proba(rows)[:, 1], judged.scores(rows), atol=1e-12)


def test_a_version_is_told_once(tracked: Project, client: Any) -> None:
    tracked.materialize("mlflow_runs")
    before = {run.info.run_id for run in runs_of(client).values()}
    assert tracked.materialize("mlflow_runs").success
    experiment = client.get_experiment_by_name("loans")
    assert {run.info.run_id for run in client.search_runs([experiment.experiment_id])} == before


def test_a_copy_that_broke_off_is_made_again(server: str, client: Any) -> None:
    entry = TrackedRun(
        "half", {mlflow_runs.VERSION: "1.0.0"}, children=[TrackedRun("tree", children=[TrackedRun("tree 0")])]
    )
    place = client.create_experiment("half")
    half = mlflow_runs._log(client, place, entry, None)
    mlflow_runs.export(server, "half", entry, _model())
    runs = client.search_runs([place])
    assert half not in {run.info.run_id for run in runs}
    assert sorted(run.info.run_name for run in runs) == ["half", "tree", "tree 0"]


def _model() -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two retries, as by default, take five seconds."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_is_said(tracked: Project) -> None:
    tracked.spec_dict["tracking"] = {"mlflow": "http://ana:secret@127.0.0.1:9"}
    result = tracked.materialize("mlflow_runs")
    assert not result.success
    text = failure_text(result)
    assert "The MLflow server did not take the runs" in text
    assert "127.0.0.1:9" in text
    assert "secret" not in text


def test_without_mlflow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(TrackingError, match=r"ml-assets\[mlflow\]"):
        mlflow_runs.export("http://127.0.0.1:9", "x", TrackedRun("x", {mlflow_runs.VERSION: "1.0.0"}), None)


def test_without_tracking_there_is_no_such_asset(trained: Project) -> None:
    keys = {key.path[-1] for key in trained.defs().resolve_asset_graph().get_all_asset_keys()}
    assert not {"mlflow_runs", "mlflow_model"} & keys
    assert "champion" in keys


# In a process that has nothing of ml_assets, where MLflow refuses every pickle.
LOAD = """
import json, sys
import mlflow.onnx, mlflow.pyfunc, numpy, onnxruntime, pandas

graph = onnxruntime.InferenceSession(mlflow.onnx.load_model("models:/loans@champion").SerializeToString())
model = mlflow.pyfunc.load_model("models:/loans@champion")
rows = pandas.read_parquet("rows.parquet")
print(json.dumps({
    "imported": [sys.modules["ml_assets.server.scorer"].__file__, *(name for name in sys.modules if name == "dagster")],
    "onnx": graph.run(None, {"X": numpy.load("coded.npy")})[0][:, 1].tolist(),
    "raw": model.predict(rows).to_dict("list"),
    "without_income": model.predict(rows.head(2).drop(columns="income"))["score"].tolist(),
    "null_income": model.predict(rows.head(2).assign(income=numpy.nan))["score"].tolist(),
    "example": len(model.predict(model.input_example)),
    "inputs": {column.name: [column.type.name, column.required] for column in model.metadata.signature.inputs},
}))
"""


@pytest.fixture
def registered(tracked: Project, client: Any) -> Any:
    """The champion's version of the registered model."""
    for result in (tracked.materialize("mlflow_runs"), tracked.materialize("mlflow_model")):
        assert result.success, failure_text(result)
    return client.get_model_version_by_alias("loans", "champion")


def test_both_flavours_of_the_champion_score_as_batches_do_without_pickle(
    tracked: Project, registered: Any, tmp_path: Path
) -> None:
    served = bundle.load(tracked.paths.releases / "loans" / "1.0.0" / "bundle")
    scored = pd.DataFrame(
        tracked.rows(
            "SELECT f.*, p.score FROM {p}.features f JOIN {p}.predictions p USING (batch, row_id) WHERE batch = '5'"
        )
    )
    known = {name: dict(zip(values, range(99), strict=False)) for name, values in served.schema.categories.items()}
    coded = {name: scored[name].map(known[name]) if name in known else scored[name] for name in served.schema.features}
    np.save(tmp_path / "coded.npy", pd.DataFrame(coded).to_numpy(np.float64))
    # The release has the lookups that the newest batch of the training had.
    raw = pd.DataFrame(
        tracked.rows(
            "SELECT d.loan, d.income, d.region, d.signed, f.* EXCLUDE (batch, row_id, income, region) "
            "FROM {p}.validated_data d JOIN {p}.features f USING (batch, row_id) WHERE batch = '4' ORDER BY row_id"
        )
    )
    raw[["signed", "region", "income", "loan"]].to_parquet(tmp_path / "rows.parquet")

    address = tracked.spec_dict["tracking"]["mlflow"]
    environment = {"PATH": os.environ["PATH"], "MLFLOW_TRACKING_URI": address, "HOME": str(tmp_path)}
    environment |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (imported,) = found["imported"]
    assert "/code/ml_assets/server/" in imported, "the server's code comes with the model"
    np.testing.assert_allclose(found["onnx"], scored["score"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["raw"]["score"], served.scores(raw), rtol=0, atol=1e-9)
    assert set(found["raw"]["decision"]) == {"0", "1"}
    assert found["without_income"] == found["null_income"]
    assert found["example"] == 5
    assert found["inputs"] == {
        "loan": ["long", True],
        "income": ["double", False],
        "region": ["string", True],
        "signed": ["datetime", True],
    }


def test_a_version_is_registered_once_and_the_alias_moves_with_ours(
    tracked: Project, registered: Any, client: Any
) -> None:
    assert registered.tags["ml_assets.version"] == "1.0.0"
    assert client.get_run(registered.run_id).info.run_name == "loans 1.0.0"
    assert tracked.materialize("mlflow_model").success
    assert [one.version for one in client.search_model_versions("name = 'loans'")] == [registered.version]

    address = tracked.spec_dict["tracking"]["mlflow"]
    later = client.create_model_version(
        "loans", registered.source, registered.run_id, tags={mlflow_server.VERSION: "1.0.1"}
    )
    assert deploy.move_in_mlflow(address, "loans", "1.0.1").ok
    assert client.get_model_version_by_alias("loans", "champion").version == later.version
    missing = deploy.move_in_mlflow(address, "loans", "9.0.0", wait_s=0)
    assert not missing.ok
    assert "9.0.0 is not registered there: materialize loans/mlflow_model" in missing.detail
    assert deploy.move_in_mlflow(address, "loans", "1.0.0").ok
    client.delete_model_version("loans", later.version)
    assert client.get_model_version_by_alias("loans", "champion").version == registered.version


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_is_a_step_that_failed() -> None:
    step = deploy.move_in_mlflow("http://ana:secret@127.0.0.1:9", "loans", "1.0.0")
    assert not step.ok
    assert step.target == "http://127.0.0.1:9"
    assert "secret" not in step.detail
