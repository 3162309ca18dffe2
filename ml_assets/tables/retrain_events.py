"""Why trainings were started, held back or not started: a row for each decision.

Belongs here: writing and reading the events, and the names of a run's tags that lead back to them.
Does not: what is decided (graph/retraining/rules.py).
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ml_assets.lake.lake import Commit, Lake, Written
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import alias, now

RETRAIN_EVENTS = Table(
    "retrain_events",
    "A decision about a training: what triggered it, whether it was started, waits or was skipped, and why.",
    (
        Column("event_id", "VARCHAR", "Names the event; a tag of its run."),
        Column("decided_at", "TIMESTAMP", "When, UTC."),
        Column("trigger", "VARCHAR", "What triggered it: first, drift, decay, new_batches, report, cron or manual."),
        Column("decision", "VARCHAR", "train (a run was requested), wait (decided again later) or skip (never again)."),
        Column("why", "VARCHAR", "The evidence, and what holds it back."),
        Column("batches", "VARCHAR[]", "Batches that the evidence is about."),
        Column("champion", "VARCHAR", "Version that was champion."),
        Column("evidence", "JSON", "The facts one by one, and the snapshot of the lake that was read."),
        Column("run_key", "VARCHAR", "The key that Dagster runs once; NULL where nothing was requested."),
        Column("run_id", "VARCHAR", "The run, once its training set is being made."),
        Column("triggered_by", "VARCHAR", "The sensor, the schedule or the person.", earlier="asked_by"),
    ),
    written_by="sensor PIPELINE_retrain",
    format=2,
)
# Tags of a training's run.
TRIGGER_TAG = "ml_assets/retrain"
BATCHES_TAG = "ml_assets/batches"
EVENT_TAG = "ml_assets/retrain_event"
WHY_TAG = "ml_assets/why"
Word = Literal["train", "wait", "skip"]


@dataclass(frozen=True)
class Event:
    """One decision about a training.

    Args:
        trigger: What it is about (graph/retraining/triggers.py) or manual; several joined by ", ".
        decision: train (a run was requested), wait (decided again later) or skip (never again).
        why: The evidence, and what holds it back.
        triggered_by: The sensor, the schedule or the person.
        batches: Batches that the evidence is about.
        champion: Version that was champion.
        evidence: Its `facts` one by one, and the `snapshot` of the lake that was read.
        run_key: The key that Dagster runs once; None where nothing was requested.
        run_id: The run, once its training set is being made.
        event_id: Names the event.
        decided_at: When, UTC.
    """

    trigger: str
    decision: Word
    why: str
    triggered_by: str
    batches: list[str] = field(default_factory=list)
    champion: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    run_key: str | None = None
    run_id: str | None = None
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    decided_at: dt.datetime = field(default_factory=now)

    @property
    def facts(self) -> list[dict[str, Any]]:
        """The evidence, one by one."""
        return list(self.evidence.get("facts") or [])

    @property
    def snapshot(self) -> int:
        """The lake's snapshot that was read."""
        return int(self.evidence.get("snapshot") or 0)

    def tags(self) -> dict[str, str]:
        """Tags of the run that the event requests."""
        made = {TRIGGER_TAG: self.trigger, EVENT_TAG: self.event_id, WHY_TAG: self.why}
        return made | ({BATCHES_TAG: ", ".join(self.batches)} if self.batches else {})


def record(lake: Lake, pipeline: str, events: Sequence[Event], commit: Commit) -> Written:
    """Append decisions, in one snapshot."""
    (written,) = lake.append([RETRAIN_EVENTS.rows(pipeline, [asdict(event) for event in events])], commit)
    return written


def read(lake: Lake, pipeline: str, limit: int | None = None) -> list[Event]:
    """The newest events of a pipeline, oldest first; all of them without a limit."""
    most = "" if limit is None else f" LIMIT {int(limit)}"
    rows = RETRAIN_EVENTS.query(lake, pipeline, f"SELECT * FROM {{t}} ORDER BY decided_at DESC{most}")
    return [Event(**{**row, "evidence": json.loads(row["evidence"] or "{}")}) for row in reversed(rows)]


def started(lake: Lake, pipeline: str, tags: Mapping[str, str], commit: Commit) -> None:
    """Say which run a training is: of the event that triggered it, or of a person, whose training is one more event.

    Args:
        lake: The lake.
        pipeline: Its schema.
        tags: Tags of the run.
        commit: The run, and who triggered it.
    """
    commit = replace(commit, asset=RETRAIN_EVENTS.asset(pipeline))  # it is no write of the training set
    event_id = tags.get(EVENT_TAG)
    if event_id and RETRAIN_EVENTS.query(lake, pipeline, "SELECT 1 FROM {t} WHERE event_id = ?", [event_id]):
        sql = f"UPDATE {RETRAIN_EVENTS.sql(pipeline)} SET run_id = ? WHERE event_id = ?"
        lake.maintain(lambda: lake.con.execute(sql, [commit.run_id, event_id]).fetchall(), commit)
        return
    champion = alias(lake, pipeline, "champion")
    event = Event(
        trigger="manual",
        decision="train",
        why=f"requested by {commit.triggered_by}",
        triggered_by=commit.triggered_by,
        champion=champion.version if champion else None,
        evidence={"snapshot": lake.snapshot()},
        run_id=commit.run_id,
    )
    record(lake, pipeline, [event], commit)
