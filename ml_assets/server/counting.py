"""What is counted: requests, rows and scores by version, and the state of the server at the time it is asked."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence

import numpy as np

from ml_assets.server.lanes import Job
from ml_assets.server.prometheus import LATENCY_S, Histogram, Metrics, labelled
from ml_assets.server.registry import Pipeline, Registry
from ml_assets.server.scorer import Scorer

SHARES = [number / 10 for number in range(1, 10)]


class Counting:
    """Counts what happens to requests; on the event loop alone.

    Args:
        metrics: The counters.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._versions: dict[tuple[str, str, str], tuple[str, Histogram]] = {}
        self._routes: dict[tuple[str, str, int], tuple[str, Histogram]] = {}

    def request(self, pipeline: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        count, latency = self._of_route(pipeline, route, status)
        self.metrics.add(count)
        latency.see(seconds)

    def _of_route(self, pipeline: str, route: str, status: int) -> tuple[str, Histogram]:
        known = self._routes.get((pipeline, route, status))
        if known is None:
            count = labelled("ml_assets_requests_total", pipeline=pipeline, route=route, code=str(status))
            latency = self.metrics.histogram("ml_assets_request_seconds", LATENCY_S, pipeline=pipeline, route=route)
            self._routes[pipeline, route, status] = known = count, latency
        return known

    def scored(self, jobs: Sequence[Job]) -> None:
        """Rows were scored."""
        for job in jobs:
            if job.is_lost:
                self.add("ml_assets_not_logged_total", job.scorer.facts.pipeline)
            if job.scored is None or job.error is not None:
                continue
            facts = job.scorer.facts
            rows, scores = self._of_version(job.scorer, job.role)
            self.metrics.add(rows, len(job.rows))
            for score in job.scored.scores:
                scores.see(score)
            if job.scored.warnings:
                self.add("ml_assets_warnings_total", facts.pipeline, len(job.scored.warnings))

    def _of_version(self, scorer: Scorer, role: str) -> tuple[str, Histogram]:
        facts = scorer.facts
        known = self._versions.get((facts.pipeline, facts.version, role))
        if known is None:
            labels = {"pipeline": facts.pipeline, "version": facts.version}
            scores = self.metrics.histogram("ml_assets_score", score_bounds(scorer), **labels)
            known = labelled("ml_assets_rows_total", **labels, role=role), scores
            self._versions[facts.pipeline, facts.version, role] = known
        return known

    def add(self, name: str, pipeline: str, number: float = 1) -> None:
        """Count an event of a pipeline."""
        self.metrics.add(labelled(name, pipeline=pipeline), number)

    def text(self, registry: Registry) -> str:
        """All counters, and the state of this worker."""
        return self.metrics.text(list(_gauges(registry)))


def score_bounds(scorer: Scorer) -> list[float]:
    """Bounds between scores: tenths of a probability, or the deciles of a regression's golden rows."""
    if scorer.schema.kind != "regression":
        return SHARES
    return sorted({float(bound) for bound in np.quantile(scorer.golden.scores or [0.0], SHARES)})


def _gauges(registry: Registry) -> Iterator[tuple[str, float]]:
    for pipeline in registry.pipelines.values():
        for lane in pipeline.lanes.values():
            yield labelled("ml_assets_waiting", pipeline=pipeline.name, lane=lane.name), lane.waiting
        yield from _versions(pipeline)


def _versions(pipeline: Pipeline) -> Iterator[tuple[str, float]]:
    if pipeline.versions is None:
        return
    roles = [(role, one) for role, one in pipeline.versions.roles.items()]
    roles += [("shadow", one) for one in pipeline.versions.shadows]
    for role, one in roles:
        yield labelled("ml_assets_version_info", pipeline=pipeline.name, version=one.facts.version, role=role), 1
    for name, found in pipeline.versions.lookups.items():
        labels, made_at = {"pipeline": pipeline.name, "lookup": name}, found.made_at.replace(tzinfo=dt.UTC)
        yield labelled("ml_assets_lookup_age_seconds", **labels), max(0.0, time.time() - made_at.timestamp())
