"""The processes of a project under `ml-assets ui`: pages, a code server for each code location, daemon, web server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from ml_assets.errors import SpecError
from ml_assets.liveness import ENV_SOCKETS, listens
from ml_assets.ui.locations import Location
from ml_assets.ui.supervise import Child

LOADING_S = 120  # longest that daemon and web server wait for a code server; then they say what is wrong with it
LOST_S = 3  # a reload leaves a code server without a process for a moment


def services(
    root: Path,
    temporary: Path,
    address: tuple[str, int],
    environment: Mapping[str, str],
    say: Callable[[str], object],
    keys: Path | None = None,
) -> list[Child]:
    """The processes, none of them started.

    Args:
        root: The project.
        temporary: Folder for sockets and the workspace file.
        address: Host and port of the web server; the pages are one port above it.
        environment: Environment of all of them.
        say: Takes a line for people.
        keys: File of the keys that may approve versions on the pages.

    Raises:
        SpecError: Dagster cannot tell the project's code locations.
    """
    locations = _locations(root, environment)
    sockets = {location.name: temporary / f"{n}.sock" for n, location in enumerate(locations) if location.arguments}
    workspace = temporary / "workspace.yaml"
    workspace.write_text(json.dumps({"load_from": [_entry(location, sockets) for location in locations]}))
    environment = {**environment, ENV_SOCKETS: os.pathsep.join(map(str, sockets.values()))}
    since = time.monotonic()

    def is_loaded() -> bool:
        return all(map(listens, sockets.values())) or time.monotonic() - since > LOADING_S

    def code_server(location: Location) -> Child:
        socket = sockets[location.name]
        command = ["dagster", "code-server", "start", "--socket", str(socket), "--location-name", location.name]
        command += ["--log-level", "warning", "--inject-env-vars-from-instance", *location.arguments]
        name, is_sound = f"code server of {location.name}", _has_server(socket)
        return Child(name, command, root, environment, say, is_sound=is_sound)

    pages = ["ml_assets.pages", address[0], str(address[1] + 1), *([str(keys.absolute())] if keys else [])]
    daemon = ["dagster._daemon", "run", "--workspace", str(workspace)]
    web_server = ["ml_assets.ui.web", *map(str, address), str(workspace)]
    return [
        Child("server of the pages", pages, root, environment, say),
        *(code_server(location) for location in locations if location.arguments),
        Child("daemon", daemon, root, environment, say, may_start=is_loaded),
        Child("web server", web_server, root, environment, say, may_start=is_loaded),
    ]


def _locations(root: Path, environment: Mapping[str, str]) -> list[Location]:
    command = [sys.executable, "-m", "ml_assets.ui.locations"]
    done = subprocess.run(command, cwd=root, env=dict(environment), capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise SpecError(
            "The code locations of the project cannot be determined.",
            found=done.stderr.strip().rpartition("\n")[2],
            where={"folder": root},
            fix="Name the module in pyproject.toml: [tool.dagster] module_name, or write a workspace.yaml.",
        )
    return [Location(**found) for found in json.loads(done.stdout)]


def _entry(location: Location, sockets: Mapping[str, Path]) -> dict[str, object]:
    if not location.arguments:
        return {"grpc_server": location.workspace}
    return {
        "grpc_server": {
            "location_name": location.name,
            "socket": str(sockets[location.name]),
            "host": "localhost",
            "additional_metadata": location.about,
        }
    }


def _has_server(address: Path) -> Callable[[int], bool]:
    """A code server passes its requests on to a process of its own, which nothing else would start again."""
    seen: dict[int, float] = {}  # process id -> when it was last seen whole, once it was

    def is_sound(pid: int) -> bool:
        now = time.monotonic()
        if _children(pid):
            if pid in seen or listens(address):
                seen.clear()
                seen[pid] = now
            return True
        return now - seen.get(pid, now) < LOST_S

    return is_sound


def _children(pid: int) -> Sequence[psutil.Process]:
    try:
        return [one for one in psutil.Process(pid).children() if one.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:
        return []
