"""An MLflow server, as far as several stages deal with it: the connection, and the alias that names the champion."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from typing import Any

from ml_assets.errors import TrackingError

VERSION = "ml_assets.version"  # tag of runs and of registered versions, which MLflow numbers in its own way
CHAMPION = "champion"
# MLflow's own patience is some minutes for each call; a server that is away should be said in seconds.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
SILENCE = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


def shown(uri: str) -> str:
    """A tracking URI without its user and password."""
    return re.sub(r"//[^/@]*@", "//", uri)


@contextlib.contextmanager
def connected(uri: str, what: str, fix: str) -> Iterator[Any]:
    """A client of the server, whose errors inside the block become ours.

    Args:
        uri: Tracking URI.
        what: What it shall take, in words.
        fix: What to do once the server is there.

    Raises:
        TrackingError: MLflow is not installed, or its server refuses something.
    """
    for name, value in (PATIENCE | SILENCE).items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise TrackingError("MLflow is not installed.", fix="pip install 'ml-assets[mlflow]'") from error
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"The MLflow server did not take {what}.",
            found=str(error).splitlines()[0].replace(uri, shown(uri))[:300],
            where={"server": shown(uri)},
            fix=f"Start the server, then {fix}; the model itself is not touched.",
        ) from None  # the cause may hold the password of the address


def registered(client: Any, pipeline: str, version: str) -> str | None:
    """MLflow's number of a version; None where it is not registered."""
    found = client.search_model_versions(f"name = '{pipeline}' and tags.`{VERSION}` = '{version}'")
    return str(found[0].version) if found else None


def move_champion(client: Any, pipeline: str, version: str) -> str | None:
    """Let the alias name the version; what it is in MLflow, or None where it is not registered."""
    number = registered(client, pipeline, version)
    if number is not None:
        client.set_registered_model_alias(pipeline, CHAMPION, number)
    return number
