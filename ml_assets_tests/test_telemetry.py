"""No library tells its makers that it is used: not by the network, not by files in the home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ml_assets import telemetry
from ml_assets.graph.release.packaging.pack import DOCKERFILE
from ml_assets.ml import release
from ml_assets_tests.conftest import Project

ROOT = Path(__file__).parents[1]
LOAD = """
import sys, time
from pathlib import Path
reached = []
calls = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, args: reached.append(event) if event in calls else None)
from ml_assets.ml import bundle
loaded = bundle.load(Path(sys.argv[1]))
import onnxruntime
print(type(loaded.model).__name__, reached)
"""


def test_a_load_of_a_model_leaves_no_trace_in_the_home_and_looks_nothing_up(trained: Project, tmp_path: Path) -> None:
    """ONNX Runtime writes its device id and its database at the first session, and looks its server up from there."""
    command = [sys.executable, "-c", LOAD, str(trained.paths.releases / "loans/1.0.0/bundle")]
    trace = tmp_path / "trace"
    strace = shutil.which("strace")  # what native code does; without it, the traces in the home must do
    if strace:
        command = [strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace), *command]
    home = tmp_path / "home"
    home.mkdir()
    # A home of its own, and nothing that says CI: there the library keeps still by itself.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "OnnxModel []"
    assert list(home.rglob("*")) == []
    if strace:
        assert [line for line in trace.read_text().splitlines() if "AF_INET" in line] == []


def test_every_switch_is_set_and_reaches_the_library() -> None:
    from evidently.telemetry import event_logger
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY

    assert {name: os.environ.get(name) for name in telemetry.OFF} == telemetry.OFF
    assert not event_logger.is_enabled()
    assert MLFLOW_DISABLE_TELEMETRY.get()


def test_the_image_and_the_proof_have_the_same_environment() -> None:
    settings = [word for line in DOCKERFILE.splitlines() if line.startswith("ENV ") for word in line.split()[1:]]
    assert dict(word.split("=", 1) for word in settings if "{" not in word) == release.ENVIRONMENT
    assert telemetry.OFF.items() <= release.ENVIRONMENT.items()
