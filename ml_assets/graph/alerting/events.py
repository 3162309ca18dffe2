"""Events that people are notified of, read from the lake's tables and from failed runs.

Each check finds all events, old and new: their ids tell which are known. So no cursor can lose one. A table or column
that is missing means that there are no such events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_assets.lake.lake import Lake
from ml_assets.tables import alerts, deployments
from ml_assets.tables.alerts import Alert

MOST_TEXT = 1500  # characters of an error; Slack takes 3,000 in a block


@dataclass(frozen=True)
class FailedStep:
    """A step of a failed run.

    Args:
        step: Its name.
        text: The error.
        is_check: Was it a blocking check that did not pass?
    """

    step: str
    text: str
    is_check: bool


@dataclass(frozen=True)
class FailedRun:
    """A run that failed for good.

    Args:
        run_id: Dagster's id.
        what: Name of the job, or the assets that were materialized.
        steps: Steps that failed; none where the process died.
        link: Address of the run's page; None where none is known.
    """

    run_id: str
    what: str
    steps: Sequence[FailedStep]
    link: str | None = None


def happened(lake: Lake, pipeline: str, runs: Iterable[FailedRun], pages: str | None = None) -> list[Alert]:
    """All events of a pipeline, as alerts that are raised.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        runs: Its runs that failed for good.
        pages: Address of the reports folder; None where none is known.
    """
    batches = _refused_batches(lake, pipeline)
    return [
        *map(_batch_alert, batches),
        *map(_decision_alert, _decisions(lake, pipeline)),
        *(_drift_alert(row, pages) for row in _drifted(lake, pipeline)),
        *map(_decay_alert, _decayed(lake, pipeline)),
        *map(_champion_alert, deployments.moves(lake, pipeline)),
        *(_run_alert(run) for run in runs if not _is_notified_otherwise(run, batches)),
    ]


def _refused_batches(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """Refused files and batches with all their errors of one run: what is downstream of a refusal is refused, too."""
    return lake.rows_of(
        f"{pipeline}.ingest_errors",
        """SELECT coalesce(batch, path, '') AS subject, run_id, any_value(batch) AS batch, min(failed_at) AS failed_at,
            first(asset ORDER BY failed_at) AS asset, first(error ORDER BY failed_at) AS error,
            list(error ORDER BY failed_at) AS errors
        FROM {t} GROUP BY 1, 2 ORDER BY failed_at""",
    )


def _batch_alert(row: Mapping[str, Any]) -> Alert:
    what = f"batch {row['batch']}" if row["batch"] else row["subject"]
    text = f"{what} was refused by {row['asset'].partition('/')[2]}: {shortened(row['error'])}"
    return alerts.raised("refused_batch", row["subject"], text, [row["run_id"]])


def _decisions(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """Decisions that need attention: a version waits for approval, or was refused by a gate."""
    return lake.rows_of(
        f"{pipeline}.champion",
        "SELECT version, decision, why, decided_at, run_id FROM {t} "
        "WHERE decision IN ('pending', 'refused') ORDER BY decided_at",
    )


def _decision_alert(row: Mapping[str, Any]) -> Alert:
    word = "waits for approval" if row["decision"] == "pending" else "was refused"
    text = f"version {row['version']} {word}: {shortened(row['why'])}"
    return alerts.raised(row["decision"], row["version"], text, [row["decided_at"]])


def _drifted(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    return lake.rows_of(f"{pipeline}.drift_report", "SELECT * FROM {t} WHERE drifted ORDER BY batch")


def _drift_alert(row: Mapping[str, Any], pages: str | None) -> Alert:
    why = row.get("why") or f"{row['share']:.0%} of the columns drifted, the limit is {row['share_limit']:.0%}"
    text = f"batch {row['batch']} has drifted from what {row['model_version']} was trained on: {shortened(why)}"
    link = f"{pages.rstrip('/')}/{row['page']}" if pages and row.get("page") else None
    return alerts.raised("drift", row["batch"], text, [row["model_version"]], link)


def _decayed(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    return lake.rows_of(f"{pipeline}.performance_report", "SELECT * FROM {t} WHERE judged AND decayed ORDER BY batch")


def _decay_alert(row: Mapping[str, Any]) -> Alert:
    why = row.get("why") or f"{row['metric']} {row['value']:.4g}, test score {row['promised']:.4g}"
    text = f"the live score of version {row['model_version']} has decayed on batch {row['batch']}: {shortened(why)}"
    return alerts.raised("decay", row["batch"], text, [row["model_version"], row["metric"]])


def _champion_alert(move: deployments.Move) -> Alert:
    text = (
        f"version {move.version} is the champion, before: {move.previous or 'none'}; {shortened(move.why)} ({move.by})"
    )
    return alerts.raised("champion", move.version, text, [move.moved_at])


def _run_alert(run: FailedRun) -> Alert:
    errors = "; ".join(f"{step.step}: {step.text}" for step in run.steps) or "its process exited silently"
    return alerts.raised("run_failure", run.run_id, f"{run.what} failed: {shortened(errors)}", [], run.link)


def _is_notified_otherwise(run: FailedRun, batches: Iterable[Mapping[str, Any]]) -> bool:
    """Did it fail only because batches were refused? Those have alerts of their own."""
    errors = [error for row in batches if row["run_id"] == run.run_id for error in row["errors"]]
    return bool(run.steps and errors) and all(
        step.is_check or any(error in step.text for error in errors) for step in run.steps
    )


def shortened(text: str) -> str:
    """A text that fits into a message."""
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
