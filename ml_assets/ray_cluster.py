"""The Ray cluster of a project: its address, the connection to it, and what its nodes must have.

Ray is a package of its own (`pip install 'ml-assets[ray]'`), imported only where a cluster is used.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ml_assets.errors import TrainingError
from ml_assets.settings import settings

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported; scoring servers have none
ENV_ADDRESS = "RAY_ADDRESS"
CONNECT_S = 10
HOW_TO = "See docs/how-to/several-machines.md."


@contextmanager
def connected(root: Path) -> Iterator[Any]:
    """The module `ray`, connected to the project's cluster; a connection that there is already is used and stays.

    Raises:
        TrainingError: Ray is not installed, no cluster is named, or it cannot be reached or is of another version.
    """
    ray = _imported()
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get(ENV_ADDRESS) or settings(root, "ray", {"address": str}).get("address")
    if not address:
        raise TrainingError(
            "compute: ray needs the address of a Ray cluster.",
            fix=f'Set {ENV_ADDRESS}=HOST:6379, or [tool.ml_assets.ray] address = "ray://HOST:10001". {HOW_TO}',
        )
    _knock(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises what it likes: ConnectionError, RuntimeError, ValueError, its own
        raise _unreachable(address, str(error).strip().splitlines()[0] or type(error).__name__) from error
    try:
        yield ray
    finally:
        ray.shutdown()
        if threading.current_thread() is threading.main_thread():  # elsewhere, Ray has set no handler
            signal.signal(signal.SIGTERM, on_sigterm)


def versions_here(libraries: Iterable[str]) -> dict[str, str]:
    """Library -> its version in this process; those that are not installed as packages are left out."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in ("ml-assets", "numpy", "scikit-learn", *libraries):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def refuse_other_versions(driver: dict[str, str]) -> None:
    """Refuse to compute on a node where something is of another version than at the driver: scores could differ.

    Raises:
        TrainingError: With each of them.
    """
    here = versions_here(driver)
    other = [f"{name} {here.get(name, 'missing')}, not {wanted}" for name, wanted in driver.items()]
    other = [text for text, name in zip(other, driver, strict=True) if here.get(name) != driver[name]]
    if other:
        raise TrainingError(
            "A node of the Ray cluster has other versions than this process.",
            found="; ".join(other),
            where={"node": socket.gethostname()},
            fix="Install the same versions on all nodes, best from one image.",
        )


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise TrainingError(
            "compute: ray needs Ray, which is not installed.", found=error, fix="pip install 'ml-assets[ray]'"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Does anything listen there? Ray itself tries for a minute, and then ends the process."""
    host, _, port = address.rpartition("://")[2].partition(":")
    if not port.isdigit():  # `auto`, or an address of a kind that Ray knows
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, found: str) -> TrainingError:
    return TrainingError(
        "The Ray cluster cannot be used.",
        found=found,
        where={"address": address},
        fix=f"Start it, or correct {ENV_ADDRESS}; its Ray and Python must be of the versions of this process. {HOW_TO}",
    )
