"""Real-time use of the trained project: rows that a server would answer, logged as it logs them."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ml_assets import metrics
from ml_assets.lake.lake import Lake
from ml_assets.ml import bundle
from ml_assets.server.prediction_log import LogRules, PredictionLog
from ml_assets.tables import releases, versions
from ml_assets_tests.conftest import Project, failure_text

DAY = dt.datetime(2026, 1, 2, 9, 30, tzinfo=dt.UTC)
COLUMNS = ["loan", "income", "region", "signed"]


@dataclass
class Asked:
    """Rows of a batch, with their features and what the champion predicts.

    Args:
        rows: The validated rows as a request has them, ordered by row_id.
        late_days: The outcome of each.
        features: Feature -> values, in the same order.
        scores: Likewise.
        decisions: Likewise.
        version: Of the champion.
    """

    rows: list[dict[str, Any]]
    late_days: list[float]
    features: dict[str, list[Any]]
    scores: list[float]
    decisions: list[str]
    version: str


def ask(project: Project, batch: str) -> Asked:
    """Let the champion predict the rows of a batch, outside of the graph."""
    with Lake(project.paths.lake, read_only=True) as lake:
        model = versions.need_alias(lake, "loans", "champion")
        served = releases.served(lake, "loans", model)
        loaded = bundle.load(project.paths.artifacts.bundles.fetch(served.bundle), served.bundle_sha256)
        rows = lake.rows("SELECT * FROM lake.loans.validated_data WHERE batch = ? ORDER BY row_id", [batch])
        features = lake.table("loans.features", batches=[batch]).df().sort_values("row_id")
        frame = features[list(loaded.schema.features)]
        scores = loaded.scores(frame)
    decided = metrics.decide(scores, loaded.schema.kind, loaded.schema.threshold, loaded.schema.classes)
    columns = {name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame}
    sent = [{name: row[name] for name in COLUMNS} for row in rows]
    return Asked(
        sent, [row["late_days"] for row in rows], columns, scores.tolist(), decided.astype(str).tolist(), model.version
    )


def predicted(
    asked: Asked, name: str = "r", at: dt.datetime = DAY, rules: LogRules | None = None, **changes: Any
) -> bytes:
    """The record of one request with all of the rows."""
    arguments: dict[str, Any] = {
        "request_id": name,
        "at": at,
        "version": asked.version,
        "role": "champion",
        "rows": asked.rows,
        "features": asked.features,
        "scores": asked.scores,
        "decisions": asked.decisions,
        "latency_ms": 1.0,
    }
    record = (rules or LogRules(key=("loan",))).predicted(**arguments | changes)
    assert record is not None
    return record


def observed(asked: Asked, name: str, how: Callable[[float], float] = float, by: str = "id", at: Any = None) -> bytes:
    """Feedback on each of the rows, by the request or by its key; `how` changes the outcome."""
    outcomes: list[dict[str, Any]] = []
    for number, (row, days) in enumerate(zip(asked.rows, asked.late_days, strict=True)):
        place = {"id": name, "row": number} if by == "id" else {"key": {"loan": row["loan"]}}
        outcomes.append({**place, "values": {"late_days": how(days)}})
    moment = at or DAY + dt.timedelta(minutes=5)
    return LogRules().feedback(request_id=f"f {name}", at=moment, outcomes=outcomes)


def log(project: Project, *records: bytes, at: dt.datetime = DAY) -> str:
    """Write records as a server would at that time; returns their hour."""
    with contextlib.closing(PredictionLog(project.paths.serving, "test", now=lambda: at)) as opened:
        opened.write("loans", records)
    return at.strftime("%Y-%m-%dT%H")


def read(project: Project, *hours: str) -> Any:
    """Run the job over hours, as its sensor does."""
    project.instance.add_dynamic_partitions("loans_hours", list(hours))
    result = project.materialize("prediction_log", "online_report", batches=list(hours))
    assert result.success, failure_text(result)
    return result


def reports(project: Project, table: str, what: Sequence[str], where: str = "true") -> list[tuple[Any, ...]]:
    rows = project.rows(f"SELECT {', '.join(what)} FROM {{p}}.{table} WHERE starts_with(batch, 'online') AND {where}")
    return [tuple(row.values()) for row in rows]
