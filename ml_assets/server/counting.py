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

    def request(self, pipeline: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self.metrics.add(labelled("ml_assets_requests_total", pipeline=pipeline, route=route, code=str(status)))
        self.metrics.histogram("ml_assets_request_seconds", LATENCY_S, pipeline=pipeline, route=route).see(seconds)

    def scored(self, jobs: Sequence[Job]) -> None:
        """Rows were scored."""
        for job in jobs:
            if job.is_lost:
                self.add("ml_assets_not_logged_total", job.scorer.facts.pipeline)
            if job.scored is None or job.error is not None:
                continue
            facts = job.scorer.facts
            labels = {"pipeline": facts.pipeline, "version": facts.version, "role": job.role}
            self.metrics.add(labelled("ml_assets_rows_total", **labels), len(job.rows))
            scores = self._scores(job.scorer)
            for score in job.scored.scores:
                scores.see(score)
            if job.scored.warnings:
                self.metrics.add(
                    labelled("ml_assets_warnings_total", pipeline=facts.pipeline), len(job.scored.warnings)
                )

    def _scores(self, scorer: Scorer) -> Histogram:
        return self.metrics.histogram(
            "ml_assets_score", score_bounds(scorer), pipeline=scorer.facts.pipeline, version=scorer.facts.version
        )

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
