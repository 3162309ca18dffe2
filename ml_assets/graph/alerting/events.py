"""Events that people are notified of, read from the lake's tables and from failed runs.

Each check finds all events, old and new: their ids tell which are known. So no cursor can lose one. A table or column
that is missing means that there are no such events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_assets.lake.lake import Lake
from ml_assets.pages import addresses
from ml_assets.tables import alerts, arrivals, decisions, deployments, drift, ingest_errors, performance
from ml_assets.tables.alerts import Alert
from ml_assets.tables.arrivals import ARRIVALS, OUTCOME_FILES, REJECTED, Arrival
from ml_assets.tables.decisions import Decision
from ml_assets.tables.outcomes import OUTCOMES

# Decisions that need attention: a version waits for approval, or was refused by a gate.
NOTIFIED = ("pending", "refused")
FILES = (ARRIVALS, OUTCOME_FILES)
FILE_EVENTS = ("rejected_file", "duplicate_file")  # what has happened to a file
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


def happened(lake: Lake, pipeline: str, runs: Iterable[FailedRun]) -> list[Alert]:
    """All events of a pipeline, as alerts that are raised.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        runs: Its runs that failed for good.
    """
    batches = ingest_errors.by_run(lake, pipeline)
    return [
        *(_batch_alert(pipeline, row) for row in batches if not _is_of_file(pipeline, row)),
        *(
            _file_alert(pipeline, one)
            for listed in FILES
            for one in arrivals.of_status(lake, pipeline, *REJECTED, listed=listed)
        ),
        *(_decision_alert(pipeline, made) for made in decisions.decisions(lake, pipeline) if made.decision in NOTIFIED),
        *(_drift_alert(pipeline, row) for row in drift.verdicts(lake, pipeline) if row["drifted"]),
        *(_decay_alert(pipeline, row) for row in performance.verdicts(lake, pipeline) if row["decayed"]),
        *(_champion_alert(pipeline, move) for move in deployments.moves(lake, pipeline)),
        *(_run_alert(pipeline, run) for run in runs if not _is_notified_otherwise(run, batches)),
    ]


def _rejected(lake: Lake, pipeline: str) -> list[Arrival]:
    return [one for listed in FILES for one in arrivals.of_status(lake, pipeline, *REJECTED, listed=listed)]


def _is_of_file(pipeline: str, row: Mapping[str, Any]) -> bool:
    """Is it a file that was rejected when it was seen? Its state among the files is an event of its own."""
    return row["asset"] in (ARRIVALS.asset(pipeline), OUTCOMES.asset(pipeline))


def _batch_alert(pipeline: str, row: Mapping[str, Any]) -> Alert:
    what = f"batch {row['batch']}" if row["batch"] else row["subject"]
    text = f"{what} was refused by {row['asset'].partition('/')[2]}: {shortened(row['error'])}"
    link = addresses.batch(pipeline, row["batch"]) if row["batch"] else addresses.batches(pipeline)
    return alerts.raised("refused_batch", row["subject"], text, [row["run_id"]], link)


def _file_alert(pipeline: str, file: Arrival) -> Alert:
    event = "duplicate_file" if file.status == "duplicate" else "rejected_file"
    name = file.path.rpartition("/")[2]
    text = f"{name} is {arrivals.WORDS[file.status]}: {shortened(file.error or '')}"
    return alerts.raised(event, name, text, [file.path, file.sha256, file.status], addresses.batches(pipeline))


def _decision_alert(pipeline: str, made: Decision) -> Alert:
    word = "waits for approval" if made.decision == "pending" else "was refused"
    text = f"version {made.version} {word}: {shortened(made.why)}"
    return alerts.raised(
        made.decision, made.version, text, [made.decided_at], addresses.version(pipeline, made.version)
    )


def _drift_alert(pipeline: str, row: Mapping[str, Any]) -> Alert:
    why = row.get("why") or f"{row['share']:.0%} of the columns drifted, the limit is {row['share_limit']:.0%}"
    text = f"batch {row['batch']} has drifted from what {row['model_version']} was trained on: {shortened(why)}"
    return alerts.raised("drift", row["batch"], text, [row["model_version"]], addresses.batch(pipeline, row["batch"]))


def _decay_alert(pipeline: str, row: Mapping[str, Any]) -> Alert:
    why = row.get("why") or f"{row['metric']} {row['value']:.4g}, test score {row['test_score']:.4g}"
    text = f"the live score of version {row['model_version']} has decayed on batch {row['batch']}: {shortened(why)}"
    own = [row["model_version"], row["metric"]]
    return alerts.raised("decay", row["batch"], text, own, addresses.batch(pipeline, row["batch"]))


def _champion_alert(pipeline: str, move: deployments.Move) -> Alert:
    text = (
        f"version {move.version} is the champion, before: {move.previous or 'none'}; {shortened(move.why)} ({move.by})"
    )
    return alerts.raised("champion", move.version, text, [move.moved_at], addresses.version(pipeline, move.version))


def _run_alert(pipeline: str, run: FailedRun) -> Alert:
    errors = "; ".join(f"{step.step}: {step.text}" for step in run.steps) or "its process exited silently"
    link = run.link or addresses.alerts(pipeline)
    return alerts.raised("run_failure", run.run_id, f"{run.what} failed: {shortened(errors)}", [], link)


def _is_notified_otherwise(run: FailedRun, batches: Iterable[Mapping[str, Any]]) -> bool:
    """Did it fail only because batches were refused? Those have alerts of their own."""
    errors = [error for row in batches if row["run_id"] == run.run_id for error in row["errors"]]
    return bool(run.steps and errors) and all(
        step.is_check or any(error in step.text for error in errors) for step in run.steps
    )


def shortened(text: str) -> str:
    """A text that fits into a message."""
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
