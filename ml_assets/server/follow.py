"""The champion's release, followed as its alias moves: loaded beside the one that answers, then swapped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from ml_assets.errors import ModelError, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.server.app import Serving
from ml_assets.server.scorer import Scorer
from ml_assets.tables import releases, versions

LOOK_S = 2.0
log = logging.getLogger("ml_assets.server")


@dataclass(frozen=True)
class Place:
    """A release on this machine."""

    version: str
    folder: Path
    sha256: str


def find_release(paths: Paths, pipeline: str, version: str | None = None) -> Place:
    """The release of a version, by default of the champion.

    Raises:
        ModelError: There is no champion, no such version, or the version was never packed.
    """
    with Lake(paths.lake, read_only=True) as lake:
        if version is None:
            version = versions.need_alias(lake, pipeline, "champion").version
        elif versions.version(lake, pipeline, version) is None:
            known = [model.version for model in versions.versions(lake, pipeline)]
            fix = did_you_mean(version, known) if known else f"Run the job {pipeline}_train."
            raise ModelError(f"There is no version {version}.", where={"pipeline": pipeline}, fix=fix)
        found = releases.newest(lake, pipeline, version)
    if found is None:
        raise ModelError(
            f"Version {version} has no release.",
            where={"pipeline": pipeline},
            fix=f"Run the job {pipeline}_train, or materialize {pipeline}/release_candidate.",
        )
    return Place(version, paths.artifacts.releases.fetch(found.folder), found.sha256)


class Follower:
    """Swaps the release whenever the champion is another version.

    Args:
        paths: Folders of the project.
        pipeline: The pipeline.
        serving: What answers.
    """

    def __init__(self, paths: Paths, pipeline: str, serving: Serving) -> None:
        self._paths, self._pipeline, self._serving = paths, pipeline, serving
        self._seen: int | None = None  # asked for at the first check
        self._loading = asyncio.Lock()
        serving.reload = self.look

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Follow while the server runs."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                newest = await asyncio.to_thread(self._newest)
                if newest == self._seen:
                    continue
                self._seen = newest
                await self.look()
            except Exception as error:  # whatever is wrong with the new release, the old one goes on
                log.error("the champion's release was not loaded; %s goes on: %s", self._now(), error)

    async def look(self) -> None:
        """Look for the champion now, and let it answer from then on.

        Raises:
            MLAssetsError: There is none, or its release cannot be served; the one that answers goes on.
        """
        async with self._loading:
            place = await asyncio.to_thread(find_release, self._paths, self._pipeline)
            if place.version == self._now():
                return
            loaded = await asyncio.to_thread(Scorer, place.folder, place.sha256)
            old, self._serving.scorer = self._serving.scorer, loaded  # between two requests: they do not overlap
            log.warning("%s %s answers now; before: %s", self._pipeline, place.version, old.facts.version)
            old.close()

    def _now(self) -> str:
        return self._serving.scorer.facts.version

    def _newest(self) -> int | None:
        return self._paths.catalog.newest_snapshot(self._pipeline)
