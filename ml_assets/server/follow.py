"""The versions of a project's pipelines, as their aliases move: loaded beside those that answer, then swapped.

A release that cannot be loaded is tried again when the pipeline has written something, and after 2, 4, 8 seconds and so
on, up to 5 minutes: the disk may have been full, or a folder not copied yet.
"""

from __future__ import annotations

import asyncio
import logging
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ml_assets.errors import ModelError, SpecError, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.server.counting import Counting
from ml_assets.server.keeping import RecordWriter
from ml_assets.server.loading import Loading, LocalRelease
from ml_assets.server.prediction_log import PredictionLog
from ml_assets.server.registry import CHAMPION, Pipeline, Registry, Settings, Versions
from ml_assets.server.service import server_id
from ml_assets.server.shipping import Shipper
from ml_assets.tables import online, releases, versions
from ml_assets.tables.pipelines import need_pipeline

LOOK_S, LONGEST_RETRY_S = 2.0, 300.0
SHIP_S = 60.0  # a segment of the log is closed, and then shipped, after this time
CHALLENGER = "challenger"
log = logging.getLogger("ml_assets.server")


def find_release(paths: Paths, pipeline: str, version: str | None = None) -> LocalRelease:
    """The release of a version, by default of the champion.

    Raises:
        ModelError: There is no champion, no such version, or the version was never packed.
    """
    with Lake.of(paths, read_only=True) as lake:
        return _place(lake, paths, pipeline, version)


def _place(lake: Lake, paths: Paths, pipeline: str, version: str | None) -> LocalRelease:
    if version is None:
        version = versions.need_alias(lake, pipeline, "champion").version
    elif versions.version(lake, pipeline, version) is None:
        known = [model.version for model in versions.versions(lake, pipeline)]
        fix = did_you_mean(version, known) if known else f"Run `ml-assets train {pipeline}`."
        raise ModelError(f"There is no version {version}.", where={"pipeline": pipeline}, fix=fix)
    found = releases.need(lake, pipeline, version)
    return LocalRelease(version, paths.artifacts.releases.fetch(found.folder), found.sha256)


