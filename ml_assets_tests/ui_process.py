"""`ml-assets ui` as a process on free ports, which ends as Ctrl-C ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ml_assets_tests.ports import free_ports

ML_ASSETS = str(Path(sys.executable).parent / "ml-assets")


@contextlib.contextmanager
def running(root: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Port of Dagster's web server, which is not open yet, and the process; it writes to ui.log of the project."""
    (port,) = free_ports(offsets=(0, 1))  # the pages are on the second one
    modules = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "DAGSTER_HOME": str(root / "data/dagster"), "PYTHONPATH": modules}
    process = started([ML_ASSETS, "ui", "--port", str(port)], root, environment, root / "ui.log")
    try:
        yield port, process
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def started(command: Sequence[str], root: Path, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A process with a group of its own, to which Ctrl-C can be sent wherever the tests run."""
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            cwd=root,
            env={**environment, "PYTHONWARNINGS": "ignore"},
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )
