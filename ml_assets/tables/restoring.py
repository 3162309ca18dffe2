"""Which tables can be restored to an earlier state, and what to do instead with the others."""

from __future__ import annotations

from ml_assets.lake.restore import Refusal

RESTORABLE = ("raw_data", "validated_data", "quarantine", "features", "predictions", "statistics", "feature_statistics")
# Why other tables are refused, and what to do instead; {p} is the pipeline.
AGAIN = "Another version: ml-assets models rollback {p}, or models promote {p} VERSION. Or train: the job {p}_train"
REFUSED = {
    "champion": ("a decision is only followed by another, never taken back", AGAIN),
    "alias_events": ("an alias only moves by a new event", AGAIN),
    "trained_model": ("a registered version stays", AGAIN),
    "arrivals": ("it says which files are there now", "Materialize {p}/arrivals."),
    "drift_report": ("it is a verdict on what was scored", "Materialize {p}/drift_report for the batch."),
}
LOG = ("its rows are only ever added", "Read it as it was: open_lake().table('{name}', snapshot=...)")


def refusal(name: str) -> Refusal | None:
    """Why a table, such as `flights.champion`, cannot be restored; None where it can."""
    pipeline, _, table_name = name.partition(".")
    if table_name in RESTORABLE or table_name.startswith("lookup_"):
        return None
    why, fix = REFUSED.get(table_name, LOG)
    return Refusal(why, fix.format(p=pipeline, name=name))
