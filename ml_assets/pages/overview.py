"""What the home page says of a pipeline: one row of figures, read from the lake's tables in one snapshot.

Belongs here: what is read. Does not: when it is read again (keeper.py), how it is shown (templates/).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ml_assets import attention
from ml_assets.attention import Need
from ml_assets.errors import MLAssetsError
from ml_assets.lake.lake import Lake
from ml_assets.metrics import METRICS
from ml_assets.pages import addresses
from ml_assets.spec.operation import Performance
from ml_assets.tables import (
    alerts,
    arrivals,
    audit,
    decisions,
    deployments,
    drift,
    evaluations,
    ingest_errors,
    performance,
    retrain_events,
    versions,
)
from ml_assets.tables.data import QUARANTINE, VALIDATED_DATA
from ml_assets.tables.decisions import Decision
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.table import is_online

DAYS = 30  # of the timeline
POINTS = 30  # batches in a sparkline
MOST_EVENTS = 60
BAD = ("refused", "rejected", "rolled_back")


@dataclass(frozen=True)
class Champion:
    """The version in charge: since when, by whom and why."""

    version: str
    since: dt.datetime
    by: str
    why: str
    candidate: str = ""


@dataclass(frozen=True)
class ShownScore:
    """A test score with its 95% interval."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    rows: int


@dataclass(frozen=True)
class Point:
    """A batch in a sparkline.

    Args:
        batch: The batch.
        value: What was measured.
        low: Lower end of its interval.
        high: Upper end.
        is_bad: Has it decayed or drifted? None: no verdict.
        version: The version that it is about.
    """

    batch: str
    value: float | None
    low: float | None = None
    high: float | None = None
    is_bad: bool | None = None
    version: str = ""


@dataclass(frozen=True)
class NewestTraining:
    """The newest training, and what came of it; or why none is started."""

    at: dt.datetime
    version: str | None
    word: str
    why: str
    triggered_by: str = ""


@dataclass(frozen=True)
class TimelineEvent:
    """Something of the timeline.

    Args:
        at: When, UTC.
        what: One or two words.
        text: What happened.
        link: The page about it.
        tone: good, bad, warn, or nothing.
    """

    at: dt.datetime
    what: str
    text: str
    link: str
    tone: str = ""


@dataclass(frozen=True)
class Overview:
    """A pipeline on the home page.

    Args:
        pipeline: Its name.
        snapshot: The newest snapshot that it has written; -1 where it has written none.
        read_at: When it was read, UTC.
        needs: What needs attention.
        champion: The version in charge.
        test: Its test score.
        live: Live scores of the newest batches, of whichever version was in charge.
        live_limit: Where the champion's live score counts as decayed.
        drift: Share of the model's importance that has drifted, of the newest batches.
        drift_limit: From which share on a batch has drifted.
        files: State of files -> their number.
        batches: Batches with validated rows.
        newest: The newest of them.
        rows: Validated rows.
        quarantined: Rows in quarantine.
        training: The newest training.
        waits: Why no training is started now, where something asks for one.
        events: Of the last 30 days, the newest first.
    """

    pipeline: str
    snapshot: int
    read_at: dt.datetime
    needs: list[Need] = field(default_factory=list)
    champion: Champion | None = None
    test: ShownScore | None = None
    live: list[Point] = field(default_factory=list)
    live_limit: float | None = None
    drift: list[Point] = field(default_factory=list)
    drift_limit: float | None = None
    files: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    newest: str | None = None
    rows: int = 0
    quarantined: int = 0
    training: NewestTraining | None = None
    waits: str = ""
    events: list[TimelineEvent] = field(default_factory=list)

    @property
    def states(self) -> list[tuple[str, str]]:
        """What is to be said of it, each in a word or two with its tone; the most urgent first."""
        kinds = {need.kind for need in self.needs}
        found = [(word, tone) for kind, word, tone in STATES if kind in kinds]
        return found or [("no champion yet", "") if self.champion is None else ("healthy", "good")]


STATES = (
    ("broken", "broken", "bad"),
    ("damaged_file", "damaged", "bad"),
    ("run_failure", "run failed", "bad"),
    ("failed_batch", "batch refused", "bad"),
    ("rejected_file", "file rejected", "bad"),
    ("decay", "decayed", "bad"),
    ("pending", "waits for approval", "warn"),
    ("drift", "drifted", "warn"),
    ("no_champion", "no champion", "warn"),
    ("skipped_file", "file skipped", "warn"),
    ("stale", "stale", "warn"),
)


