"""Batches that got their features while there was no champion to score them."""

from __future__ import annotations

from ml_assets.store import pins, registry
from ml_assets.store.lake import Lake


def backlog(lake: Lake, pipeline: str) -> list[str]:
    """Batches with features that nobody has scored and that the champion was not trained, tuned or judged on."""
    champion = registry.alias(lake, pipeline, "champion")
    if champion is None:
        return []
    seen = pins.newest(lake, pipeline, pin_id=champion.pin_id).all_batches
    known = {*seen, *lake.batches(f"{pipeline}.predictions")}
    return [batch for batch in lake.batches(f"{pipeline}.features") if batch not in known]
