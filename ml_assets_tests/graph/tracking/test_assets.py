"""Trainings copied to a real MLflow server on SQLite."""

from __future__ import annotations

import copy
import os
import socket
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
from ml_assets.graph.tracking import mlflow_runs
from ml_assets.graph.tracking.record import Entry
from ml_assets.ml import bundle
from ml_assets_tests.conftest import Project, failure_text

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
    entry = Entry("half", {mlflow_runs.VERSION: "1.0.0"}, children=[Entry("tree", children=[Entry("tree 0")])])
    place = client.create_experiment("half")
    half = mlflow_runs._log(client, place, entry, None)
    mlflow_runs.export(server, "half", entry, _model())
    runs = client.search_runs([place])
    assert half not in {run.info.run_id for run in runs}
    assert sorted(run.info.run_name for run in runs) == ["half", "tree", "tree 0"]


def _model() -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])


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
        mlflow_runs.export("http://127.0.0.1:9", "x", Entry("x", {mlflow_runs.VERSION: "1.0.0"}), None)


def test_without_tracking_there_is_no_such_asset(trained: Project) -> None:
    keys = {key.path[-1] for key in trained.defs().resolve_asset_graph().get_all_asset_keys()}
    assert "mlflow_runs" not in keys
    assert "champion" in keys