def read(lake: Lake, pipeline: str, snapshot: int, declared: Mapping[str, Any]) -> Overview:
    """A pipeline as the lake has it now. What cannot be read is what needs attention, never an error.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        snapshot: The newest snapshot that it has written.
        declared: Its attributes in the YAML, as far as they are known.
    """
    try:
        with lake.one_snapshot():
            return _read(lake, pipeline, snapshot, declared)
    except MLAssetsError as error:
        return unreadable(pipeline, snapshot, error)


def unreadable(pipeline: str, snapshot: int, error: MLAssetsError) -> Overview:
    """A pipeline whose tables cannot be read."""
    need = Need(pipeline, "damaged_file", str(error), "do what the error says", addresses.pipeline(pipeline))
    return Overview(pipeline, snapshot, versions.now(), [need])


def unseen(pipeline: str) -> Overview:
    """A pipeline that has written nothing yet."""
    return Overview(pipeline, -1, versions.now())


def _read(lake: Lake, pipeline: str, snapshot: int, declared: Mapping[str, Any]) -> Overview:
    moment = versions.now()
    champion = _champion(lake, pipeline)
    read = attention.SharedRows(
        champion.version if champion else None,
        decisions.decisions(lake, pipeline),
        drift.recent(lake, pipeline, limit=POINTS),
        performance.recent(lake, pipeline, limit=POINTS),
    )
    made, drifted, live = read.made, read.drifted, read.live
    test = _test(lake, pipeline, champion, live)
    rows = lake.rows_by_batch(VALIDATED_DATA.of(pipeline))
    return Overview(
        pipeline,
        snapshot,
        moment,
        needs=attention.needs(lake, pipeline, rows=read),
        champion=champion,
        test=test,
        live=[Point(r["batch"], r["value"], r["low"], r["high"], r["decayed"], r["model_version"]) for r in live],
        live_limit=_limit(test, declared),
        drift=[Point(r["batch"], _share(r), is_bad=r["drifted"], version=r["model_version"]) for r in drifted],
        drift_limit=drifted[-1]["share_limit"] if drifted else None,
        files=dict(Counter(one.status for one in arrivals.known(lake, pipeline).values())),
        batches=len(rows),
        newest=max(rows, default=None),
        rows=sum(rows.values()),
        quarantined=sum(lake.rows_by_batch(QUARANTINE.of(pipeline)).values()),
        training=_training(made),
        waits=_waits(lake, pipeline),
        events=_events(lake, pipeline, moment - dt.timedelta(days=DAYS), made, live, drifted),
    )


def _champion(lake: Lake, pipeline: str) -> Champion | None:
    moves = deployments.moves(lake, pipeline)
    if not moves:
        return None
    last = moves[-1]
    known = versions.version(lake, pipeline, last.version)
    return Champion(last.version, last.moved_at, last.by, last.why, known.candidate if known else "")


def _test(lake: Lake, pipeline: str, champion: Champion | None, live: Sequence[Mapping[str, Any]]) -> ShownScore | None:
    """The champion's test score, by the metric of its live scores, else by the one that was tuned."""
    if champion is None:
        return None
    found = evaluations.newest(lake, pipeline, [champion.version], ["test", "train"])
    tuned = next((row["metric"] for row in found if row["scope"] == "train"), None)
    measured = [row["metric"] for row in live if row["model_version"] == champion.version]
    metric = measured[-1] if measured else tuned
    row = next((row for row in found if row["scope"] == "test" and row["metric"] == metric), None)
    return ShownScore(metric, row["value"], row["low"], row["high"], row["rows"]) if row and metric else None


def _limit(test: ShownScore | None, declared: Mapping[str, Any]) -> float | None:
    """The live score at which the champion counts as decayed, by `monitoring.performance.max_drop`."""
    if test is None or test.value is None or test.metric not in METRICS:
        return None
    configured = (declared.get("monitoring") or {}).get("performance") or {}
    most = configured.get("max_drop", Performance.model_fields["max_drop"].default)
    metric = METRICS[test.metric]
    if not isinstance(most, int | float):
        return None
    return test.value - metric.sign * (most * abs(test.value) if metric.drops_as_share else most)


def _share(row: Mapping[str, Any]) -> float | None:
    share: float | None = row["weighted_share"]
    return row["share"] if share is None else share


def _training(made: Sequence[Decision]) -> NewestTraining | None:
    """The newest decision that a training came to: a person's has no run."""
    trained = [one for one in made if one.decision in ("promoted", "refused", "pending", "kept") and one.gates]
    if not trained:
        return None
    last = trained[-1]
    return NewestTraining(last.decided_at, last.version, last.decision, last.why, last.decided_by)


