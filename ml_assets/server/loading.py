"""The next versions of a pipeline, put together from those that answer and what is newly loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import ServingError
from ml_assets.server.registry import CHAMPION, Versions
from ml_assets.server.scorer import Scorer
from ml_assets.tables.online import Age


@dataclass(frozen=True)
class LocalRelease:
    """A release on this machine."""

    version: str
    folder: Path
    sha256: str


class Loading:
    """Loads what is new; what cannot be loaded leaves in its place what answers now.

    Args:
        before: What answers now.
        age: Lookups and references in the lake; None where it has none, and releases use their own.
        export: Writes them into a folder.
        folder: An empty one.
    """

    def __init__(self, before: Versions | None, age: Age | None, export: Callable[[Path], Age], folder: Path) -> None:
        self._before, self._age, self._export, self._folder = before, age, export, folder
        self._roles: dict[str, Scorer] = {}
        self._shadows: list[Scorer] = []
        self._is_exported = False
        self.failed: Exception | None = None

    def load(self, role: str, find: Callable[[], LocalRelease]) -> None:
        """Load the version of a role."""
        old = self._before.roles.get(role) if self._before else None
        try:
            self._roles[role] = self._loaded(find())
        except Exception as error:
            self.failed = self.failed or error
            if old is not None and self._fits(old):
                self._roles[role] = old

    def load_shadow(self, find: Callable[[], LocalRelease]) -> None:
        """Load a shadow, unless it has a role."""
        try:
            scorer = self._loaded(find())
        except Exception as error:
            self.failed = self.failed or error
            return
        if scorer not in self._roles.values():
            self._shadows.append(scorer)

    def versions(self) -> Versions | None:
        """What shall answer; None where there is no champion."""
        if CHAMPION not in self._roles:
            return None
        return Versions(self._roles, tuple(self._shadows), self._age.tables if self._age else {})

    def _loaded(self, place: LocalRelease) -> Scorer:
        known = [*self._roles.values(), *self._shadows]
        known += [*self._before.roles.values(), *self._before.shadows] if self._before else []
        same = [scorer for scorer in known if scorer.sha256 == place.sha256]
        for scorer in same:
            if self._age is None or scorer.stamp == self._age.stamp:
                return scorer
        return self._over_lookups(same[0]) if same else self._new(place)

    def _new(self, place: LocalRelease) -> Scorer:
        scorer = Scorer(place.folder, place.sha256)
        if not self._fits(scorer):
            scorer.close()
            raise ServingError(
                f"Version {place.version} takes other columns than the champion, so that no request fits both.",
                fix="Take it out of serving.routes and serving.shadow, or promote it.",
            )
        if self._age is None:
            return scorer
        try:
            fresh = self._over_lookups(scorer)
        except Exception as error:  # then its own lookups are better than none
            self.failed = self.failed or error
            return scorer
        scorer.close()
        return fresh

    def _over_lookups(self, scorer: Scorer) -> Scorer:
        if not self._is_exported:
            self._age, self._is_exported = self._export(self._folder), True
        return scorer.over(self._folder, self._age.stamp if self._age else "")

    def _fits(self, scorer: Scorer) -> bool:
        champion = self._roles.get(CHAMPION)
        return champion is None or scorer.takes_requests_of(champion)
