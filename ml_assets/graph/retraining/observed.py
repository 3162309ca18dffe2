"""Reads a situation from the lake: what the triggers find, earlier trainings, and labels."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ml_assets.graph.retraining.situation import Situation, StartedTraining, TrainingReason
from ml_assets.graph.retraining.triggers import TRIGGERS
from ml_assets.lake.lake import Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables import (
    decisions,
    feature_statistics,
    online_batches,
    outcomes,
    remembered,
    retrain_events,
    training_sets,
    versions,
)
from ml_assets.tables.audit import read_trail
from ml_assets.tables.data import FEATURES, VALIDATED_DATA, is_online_batch
from ml_assets.tables.retrain_events import Event
from ml_assets.tables.training_sets import PARTS


class UnderWay(NamedTuple):
    """A training that is queued or running: in words, and the event that requested it, if one did."""

    words: str
    event_id: str | None


def read_situation(
    lake: Lake, spec: PipelineSpec, handed_in: Sequence[TrainingReason], under_way: Mapping[str, UnderWay]
) -> Situation:
    """All that a decision depends on.

    Args:
        lake: The lake.
        spec: The pipeline.
        handed_in: Evidence from outside the lake: reports, the schedule.
        under_way: Run id -> a training that is queued or running.
    """
    arrivals = _arrivals(lake, spec.name)
    events = retrain_events.read(lake, spec.name)
    moves = [move for move in versions.alias_events(lake, spec.name) if move["alias"] == "champion"]
    champion = moves[-1]["version"] if moves else None
    read = {name: trigger.read(lake, spec.name, champion) for name, trigger in TRIGGERS.items()}
    labelled = {batch: rows for batch, rows in labelled_rows(lake, spec).items() if batch in arrivals}
    now = Situation(
        evidence=[*(one for found, _ in read.values() for one in found), *handed_in],
        arrivals=arrivals,
        labelled=labelled,
        trainings=_trainings(lake, spec.name, events, under_way),
        events=events,
        calm={name: calm for name, (_, calm) in read.items()},
        champion=champion,
        champion_since=moves[-1]["moved_at"] if moves else None,
        running=next((one.words for one in under_way.values()), ""),
    )
    known = (now.last_good.batches if now.last_good else None) or frozenset()
    to_learn = [batch for batch, rows in labelled.items() if rows and batch not in known]
    return replace(
        now,
        broken=[
            str(one)
            for one in _newest(feature_statistics.broken(lake, spec.name, to_learn, feature_statistics.rules_of(spec)))
        ],
    )


def _newest(found: Iterable[feature_statistics.UnusualFeature]) -> list[feature_statistics.UnusualFeature]:
    """Each feature once, as it is in the newest batch."""
    return list({one.feature: one for one in found}.values())


def needed_batches(spec: PipelineSpec) -> int:
    """Fewest batches with labels that the split can divide."""
    return int(spec.split.validation + spec.split.test) + 1 if spec.split.by == "batch" else 1


def labelled_rows(lake: Lake, spec: PipelineSpec) -> dict[str, int]:
    """Batch -> validated rows whose target is known, by an outcome that came later too."""
    if not lake.exists(VALIDATED_DATA.of(spec.name)):
        return {}
    late, online = outcomes.late(lake, spec), online_batches.key(lake, spec)
    sql = f"SELECT batch, count(*) AS rows FROM {{t}} WHERE ({spec.target.sql}\n) IS NOT NULL GROUP BY batch"
    if late is None and online is None:
        rows = remembered.rows(lake, VALIDATED_DATA, spec.name, sql)
        return {row["batch"]: row["rows"] for row in rows if not is_online_batch(row["batch"])}
    rows = lake.rows(sql.replace("{t}", outcomes.known_sql(spec.name, late, online=online)))
    return {row["batch"]: row["rows"] for row in rows}


def _arrivals(lake: Lake, pipeline: str) -> dict[str, int]:
    """Batch with features -> snapshot at which they were first written; 0 where nothing tells."""
    written, asset = read_trail(lake, pipeline).contents, FEATURES.asset(pipeline)
    return {batch: written.get((asset, batch), ([0], []))[0][0] for batch in lake.batches(FEATURES.of(pipeline))}


def _trainings(
    lake: Lake, pipeline: str, events: Sequence[Event], under_way: Mapping[str, UnderWay]
) -> list[StartedTraining]:
    """Every training set, and every training that was requested and has none, oldest first."""
    decided = decisions.decisions(lake, pipeline)
    pin_of = {model.version: model.pin_id for model in versions.versions(lake, pipeline)}
    of_run = {event.run_id: event.event_id for event in events if event.run_id}
    requested = {one.event_id for one in under_way.values()}
    made: list[tuple[dt.datetime, StartedTraining]] = []
    for row in training_sets.made(lake, pipeline):
        of_it = [
            one
            for one in decided
            if one.decided_at >= row["created_at"]
            and (one.run_id == row["run_id"] or pin_of.get(one.version) == row["pin_id"])
        ]
        event_id = of_run.get(row["run_id"])
        goes_on = row["run_id"] in under_way or (event_id and event_id in requested)  # a retry is another run
        training = StartedTraining(
            snapshot=row["snapshot_id"],
            state="done" if of_it else "running" if goes_on else "failed",
            run_id=row["run_id"],
            event_id=event_id,
            batches=frozenset(batch for part in PARTS for batch in row[f"{part}_batches"] or ()),
            rows=sum(row[f"{part}_rows"] or 0 for part in PARTS),
            version=of_it[-1].version if of_it else None,
            decision=of_it[-1].decision if of_it else None,
            decided_at=of_it[0].decided_at if of_it else None,
        )
        made.append((row["created_at"], training))
    pinned = {training.event_id for _, training in made}
    for event in events:
        if event.decision == "train" and event.event_id not in pinned:
            runs = event.run_id in under_way or event.event_id in requested
            state: Any = "running" if runs else "failed"
            made.append((event.decided_at, StartedTraining(event.snapshot, state, event.run_id, event.event_id)))
    return [training for _, training in sorted(made, key=lambda pair: pair[0])]
