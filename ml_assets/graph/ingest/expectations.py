"""What a whole batch is expected to be: its rows against the batches before it, and how recent its values are."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ml_assets.errors import BatchRefused
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier
from ml_assets.spec import PipelineSpec
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.data import RAW_DATA


@dataclass(frozen=True)
class Unmet:
    """An expectation that a batch does not meet."""

    expectation: str
    limit: str
    found: str


def unmet(lake: Lake, spec: PipelineSpec, batch: str) -> list[Unmet]:
    """The expectations of `expect` that the raw rows of a batch do not meet."""
    return [*_volume(lake, spec, batch), *_newest(lake, spec, batch)]


def refuse_if_unmet(spec: PipelineSpec, found: Sequence[Unmet]) -> None:
    """Raise BatchRefused for the first unmet expectation, unless `expect.otherwise` is warn."""
    if found and spec.expect.otherwise == "refuse":
        first = found[0]
        raise BatchRefused(
            f"The batch is not as expected: {first.expectation} is {first.limit}. Earlier validated rows stay.",
            found=first.found,
            fix="Look at the file; if it is right, change `expect` in defs.yaml, or set expect.otherwise: warn.",
        )


def _volume(lake: Lake, spec: PipelineSpec, batch: str) -> list[Unmet]:
    limits = spec.expect.rows
    if limits is None:
        return []
    rows, found = lake.count(RAW_DATA.of(spec.name), batch), []
    if limits.min is not None and rows < limits.min:
        found.append(Unmet("rows.min", f"{limits.min:,}", f"{rows:,} rows"))
    if limits.max is not None and rows > limits.max:
        found.append(Unmet("rows.max", f"{limits.max:,}", f"{rows:,} rows"))
    earlier = lake.batches(RAW_DATA.of(spec.name), batch, limits.batches)
    if limits.max_change is not None and earlier:
        usual = statistics.median(lake.count(RAW_DATA.of(spec.name), name) for name in earlier)
        if abs(rows - usual) > limits.max_change * usual:
            text = f"{rows:,} rows; the median of {earlier[0]} to {earlier[-1]} is {usual:,.0f}"
            found.append(Unmet("rows.max_change", f"{limits.max_change:.0%}", text))
    return found


def _newest(lake: Lake, spec: PipelineSpec, batch: str) -> list[Unmet]:
    limit = spec.expect.newest
    if limit is None:
        return []
    # Against the file's time and not today's: a batch that is ingested again later is as fresh as it was.
    newest, changed = lake.con.execute(
        f"""SELECT (SELECT max({identifier(limit.column)})::TIMESTAMP FROM {RAW_DATA.sql(spec.name)}
                    WHERE batch = $batch),
                   (SELECT max(modified_at) FROM {ARRIVALS.sql(spec.name)}
                    WHERE batch = $batch AND status = 'ready')""",
        {"batch": batch},
    ).fetchall()[0]
    if newest is None or changed is None:
        return []
    age = (changed - newest) / dt.timedelta(days=1)
    if age <= limit.max_age_days:
        return []
    text = f"newest {limit.column} {newest}, {age:.1f} days before the file was last changed"
    return [Unmet("newest.max_age_days", f"{limit.max_age_days:g}", text)]
