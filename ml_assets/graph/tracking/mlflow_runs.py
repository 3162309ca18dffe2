"""Entries as runs of an MLflow server. A version is told once: a copy that broke off is removed and made again."""

from __future__ import annotations

import time
from typing import Any

from ml_assets.graph.mlflow_server import VERSION, connected
from ml_assets.graph.tracking.record import TrackedRun


def export(uri: str, experiment: str, entry: TrackedRun, model: Any) -> str:
    """Tell an MLflow server about a version; returns the id of its run, the earlier one where it was told before.

    Args:
        uri: Tracking URI.
        experiment: Name of the experiment; made where it is missing.
        entry: The version with its candidates and trials.
        model: Fitted Pipeline; logged as an MLflow model in the skops format.

    Raises:
        TrackingError: MLflow is not installed, or its server does not take the runs.
    """
    with connected(uri, "the runs", "materialize mlflow_runs again") as client:
        place = _experiment(client, experiment)
        earlier = client.search_runs([place], f"tags.`{VERSION}` = '{entry.tags[VERSION]}'")
        for run in earlier:
            if run.info.status == "FINISHED":
                return str(run.info.run_id)
        for run in earlier:
            _remove(client, place, run.info.run_id)
        run_id = _log(client, place, entry, None)
        _log_model(uri, run_id, model)
        client.set_terminated(run_id)
    return run_id


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _remove(client: Any, experiment: str, run_id: str) -> None:
    for child in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'"):
        _remove(client, experiment, child.info.run_id)
    client.delete_run(run_id)


def _log(client: Any, experiment: str, entry: TrackedRun, parent: str | None) -> str:
    """Log an entry with all that is in it; only children are ended here."""
    from mlflow.entities import Metric, Param, RunTag

    nested = {"mlflow.parentRunId": parent} if parent else {}
    run_id: str = client.create_run(experiment, run_name=entry.name, tags=entry.tags | nested).info.run_id
    moment = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, moment, 0) for name, value in entry.metrics.items()],
        params=[Param(name, value) for name, value in entry.params.items()],
        tags=[RunTag("ml_assets.entry", entry.name)],
    )
    for folder, files in entry.files.items():
        for file in files:
            client.log_artifact(run_id, str(file), folder)
    for child in entry.children:
        client.set_terminated(_log(client, experiment, child, run_id))
    return run_id


def _log_model(uri: str, run_id: str, model: Any) -> None:
    """The model in MLflow's own format, so that its tools can load it; never a pickle."""
    import tempfile
    import warnings
    from pathlib import Path

    import mlflow.sklearn
    from mlflow import MlflowClient
    from skops import io

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of itself
        trusted = io.get_untrusted_types(data=io.dumps(model))
        mlflow.sklearn.save_model(
            model,
            str(Path(folder) / "model"),
            serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
            skops_trusted_types=trusted,
            pip_requirements=["scikit-learn", "skops", "pandas"],
        )
        MlflowClient(tracking_uri=uri).log_artifacts(run_id, str(Path(folder) / "model"), "model")
