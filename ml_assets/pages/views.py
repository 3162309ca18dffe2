"""Each page as text: what it reads from the lake, and the template that shows it.

Belongs here: one function a page, whether it is served or written as a file. Does not: requests (app.py).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from ml_assets.errors import MLAssetsError, ModelError, UnknownPipeline, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses
from ml_assets.pages.keeper import Home, Keeper
from ml_assets.pages.overview import Overview, TimelineEvent
from ml_assets.pages.render import Site, render
from ml_assets.tables import (
    alerts,
    arrivals,
    data,
    decisions,
    drift,
    ingest_errors,
    performance,
    retrain_events,
    versions,
)
from ml_assets.tables.data import QUARANTINE, RAW_DATA, VALIDATED_DATA
from ml_assets.version_overview import describe, differences
from ml_assets.version_overview import overview as version_rows

ENV_UI_URL = "ML_ASSETS_UI_URL"
ON_HOME = 12  # events
PER_PAGE = 60  # batches
MOST_ROWS = 100  # of the quarantine
MOST_ALERTS = 200
KINDS = {
    "broken": "broken",
    "daemon": "daemon down",
    "run_failure": "run failed",
    "failed_batch": "batch refused",
    "rejected_file": "file rejected",
    "damaged_file": "data damaged",
    "pending": "approval",
    "decay": "decayed",
    "drift": "drifted",
    "skipped_file": "file skipped",
    "no_champion": "no champion",
    "stale": "stale",
}
TONES = {"promoted": "good", "pending": "warn", "refused": "bad", "rejected": "bad", "rolled_back": "bad"}
Trail = list[tuple[str, str]]


@dataclass
class Views:
    """The pages of a project.

    Args:
        paths: Folders of the project.
        written: Addresses of the pages that are files; None where they are served.
    """

    paths: Paths
    written: Collection[str] | None = None
    keeper: Keeper = field(init=False)

    def __post_init__(self) -> None:
        self.keeper = Keeper(self.paths)

    def site(self) -> Site:
        """Where the pages are shown."""
        dagster = os.environ.get(ENV_UI_URL) if self.written is None else None
        return Site(self.paths.root.name, dagster, self.written)

    def _page(self, template: str, at: str, title: str, trail: Trail, **values: Any) -> str:
        shared = {"KINDS": KINDS, "WORDS": arrivals.WORDS, "TONES": TONES}
        return render(template, self.site(), at, title=title, trail=trail, **shared, **values)

    # -- of all pipelines --------------------------------------------------------------------------------------------

    def home(self, found: Home) -> str:
        """What needs attention, and a card for each pipeline."""
        many = len(found.needs)
        title = "Nothing needs you" if not many else "1 thing needs you" if many == 1 else f"{many} things need you"
        states = Counter(one.states[0][0] for one in found.overviews)
        return self._page(
            "home.html", addresses.HOME, title, [], home=found, states=states, recent=_events(found.overviews)[:ON_HOME]
        )

    def timeline(self, found: Home) -> str:
        """What happened in the last 30 days."""
        events = _events(found.overviews)
        days = [(day, list(of_day)) for day, of_day in groupby(events, lambda one: f"{one[1].at:%A, %d %B %Y}")]
        return self._page("timeline.html", addresses.TIMELINE, "The last 30 days", [], days=days)

    # -- of one pipeline ---------------------------------------------------------------------------------------------

    def pipeline(self, found: Home, name: str) -> str:
        """One pipeline."""
        one = next((one for one in found.overviews if one.pipeline == name), None)
        if one is None:
            raise UnknownPipeline(name, [one.pipeline for one in found.overviews])
        return self._page("pipeline.html", addresses.pipeline(name), name, [], one=one, recent=_events([one])[:ON_HOME])

    def versions(self, lake: Lake, name: str) -> str:
        """The model versions of a pipeline."""
        self._known(lake, name)
        rows = version_rows(lake, name) if versions.versions(lake, name) else []
        return self._page(
            "versions.html", addresses.versions(name), f"Versions of {name}", _trail(name), pipeline=name, rows=rows
        )

    def version(self, lake: Lake, name: str, number: str, problem: str = "", has_keys: bool = False) -> str:
        """One model version; people decide here about one that waits."""
        self._known(lake, name)
        found = describe(lake, self.paths, name, number)
        reports = self.paths.artifacts.reports
        files = {
            "Evaluation": f"{name}/evaluation/{number}.html",
            "Model card": f"{name}/evaluation/{number}.card.html",
            "Model card as Markdown": f"{name}/evaluation/{number}.md",
        }
        waits = number in decisions.pending(lake, name)
        return self._page(
            "version.html",
            addresses.version(name, number),
            f"{name} {number}",
            [*_trail(name), ("versions", addresses.versions(name))],
            pipeline=name,
            version=found,
            waits=waits,
            problem=problem,
            has_keys=has_keys,
            reports={text: addresses.report(file) for text, file in files.items() if reports.exists(file)},
            champion=_number(versions.alias(lake, name, "champion")),
            made=found["decisions"][::-1],
        )

    def compare(self, lake: Lake, name: str, first: str, second: str) -> str:
        """Two versions side by side: what differs."""
        self._known(lake, name)
        known = [one.version for one in versions.versions(lake, name)][::-1]
        for number in (first, second):
            if number not in known:
                raise ModelError(f"{name} has no version {number!r}.", fix=did_you_mean(number, known))
        rows = differences(*(describe(lake, self.paths, name, number) for number in (first, second)))
        sections = [(title, list(group)) for title, group in groupby(rows, lambda row: row["section"])]
        return self._page(
            "compare.html",
            addresses.pipeline(name) + "/compare",
            f"{name}: {first} and {second}",
            [*_trail(name), ("versions", addresses.versions(name))],
            pipeline=name,
            known=known,
            first=first,
            second=second,
            sections=sections,
        )

    def batches(self, lake: Lake, name: str, before: str | None = None) -> str:
        """The batches of a pipeline, the newest first."""
        self._known(lake, name)
        files = arrivals.known(lake, name).values()
        rows, held = (lake.rows_by_batch(table.of(name)) for table in (VALIDATED_DATA, QUARANTINE))
        drifted = lake.batches(drift.DRIFT.of(name))
        seen = sorted({*rows, *held, *drifted, *(file.batch for file in files if file.batch)}, reverse=True)
        older = [batch for batch in seen if before is None or batch < before]
        shown = older[:PER_PAGE]
        verdicts = {row["batch"]: row for row in drift.recent(lake, name, limit=PER_PAGE, among=shown[::-1])}
        scores = {row["batch"]: row for row in performance.recent(lake, name, limit=PER_PAGE, among=shown[::-1])}
        bad = [file for file in files if file.status in arrivals.REJECTED]
        return self._page(
            "batches.html",
            addresses.batches(name),
            f"Batches of {name}",
            _trail(name),
            pipeline=name,
            total=len(seen),
            shown=shown,
            rows=rows,
            held=held,
            verdicts=verdicts,
            scores=scores,
            bad=bad,
            before=shown[-1] if len(older) > len(shown) else None,
        )

    def batch(self, lake: Lake, name: str, batch: str) -> str:
        """One batch: its files, rows, drift and scores."""
        self._known(lake, name)
        files = [file for file in arrivals.known(lake, name).values() if file.batch == batch]
        counts = {table.name: lake.count(table.of(name), batch) for table in (RAW_DATA, VALIDATED_DATA, QUARANTINE)}
        verdict = next(iter(drift.verdicts(lake, name, batch)), None)
        scores = performance.of_batch(lake, name, batch)
        errors = {asset: text for (asset, of), text in ingest_errors.texts(lake, name).items() if of == batch}
        if not (files or any(counts.values()) or verdict or scores or errors):
            known = data.validated_batches(lake, name)
            raise MLAssetsError(f"{name} has no batch {batch!r}.", fix=did_you_mean(batch, known))
        return self._page(
            "batch.html",
            addresses.batch(name, batch),
            f"{name}, batch {batch}",
            [*_trail(name), ("batches", addresses.batches(name))],
            pipeline=name,
            batch=batch,
            files=files,
            counts=counts,
            verdict=verdict,
            columns=drift.columns_of(lake, name, batch),
            scores=scores,
            errors=errors,
            rules=data.broken_rules(lake, name, [batch]),
            report=self._report(verdict),
        )

    def quarantine(self, lake: Lake, name: str, batch: str | None = None) -> str:
        """Rows that broke a rule, with their values."""
        self._known(lake, name)
        held = lake.rows_by_batch(QUARANTINE.of(name))
        chosen = [batch] if batch else list(held)[-PER_PAGE:]
        columns = lake.columns(QUARANTINE.sql(name)) if lake.exists(QUARANTINE.of(name)) else {}
        named = set(columns) - {"source_sha256", "reasons", "source_file", "batch", "row_id"}
        rows = data.quarantined(lake, name, chosen, None, named, MOST_ROWS) if held else []
        return self._page(
            "quarantine.html",
            addresses.quarantine(name, batch),
            f"Quarantine of {name}",
            _trail(name),
            pipeline=name,
            batch=batch,
            held=held,
            total=held.get(batch, 0) if batch else sum(held.values()),
            rules=data.broken_rules(lake, name, chosen) if held else [],
            rows=rows,
            columns=[column for column in columns if column in named],
        )

    def decisions(self, lake: Lake, name: str) -> str:
        """Every decision about a version, and the newest about trainings."""
        self._known(lake, name)
        return self._page(
            "decisions.html",
            addresses.decisions(name),
            f"Decisions of {name}",
            _trail(name),
            pipeline=name,
            made=decisions.decisions(lake, name)[::-1],
            trainings=retrain_events.read(lake, name, limit=MOST_ALERTS)[::-1],
        )

    def alerts(self, lake: Lake, name: str) -> str:
        """What people were notified of, and what became of it."""
        self._known(lake, name)
        return self._page(
            "alerts.html",
            addresses.alerts(name),
            f"Alerts of {name}",
            _trail(name),
            pipeline=name,
            found=alerts.current(lake, name, MOST_ALERTS),
        )

    def problem(self, at: str, error: str, title: str = "This page cannot be shown") -> str:
        """What is wrong, and the next step."""
        return self._page("problem.html", at, title, [], error=error)

    def _known(self, lake: Lake, name: str) -> None:
        """Refuse a pipeline that is not there; one without any write has empty pages.

        Raises:
            UnknownPipeline: There is no such pipeline.
        """
        known = {*self.keeper.declared(), *self.keeper.written()}
        if name not in known or not lake.catalog.exists():
            raise UnknownPipeline(name, sorted(known))

    def _report(self, verdict: dict[str, Any] | None) -> str | None:
        file = verdict["html"] if verdict else None
        return addresses.report(file) if file else None


def _trail(name: str) -> Trail:
    return [(name, addresses.pipeline(name))]


def _events(found: list[Overview]) -> list[tuple[str, TimelineEvent]]:
    events = [(one.pipeline, event) for one in found for event in one.events]
    return sorted(events, key=lambda one: one[1].at, reverse=True)


def _number(model: versions.ModelVersion | None) -> str | None:
    return model.version if model else None
