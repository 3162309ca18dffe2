"""What has changed in the source's columns against the batches before."""

from __future__ import annotations

from collections.abc import Mapping

from ml_assets.lake.lake import Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables.schema_events import SchemaEvent, types_until


def changes(lake: Lake, spec: PipelineSpec, batch: str, found: Mapping[str, str]) -> list[SchemaEvent]:
    """What differs from the columns of the batches before, and is not recorded yet.

    Args:
        found: Column name -> SQL type in the batch's files.
    """
    before = types_until(lake, spec.name, batch)
    events = []
    for name in dict.fromkeys([*before, *found]):
        old, new = before.get(name), found.get(name)
        if old == new:
            continue
        event = "first" if not before else "added" if old is None else "removed" if new is None else "retyped"
        events.append(SchemaEvent(batch, name, event, old, new, _handling(spec, name, new)))
    return events


def _handling(spec: PipelineSpec, name: str, kind: str | None) -> str:
    declared = next((column for column in spec.columns if column.name.lower() == name.lower()), None)
    if kind is None:
        return "NULL in this batch" if declared else "no more values"
    if declared is None:
        return "kept as text" if spec.tolerate.new_columns == "keep" else "left out"
    return f"read as {declared.type}; values that are none are quarantined"
