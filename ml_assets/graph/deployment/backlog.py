"""Batches that got their features while there was no champion to score them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from ml_assets.graph.run_requests import Request, Requests
from ml_assets.lake.lake import Lake
from ml_assets.tables import training_sets, versions
from ml_assets.tables.data import FEATURES, is_online_batch
from ml_assets.tables.predictions import PREDICTIONS


def backlog(lake: Lake, pipeline: str) -> list[str]:
    """Batches with features that were never scored and that the champion was not trained, tuned or judged on.

    Those of logged requests were predicted when they were asked.
    """
    champion = versions.alias(lake, pipeline, "champion")
    if champion is None:
        return []
    seen = training_sets.newest(lake, pipeline, pin_id=champion.pin_id).all_batches
    known = {*seen, *lake.batches(PREDICTIONS.of(pipeline))}
    batches = lake.batches(FEATURES.of(pipeline))
    return [batch for batch in batches if batch not in known and not is_online_batch(batch)]


def without_result(
    waiting: Sequence[str], requested: Mapping[str, Request], failed: Container[str], failed_at: Mapping[str, float]
) -> tuple[Requests, list[str]]:
    """Requests of which nothing has come, and batches that failed since they were requested: only another champion
    tries those again.

    Args:
        waiting: From `backlog`.
        requested: Batch -> its request.
        failed: Batches that failed before.
        failed_at: Batch -> when its scoring last failed, in seconds since 1970.
    """
    given_up = [
        batch
        for batch in waiting
        if batch in failed or (batch in requested and failed_at.get(batch, 0.0) >= max(requested[batch].at, 1.0))
    ]
    return {name: one for name, one in requested.items() if name in waiting and name not in given_up}, given_up
