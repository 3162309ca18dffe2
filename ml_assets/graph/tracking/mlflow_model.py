"""A release as a version of MLflow's registered model. One folder has two flavours, and no pickle:

onnx              the bundle's graph as it is, where ONNX predicts; over the coded features
python_function   the whole release: a frame of raw rows in, scores and decisions out
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

from ml_assets.errors import TrackingError
from ml_assets.graph.mlflow_server import VERSION, connected, move_champion, registered
from ml_assets.ml import bundle, manifest, release
from ml_assets.tables.versions import ModelVersion

FOLDER = "release"  # in the artifacts of the version's run
LOADER = "ml_assets.server.pyfunc"
EXAMPLE_ROWS = 5
FIX = "materialize mlflow_model again"
# pandas has no missing integers: MLflow takes numbers there, and the pyfunc makes them whole again.
TYPES = {
    "string": "string",
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
    "date": "datetime",
    "timestamp": "datetime",
}


@dataclass(frozen=True)
class PackedVersion:
    """A version that is packed.

    Args:
        pipeline: The pipeline.
        version: Our number of it.
        folder: The release.
        sha256: SHA-256 of its manifest, from the registry.
    """

    pipeline: str
    version: str
    folder: Path
    sha256: str


def register(uri: str, packed: PackedVersion, find_champion: Callable[[], ModelVersion | None]) -> str:
    """Register a release, once, and let the alias name the champion. Returns MLflow's number of the version.

    Args:
        uri: Tracking URI.
        packed: The release, whose run is there.
        find_champion: Gives the champion, which may be another version, and move meanwhile.

    Raises:
        ModelError: A file of the release is missing or changed.
        TrackingError: The version has no run, or the server does not take the model.
    """
    with connected(uri, "the model", FIX) as client:
        number = registered(client, packed.pipeline, packed.version)
        if number is None:
            number = _register(client, packed)
        champion = find_champion()
        if champion is not None:
            move_champion(client, packed.pipeline, champion.version)
    return number


def _register(client: Any, packed: PackedVersion) -> str:
    run = _run(client, packed)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of itself
        save(packed, Path(folder) / FOLDER)
        client.log_artifacts(run.info.run_id, str(Path(folder) / FOLDER), FOLDER)
    _make_registered_model(client, packed.pipeline)
    made = client.create_model_version(
        packed.pipeline,
        f"{run.info.artifact_uri}/{FOLDER}",
        run.info.run_id,
        tags={VERSION: packed.version, "ml_assets.release_sha256": packed.sha256},
        description=f"{packed.pipeline} {packed.version}",
    )
    return str(made.version)


def _run(client: Any, packed: PackedVersion) -> Any:
    experiment = client.get_experiment_by_name(packed.pipeline)
    wanted = f"tags.`{VERSION}` = '{packed.version}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment.experiment_id], wanted) if experiment else []
    if not runs:
        raise TrackingError(
            f"Version {packed.version} has no run in MLflow.",
            where={"pipeline": packed.pipeline},
            fix="Materialize mlflow_runs, then mlflow_model.",
        )
    return runs[0]


def _make_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def save(packed: PackedVersion, target: Path) -> None:
    """Write the release as an MLflow model.

    Raises:
        ModelError: A file of the release is missing or changed.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    manifest.verify(packed.folder, packed.sha256, "release")
    schema = bundle.verify(packed.folder / "bundle")
    model = Model()
    if schema.engine == "onnx":
        model.add_flavor(
            "onnx",
            onnx_version=library_version("onnx"),
            data=f"data/{FOLDER}/bundle/model.onnx",
            providers=["CPUExecutionProvider"],
            onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
        )
    with tempfile.TemporaryDirectory() as folder:
        data, code = Path(folder) / FOLDER, Path(folder) / "ml_assets"
        shutil.copytree(packed.folder, data)
        with zipfile.ZipFile(packed.folder / release.SOURCES) as sources:
            sources.extractall(folder, [name for name in sources.namelist() if name.startswith("ml_assets/")])
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=LOADER,
            data_path=str(data),
            code_paths=[str(code)],
            mlflow_model=model,
            model_config={"sha256": packed.sha256},
            signature=_signature(schema),
            input_example=_example(schema, packed.folder),
            pip_requirements=_requirements(packed.folder, schema),
        )


def _signature(schema: bundle.Schema) -> Any:
    """Columns of a row, and of what is predicted, as `server/pyfunc.py` takes and gives them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    rows = [
        ColSpec(_type(word, name in schema.nullable), name, required=name not in schema.nullable)
        for name, word in schema.columns.items()
    ]
    made = [ColSpec("double", "score"), ColSpec("string", "decision")]
    made += [ColSpec("double", name) for name in schema.probability_columns]
    return ModelSignature(Schema(rows), Schema(made))


def _type(word: str, is_nullable: bool) -> str:
    return "double" if word == "integer" and is_nullable else TYPES[word]


def _example(schema: bundle.Schema, folder: Path) -> Any:
    """Golden rows as a frame of the signature's types; whole ones, because MLflow's JSON drops what is missing."""
    import pandas as pd

    golden = json.loads((folder / release.GOLDEN).read_text(encoding="utf-8"))["rows"]
    whole = [row for row in golden if None not in row.values()]
    frame = pd.DataFrame((whole or golden)[:EXAMPLE_ROWS], columns=list(schema.columns))
    kinds: dict[str, Any] = {"double": "float64", "datetime": "datetime64[ns]"}
    for name, word in schema.columns.items():
        kind = kinds.get(_type(word, name in schema.nullable))
        frame[name] = frame[name].astype(kind) if kind else frame[name]
    return frame


def _requirements(folder: Path, schema: bundle.Schema) -> list[str]:
    """The release's libraries in their versions, and what loads them."""
    text = (folder / "requirements.txt").read_text(encoding="ascii")
    needed = set(re.findall(r"^[A-Za-z0-9._-]+==[^\s\\]+", text, re.MULTILINE))
    loads = ["mlflow-skinny", "pandas", *(["onnx"] if schema.engine == "onnx" else [])]
    return sorted(needed | {f"{name}=={library_version(name)}" for name in loads})