def _waits(lake: Lake, pipeline: str) -> str:
    newest = retrain_events.read(lake, pipeline, limit=1)
    return f"{newest[0].trigger}: {newest[0].why}" if newest and newest[0].decision == "wait" else ""


# -- the timeline ------------------------------------------------------------------------------------------------------


def _events(
    lake: Lake,
    pipeline: str,
    since: dt.datetime,
    made: Sequence[Decision],
    live: Sequence[Mapping[str, Any]],
    drifted: Sequence[Mapping[str, Any]],
) -> list[TimelineEvent]:
    writes = audit.since(lake, pipeline, since)
    found = [
        *_ingested(pipeline, writes),
        *(_decided(pipeline, one) for one in made if one.decided_at >= since),
        *_refused(lake, pipeline, since),
        *_failed(lake, pipeline, since),
        *_decayed(pipeline, live, since),
        *_drifted(pipeline, drifted, writes),
    ]
    return sorted(found, key=lambda event: event.at, reverse=True)[:MOST_EVENTS]


def _ingested(pipeline: str, writes: Iterable[audit.LastWrite]) -> list[TimelineEvent]:
    """One event for each run that validated batches."""
    by_run: dict[str, list[audit.LastWrite]] = {}
    for write in writes:
        if write.asset == VALIDATED_DATA.asset(pipeline) and write.batch:
            by_run.setdefault(write.run_id, []).append(write)
    found = []
    for group in by_run.values():
        names = sorted({str(write.batch) for write in group})
        many = f"{len(names)} batches, {names[0]} to {names[-1]}" if len(names) > 1 else f"batch {names[0]}"
        link = addresses.batches(pipeline) if len(names) > 1 else addresses.batch(pipeline, names[0])
        found.append(TimelineEvent(group[-1].written_at, "ingested", many, link))
    return found


def _decided(pipeline: str, one: Decision) -> TimelineEvent:
    tone = {"promoted": "good", "pending": "warn"}.get(one.decision, "bad" if one.decision in BAD else "")
    text = f"version {one.version} by {one.decided_by}: {one.why}"
    link = addresses.version(pipeline, one.version)
    return TimelineEvent(one.decided_at, one.decision.replace("_", " "), text, link, tone)


def _refused(lake: Lake, pipeline: str, since: dt.datetime) -> list[TimelineEvent]:
    rows = [row for row in ingest_errors.by_run(lake, pipeline) if row["failed_at"] >= since]
    return [
        TimelineEvent(
            row["failed_at"],
            "refused",
            f"{'batch ' + row['batch'] if row['batch'] else row['subject']}: {row['error']}",
            addresses.batch(pipeline, row["batch"]) if row["batch"] else addresses.batches(pipeline),
            "bad",
        )
        for row in rows
    ]


def _failed(lake: Lake, pipeline: str, since: dt.datetime) -> list[TimelineEvent]:
    failed = alerts.since(lake, pipeline, since, "run_failure")
    return [TimelineEvent(one.raised_at, "run failed", one.text, addresses.alerts(pipeline), "bad") for one in failed]


def _decayed(pipeline: str, live: Sequence[Mapping[str, Any]], since: dt.datetime) -> list[TimelineEvent]:
    return [
        TimelineEvent(row["measured_at"], "decayed", _monitored(row), addresses.batch(pipeline, row["batch"]), "bad")
        for row in live
        if row["decayed"] and row["measured_at"] and row["measured_at"] >= since
    ]


def _drifted(
    pipeline: str, drifted: Sequence[Mapping[str, Any]], writes: Iterable[audit.LastWrite]
) -> list[TimelineEvent]:
    at = {write.batch: write.written_at for write in writes if write.asset == DRIFT.asset(pipeline)}
    return [
        TimelineEvent(at[row["batch"]], "drifted", _monitored(row), addresses.batch(pipeline, row["batch"]), "warn")
        for row in drifted
        if row["drifted"] and row["batch"] in at
    ]


def _monitored(row: Mapping[str, Any]) -> str:
    name = row["batch"] if is_online(row["batch"]) else f"batch {row['batch']}"
    return f"{name}, version {row['model_version']}: {row['why'] or 'no reason is known'}"


def with_needs(found: Overview, more: Iterable[Need]) -> Overview:
    """With needs that other places than the lake tell of."""
    more = list(more)
    return replace(found, needs=attention.ordered([*found.needs, *more])) if more else found
