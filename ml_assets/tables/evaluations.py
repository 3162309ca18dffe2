"""Every number that was found about a version, one a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ml_assets.errors import ModelError
from ml_assets.lake.lake import Commit, Lake
from ml_assets.ml.judged import Judged
from ml_assets.spec import PipelineSpec
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import now

EVALUATIONS = Table(
    "evaluation_report",
    "A number that was found about a version. Evaluating it again replaces all of its numbers.",
    (
        Column("version", "VARCHAR", "The version."),
        Column("pin_id", "VARCHAR", "The training set with the rows that it was evaluated on."),
        Column("evaluated_at", "TIMESTAMP", "When, UTC; the same for all numbers of an evaluation."),
        Column("scope", "VARCHAR", "What was evaluated, such as test, train, baseline, slice, importance."),
        Column("slice_by", "VARCHAR", "Column of a slice or group; feature where each feature is evaluated."),
        Column("slice", "VARCHAR", "Value of that column; name of the feature."),
        Column("metric", "VARCHAR", "Metric, or what else was measured: flips, ece, agreement, share, cost."),
        Column("value", "DOUBLE", "Its value; NULL where it is not defined on these rows."),
        Column("low", "DOUBLE", "Lower end of its 95% interval, where it has one."),
        Column("high", "DOUBLE", "Upper end."),
        Column("rows", "BIGINT", "Rows that it was computed on."),
        Column("note", "VARCHAR", "What a reader must know beside the number."),
    ),
    written_by="asset evaluation_report",
    key=("version",),
    format=2,
)
EARLIER_SCOPES = {"disguise": "target_proxy"}  # what release 0.1 called a scope -> its name now


@dataclass(frozen=True)
class EvaluatedNumber:
    """One number of an evaluation.

    Args:
        scope: What was evaluated; docs/reference/evaluation.md lists the scopes.
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
        figures: What the report plots and lists, as numbers and texts that JSON can hold.
        shown: Findings that the report alone shows.
    """

    found: list[EvaluatedNumber]
    suspects: list[str]
    judged: Judged
    baseline: Judged
    champion: Judged | None
    figures: dict[str, Any] = field(default_factory=dict)
    shown: list[EvaluatedNumber] = field(default_factory=list)


def report_name(pipeline: str, version: str, end: str = "html") -> str:
    """A file of an evaluation, relative to all reports."""
    return f"{pipeline}/evaluation/{version}.{end}"


def record(
    lake: Lake, pipeline: str, found: Sequence[EvaluatedNumber], version: str, pin_id: str, commit: Commit
) -> None:
    """Write the evaluation of a version."""
    shared = {"version": version, "pin_id": pin_id, "evaluated_at": now()}
    lake.append([EVALUATIONS.rows(pipeline, [{**shared, **asdict(finding)} for finding in found])], commit)


def newest(
    lake: Lake, pipeline: str, versions: Sequence[str] | None = None, scopes: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Rows of the newest evaluation of each version.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        versions: Only of these.
        scopes: Only rows of these scopes.
    """
    return EVALUATIONS.query(
        lake,
        pipeline,
        # Read whole: to leave files out, DuckLake would read the statistics of every file in the lake.
        """WITH rows_ AS MATERIALIZED (SELECT *, row_number() OVER () AS position FROM {t})
        SELECT * EXCLUDE (position) FROM (
            FROM rows_ WHERE $versions IS NULL OR list_contains($versions, version)
            QUALIFY evaluated_at = max(evaluated_at) OVER (PARTITION BY version)
        ) WHERE $scopes IS NULL OR list_contains($scopes, scope) ORDER BY position""",
        {"versions": versions and list(versions), "scopes": scopes and list(scopes)},
    )


def need_newest(lake: Lake, pipeline: str, version: str) -> list[dict[str, Any]]:
    """Rows of the newest evaluation of a version.

    Raises:
        ModelError: It has not been evaluated.
    """
    rows = newest(lake, pipeline, [version])
    if not rows:
        raise ModelError(
            f"Version {version} has not been evaluated.",
            where={"pipeline": pipeline},
            fix=f"Materialize {EVALUATIONS.asset(pipeline)}.",
        )
    return rows


def findings(lake: Lake, pipeline: str, version: str) -> list[EvaluatedNumber]:
    """The newest evaluation of a version.

    Raises:
        ModelError: It has not been evaluated.
    """
    return [finding_of(row) for row in need_newest(lake, pipeline, version)]


def finding_of(row: dict[str, Any]) -> EvaluatedNumber:
    """A row as a finding; the lake keeps no NaN but NULL."""
    known = {name: row[name] for name in EvaluatedNumber.__dataclass_fields__}
    known["scope"] = EARLIER_SCOPES.get(row["scope"], row["scope"])
    return EvaluatedNumber(**{**known, "value": math.nan if row["value"] is None else row["value"]})


def test_scores(lake: Lake, pipeline: str, versions: Sequence[str]) -> dict[tuple[str, str], float]:
    """(version, metric) -> its score on the test rows, where it is defined."""
    rows = newest(lake, pipeline, versions, ["test"])
    return {
        (row["version"], row["metric"]): row["value"]
        for row in rows
        if row["value"] is not None and not math.isnan(row["value"])
    }


def test_score(lake: Lake, spec: PipelineSpec, version: str) -> str:
    """The test score of a version, as `roc_auc 0.7134 on 12,000 test rows`."""
    found = findings(lake, spec.name, version)
    scores = [one for one in found if one.scope == "test" and one.metric == spec.metric]
    return ", ".join(f"{one.metric} {one.value:.4f} on {one.rows:,} test rows" for one in scores) or "no test score"


def importance_of(lake: Lake, pipeline: str, version: str) -> dict[str, float]:
    """Feature -> permutation importance of a version by its newest evaluation; empty where there is none."""
    return {row["slice"]: row["value"] for row in newest(lake, pipeline, [version], ["importance"])}
