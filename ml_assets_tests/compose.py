"""The services of deploy/compose.yaml as processes of this machine: their commands and environment, other addresses."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ml_assets_tests import ui_process
from ml_assets_tests.conftest import wait_until

ROOT = Path(__file__).parents[1]
FILE = ROOT / "deploy" / "compose.yaml"


def read(secrets: Mapping[str, str]) -> dict[str, Any]:
    """The file as Compose reads it with these variables; one that is needed and not given is an error."""

    def value(found: re.Match[str]) -> str:
        name, default = found["name"], found["default"]
        return secrets[name] if default is None else secrets.get(name, default)

    text = re.sub(r"\$\{(?P<name>\w+)(?::\?[^}]*|:-(?P<default>[^}]*))\}", value, FILE.read_text())
    return dict(yaml.safe_load(text))


@dataclass
class Platform:
    """The services, each in the folder of a project.

    Args:
        file: As `read` gives it.
        moved: What of commands, environment and configs is another here, such as addresses.
    """

    file: Mapping[str, Any]
    moved: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def here(self, text: str) -> str:
        return re.sub("|".join(map(re.escape, self.moved)), lambda found: self.moved[found[0]], text)

    def write_configs(self, service: str, root: Path) -> None:
        for one in self.file["services"][service].get("configs", ()):
            name = Path(one["target"]).relative_to("/app")
            (root / name).write_text(self.here(self.file["configs"][one["source"]]["content"]))

    def environment(self, service: str, root: Path) -> dict[str, str]:
        said = {name: self.here(value or "") for name, value in self.file["services"][service]["environment"].items()}
        said = {name: value.replace("/app", str(root)) for name, value in said.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **said, "PATH": path, "PYTHONPATH": str(root)}

    def start(self, service: str, root: Path) -> subprocess.Popen[bytes]:
        self.write_configs(service, root)
        command = [self.here(word) for word in self.file["services"][service]["command"]]
        self.running[service] = ui_process.started(
            command, root, self.environment(service, root), root / f"{service}.log"
        )
        return self.running[service]

    def end(self) -> None:
        """End all of them, and what they have started."""
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def platform(file: Mapping[str, Any], moved: Mapping[str, str]) -> Iterator[Platform]:
    """The services, ended with the block."""
    made = Platform(file, moved)
    try:
        yield made
    finally:
        made.end()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for(port: int, what: str) -> None:
    wait_until(lambda: listens(port), 120, what)
