"""Deployments: what was done about each move of the champion's alias, step by step.

One row for each step of each run of the deploy job. Nothing is ever changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import alias_events, now

DEPLOYMENTS = Table(
    "deployments",
    "A step of a deployment, in one run of the deploy job.",
    (
        Column("version", "VARCHAR", "The version that became champion."),
        Column(
            "moved_at", "TIMESTAMP", "When the champion's alias moved to it, UTC: tells the deployment from others."
        ),
        Column("step", "VARCHAR", "verify, publish, server, mlflow or webhook."),
        Column("target", "VARCHAR", "Folder or address, without secrets."),
        Column("ok", "BOOLEAN", "It is as it should be now."),
        Column("detail", "VARCHAR", "What was done or found."),
        Column("deployed_at", "TIMESTAMP", "When, UTC."),
        Column("run_id", "VARCHAR", "Dagster run."),
    ),
    written_by="job PIPELINE_deploy",
)


@dataclass(frozen=True)
class Move:
    """A move of the champion's alias.

    Args:
        version: The champion from then on.
        previous: The champion before it; None for the first.
        moved_at: When, UTC.
        why: The reason, as the decision has it.
        by: Who or what decided.
    """

    version: str
    previous: str | None
    moved_at: dt.datetime
    why: str
    by: str


@dataclass(frozen=True)
class Step:
    """One thing that a deployment does, and how it went.

    Args:
        step: verify | publish | server | mlflow | webhook.
        target: Folder or address, without secrets.
        ok: Is it as it should be now?
        detail: What was done or found.
    """

    step: Literal["verify", "publish", "server", "mlflow", "webhook"]
    target: str
    ok: bool
    detail: str


def moves(lake: Lake, pipeline: str) -> list[Move]:
    """Every move of the champion's alias, oldest first."""
    events = [event for event in alias_events(lake, pipeline) if event["alias"] == "champion"]
    before = [None, *(event["version"] for event in events)]
    return [
        Move(event["version"], previous, event["moved_at"], event["why"], event["moved_by"])
        for event, previous in zip(events, before, strict=False)
    ]


def record(lake: Lake, pipeline: str, move: Move, steps: Sequence[Step], commit: Commit) -> None:
    """Append the steps of a run."""
    shared = {"version": move.version, "moved_at": move.moved_at, "deployed_at": now(), "run_id": commit.run_id}
    lake.append([DEPLOYMENTS.rows(pipeline, [{**shared, **asdict(step)} for step in steps])], commit)


def is_recorded(lake: Lake, pipeline: str, move: Move) -> bool:
    """Has a run of the deploy job come to its end for a move, whatever came of its steps?"""
    sql = "SELECT 1 FROM {t} WHERE moved_at = ? LIMIT 1"
    return bool(DEPLOYMENTS.query(lake, pipeline, sql, [move.moved_at]))


def told_at(lake: Lake, pipeline: str, move: Move, target: str) -> dt.datetime | None:
    """When the webhook took the news of a move; None where it has not."""
    rows = DEPLOYMENTS.query(
        lake,
        pipeline,
        """SELECT min(deployed_at) AS told_at FROM {t}
        WHERE step = 'webhook' AND ok AND moved_at = ? AND target = ?""",
        [move.moved_at, target],
    )
    return rows[0]["told_at"] if rows else None
