"""`<pipeline>.evaluation_report`: every number that was found about a version, one a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml_assets.errors import ModelError
from ml_assets.lake.lake import Lake
from ml_assets.ml.judged import Judged
from ml_assets.spec import PipelineSpec
from ml_assets.tables.versions import now

COLUMNS = {
    "version": "VARCHAR",
    "pin_id": "VARCHAR",
    "evaluated_at": "TIMESTAMP",
    "scope": "VARCHAR",
    "slice_by": "VARCHAR",
    "slice": "VARCHAR",
    "metric": "VARCHAR",
    "value": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "rows": "BIGINT",
    "note": "VARCHAR",
}
# Scopes that an earlier version wrote under another name.
EARLIER_SCOPES = {"disguise": "target_proxy"}


@dataclass(frozen=True)
class Finding:
    """One number of an evaluation.

    Args:
        scope: What was evaluated; docs/evaluation.md lists the scopes.
        metric: Metric, or what else was measured: flips, ece, agreement, share, cost.
        value: Its value; NaN where it is not defined on these rows.
        rows: Rows that it was computed on.
        low: Lower end of its interval, where it has one.
        high: Upper end.
        slice_by: Column of a slice or group; `feature` where each feature is evaluated.
        slice: Value of that column; name of the feature.
        note: What a reader must know beside the number.
    """

    scope: str
    metric: str
    value: float
    rows: int
    low: float | None = None
    high: float | None = None
    slice_by: str | None = None
    slice: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was found about a version.

    Args:
        found: Every finding.
        suspects: What may be a leak, one sentence each.
        judged: The version's predictions on the test rows.
        baseline: Those of a model that ignores every feature.
        champion: Those of the champion; None where there is none to compare with.
    """

    found: list[Finding]
    suspects: list[str]
    judged: Judged
    baseline: Judged
    champion: Judged | None


def as_rows(found: Sequence[Finding], version: str, pin_id: str) -> list[dict[str, Any]]:
    """Findings as rows of `evaluation_report`."""
    shared = {"version": version, "pin_id": pin_id, "evaluated_at": now()}
    return [{**shared, **asdict(finding)} for finding in found]


def findings(lake: Lake, pipeline: str, version: str) -> list[Finding]:
    """The newest evaluation of a version.

    Raises:
        ModelError: It has not been evaluated.
    """
    return [finding_of(row) for row in newest(lake, pipeline, version)]


def test_score(lake: Lake, spec: PipelineSpec, version: str) -> str:
    """The test score of a version, as `roc_auc 0.7134 on 12,000 test rows`."""
    found = findings(lake, spec.name, version)
    told = [one for one in found if one.scope == "test" and one.metric == spec.metric]
    return ", ".join(f"{one.metric} {one.value:.4f} on {one.rows:,} test rows" for one in told) or "no test score"


def newest(lake: Lake, pipeline: str, version: str) -> list[dict[str, Any]]:
    rows = lake.rows_of(
        f"{pipeline}.evaluation_report",
        "SELECT * FROM {t} WHERE version = ? QUALIFY evaluated_at = max(evaluated_at) OVER ()",
        [version],
    )
    if not rows:
        raise ModelError(
            f"Version {version} has not been evaluated.",
            where={"pipeline": pipeline},
            fix=f"Materialize {pipeline}/evaluation_report.",
        )
    return rows


def finding_of(row: dict[str, Any]) -> Finding:
    """A row as a finding; a table of an earlier version may lack columns, and the lake keeps no NaN but NULL."""
    known = {name: row[name] for name in Finding.__dataclass_fields__ if name in row}
    known["scope"] = EARLIER_SCOPES.get(row["scope"], row["scope"])
    return Finding(**{**known, "value": math.nan if row["value"] is None else row["value"]})


def importance_of(lake: Lake, pipeline: str, version: str) -> dict[str, float]:
    """Feature -> permutation importance of a version by its newest evaluation; empty where there is none."""
    rows = lake.rows_of(
        f"{pipeline}.evaluation_report",
        """SELECT slice, value FROM {t} WHERE version = $version AND scope = 'importance' AND evaluated_at =
        (SELECT max(evaluated_at) FROM {t} WHERE version = $version AND scope = 'importance')""",
        {"version": version},
    )
    return {row["slice"]: row["value"] for row in rows}
