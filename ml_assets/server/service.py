"""What a server process serves, and how it comes by it: one release's folder, or a project (follow.py)."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Protocol

from ml_assets.errors import ServingError
from ml_assets.ml import manifest, release
from ml_assets.server.counting import Counting
from ml_assets.server.keeping import RecordWriter
from ml_assets.server.prediction_log import LogRules, PredictionLog
from ml_assets.server.registry import CHAMPION, Pipeline, Registry, Versions
from ml_assets.server.scorer import Scorer


class Service(Protocol):
    """What a server process serves."""

    def open(self, counting: Counting) -> Registry:
        """The pipelines, of which nothing is loaded yet; called on the event loop, before the port opens."""

    async def load(self) -> None:
        """Load the versions of all pipelines."""

    async def follow(self) -> None:
        """Load what is newer, until the process ends."""

    def close(self) -> None:
        """Free what is left when no request is answered any more."""


def server_id() -> str:
    """This process among all servers."""
    return f"{socket.gethostname()}-{os.getpid()}"


def words(registry: Registry) -> str:
    """What answers, for the line that says that the server is ready."""
    ready = [one for one in registry.pipelines.values() if one.versions]
    return ", ".join(f"{one.name} {one.need().champion.facts.version}" for one in ready)


class Folder:
    """One release, for good.

    Args:
        folder: The release.
        sha256: Of its manifest, where it is known.
        log: Folder of the prediction log; None: none is written.
    """

    def __init__(self, folder: Path, sha256: str | None, log: Path | None = None) -> None:
        self._folder, self._sha256 = folder.resolve(), sha256
        self._log = PredictionLog(log, server_id()) if log is not None else None
        self._pipeline: Pipeline | None = None

    def open(self, counting: Counting) -> Registry:
        """The release's pipeline.

        Raises:
            ServingError: There is no such folder.
            ModelError: A file of the release is missing, changed or unknown.
        """
        if not self._folder.is_dir():
            fix = "Name the folder that has a manifest.json."
            raise ServingError("There is no such release.", where={"folder": self._folder}, fix=fix)
        manifest.verify(self._folder, self._sha256, "release")
        name = release.read_facts(self._folder).pipeline
        keeper = RecordWriter(self._log, name, LogRules()) if self._log is not None else None
        self._pipeline = Pipeline(name, keeper=keeper, seen=counting.scored)
        return Registry([self._pipeline])

    async def load(self) -> None:
        """Load it.

        Raises:
            MLAssetsError: It cannot be served.
        """
        scorer = await asyncio.to_thread(Scorer, self._folder, self._sha256)
        if self._pipeline is not None:
            self._pipeline.swap(Versions({CHAMPION: scorer}))

    async def follow(self) -> None:
        """Nothing is newer."""

    def close(self) -> None:
        """Write the log to the disk."""
        if self._log is not None:
            self._log.close()