@dataclass
class Followed:
    """A pipeline, and what was last seen of it.

    Args:
        pipeline: The pipeline.
        seen: Its newest snapshot at the last look; None: look again.
        failures: Looks that failed, one after the other.
        retry_at: When the next look is due without a newer snapshot (time.monotonic); None: not at all.
        looking: One look at a time.
    """

    pipeline: Pipeline
    seen: int | None = None
    failures: int = 0
    retry_at: float | None = None
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Follower:
    """Serves pipelines of a project: the champion, and what their YAML routes or shadows beside it.

    Args:
        paths: Folders of the project.
        names: The pipelines; none: all that have a champion.
        settings: How a pipeline is served, by its name.
        pinned: Serve this version for good instead of the champion.
    """

    def __init__(
        self, paths: Paths, names: Sequence[str], settings: Callable[[str], Settings], pinned: str | None = None
    ) -> None:
        self._paths, self._names, self._settings, self._pinned = paths, names, settings, pinned
        store = paths.shipped_log
        self._log = PredictionLog(paths.serving, server_id(), segment_s=math.inf if store is None else SHIP_S)
        self._shipper = None if store is None else Shipper(paths.serving, store)
        self._followed: dict[str, Followed] = {}
        self._counting: Counting | None = None

    def open(self, counting: Counting) -> Registry:
        """The pipelines, of which nothing is loaded yet.

        Raises:
            UnknownPipeline: There is no pipeline of that name.
            ModelError: No pipeline has a champion.
            SpecError: The YAML of all of them is wrong.
        """
        self._counting = counting
        refused: dict[str, str] = {}
        names = self._known()
        for name in names:
            reload = None if self._pinned else partial(self.look, name)
            try:
                settings = self._settings(name)
            except SpecError as error:
                if len(refused) == len(names) - 1:
                    raise
                log.error("%s is not served: %s", name, error)
                refused[name] = str(error)
                continue
            keeper = None
            if settings.log is not None:
                keeper = RecordWriter(self._log, name, settings.log, settings.outcomes, settings.key)
            dropped = partial(counting.add, "ml_assets_shadow_dropped_total", name)
            pipeline = Pipeline(name, settings, reload, keeper, counting.scored, dropped)
            self._followed[name] = Followed(pipeline)
        return Registry([one.pipeline for one in self._followed.values()], refused)

    def _known(self) -> Sequence[str]:
        with Lake.of(self._paths, read_only=True) as lake:
            for name in self._names:
                need_pipeline(lake, name)
            found = self._names or [
                name for name in versions.with_models(lake) if versions.alias(lake, name, "champion") is not None
            ]
        if not found:
            raise ModelError("No pipeline has a champion yet.", fix="Run a pipeline's job NAME_train.")
        return found

    async def load(self) -> None:
        """Load all of them; one that cannot be loaded is tried again, as long as there is another.

        Raises:
            Exception: None of them can be served.
        """
        failed: dict[str, Exception] = {}
        for name in self._followed:
            try:
                await self._look_if_new(name)
            except Exception as error:
                failed[name] = error
        if failed and not any(one.pipeline.versions for one in self._followed.values()):
            raise failed.popitem()[1]
        for name, why in failed.items():
            self._report(name, why)

    async def follow(self) -> None:
        """Look for newer versions, until the process ends."""
        while True:
            await asyncio.sleep(LOOK_S)
            for name in self._followed:
                try:
                    await self._look_if_new(name)
                except Exception as error:  # whatever is wrong with the new release, the old one goes on
                    self._report(name, error)

    def close(self) -> None:
        """Write the log to the disk, and ship it where pipelines read it elsewhere."""
        self._log.close()
        if self._shipper is not None:
            self._shipper.close()

    def _report(self, name: str, error: Exception) -> None:
        answers = self._followed[name].pipeline.versions
        goes_on = f"{answers.champion.facts.version} goes on" if answers else "it is tried again"
        log.error("a release of %s was not loaded; %s: %s", name, goes_on, error)

    async def _look_if_new(self, name: str) -> None:
        one = self._followed[name]
        newest = await asyncio.to_thread(self._paths.catalog.newest_snapshot, name)
        is_due = one.retry_at is not None and time.monotonic() >= one.retry_at
        if newest == one.seen and not is_due:
            return
        one.seen = newest
        try:
            await self.look(name)
        except Exception:
            one.retry_at = time.monotonic() + min(LOOK_S * 2**one.failures, LONGEST_RETRY_S)
            one.failures += 1
            raise
        one.failures, one.retry_at = 0, None

    async def look(self, name: str) -> None:
        """Look for a pipeline's versions now, and let them answer from then on.

        Raises:
            Exception: One of them cannot be served; what answered in its place goes on.
        """
        one = self._followed[name]
        async with one.looking:
            before = one.pipeline.versions
            after, failed = await asyncio.to_thread(self._found, one.pipeline)
            if after is not None and after != before:
                one.pipeline.swap(after)
            if after is not None and (before is None or _words(after) != _words(before)):
                self._count("ml_assets_swaps_total", name)
                log.warning(
                    "%s is served by %s%s", name, _words(after), f"; before: {_words(before)}" if before else ""
                )
            if failed is not None:
                self._count("ml_assets_load_failures_total", name)
                raise failed

    def _count(self, what: str, name: str) -> None:
        if self._counting is not None:
            self._counting.add(what, name)

    def _found(self, pipeline: Pipeline) -> tuple[Versions | None, Exception | None]:
        """The versions that shall answer, and what could not be loaded; called in a thread."""
        with Lake.of(self._paths, read_only=True) as lake, tempfile.TemporaryDirectory(prefix="ml_assets_") as folder:
            places, shadows = self._places(lake, pipeline)
            export = partial(online.export, lake, pipeline.name)
            loading = Loading(pipeline.versions, online.age(lake, pipeline.name), export, Path(folder))
            for role, place in places:
                loading.load(role, place)
            for place in shadows:
                loading.load_shadow(place)
        return loading.versions(), loading.failed

    def _places(
        self, lake: Lake, pipeline: Pipeline
    ) -> tuple[list[tuple[str, Callable[[], LocalRelease]]], list[Callable[[], LocalRelease]]]:
        """How to find the releases: of each role, the champion first, and of the shadows."""
        find = partial(_place, lake, self._paths, pipeline.name)
        settings = pipeline.settings
        challenger = None if self._pinned else versions.alias(lake, pipeline.name, "challenger")
        places: list[tuple[str, Callable[[], LocalRelease]]] = [(CHAMPION, partial(find, self._pinned))]
        if challenger is not None and CHALLENGER in settings.routes:
            places.append((CHALLENGER, partial(find, challenger.version)))
        numbers = [challenger.version if name == CHALLENGER and challenger else name for name in settings.shadow]
        return places, [partial(find, number) for number in dict.fromkeys(numbers) if number != CHALLENGER]


def _words(found: Versions) -> str:
    words = [f"{role} {scorer.facts.version}" for role, scorer in found.roles.items()]
    words += [f"lookups {found.champion.stamp}"] if found.champion.stamp else []
    return ", ".join([*words, *(f"shadow {scorer.facts.version}" for scorer in found.shadows)])
