"""From the servers' logs to the lake: each whole line once, whatever is killed, restarted or read again.

How far a segment was read is written in the snapshot of the rows that were read, under a lock, and compared with the
rows that are there before the commit. A segment is removed when all of that holds: its hour is over, no process holds
it, every whole line of it is in the lake, and none was rejected.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec

from ml_assets.errors import LakeError
from ml_assets.lake.lake import Commit, Lake, Written
from ml_assets.lake.paths import Paths
from ml_assets.ml.log_records import HOUR, Feedback, Predicted, lines
from ml_assets.sources.segments import Segments, segments_of
from ml_assets.tables import prediction_log as tables
from ml_assets.tables.prediction_log import FEEDBACK, PREDICTION_LOG, SEGMENTS, Segment
from ml_assets.tables.versions import now

READ_BYTES = 32 * 2**20  # of a segment at a time; together they are a snapshot
LOCK_S = 300


@dataclass
class ReadSegments:
    """What some bytes of segments hold.

    Args:
        segments: How far each has been read now.
        predicted: Column -> values, for `PREDICTION_LOG`.
        feedback: The same for `FEEDBACK`.
        is_all: Nothing was left for another reading.
    """

    segments: list[Segment] = field(default_factory=list)
    predicted: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in PREDICTION_LOG.types})
    feedback: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in FEEDBACK.types})
    is_all: bool = True


@dataclass(frozen=True)
class Ingested:
    """What an hour came to.

    Args:
        written: The last write.
        rows: New rows of prediction_log.
        outcomes: New rows of feedback.
        segments: Segments that had something new.
        removed: Segments that were removed.
    """

    written: Written
    rows: int
    outcomes: int
    segments: int
    removed: int


def ingest(lake: Lake, paths: Paths, pipeline: str, hour: str, commit: Commit) -> Ingested:
    """Write what is new in an hour's segments to the lake, and remove the segments that are finished.

    Raises:
        SourceError: The log cannot be read.
        LakeBusy: Another process has been doing this for too long, or the log's place cannot be reached.
        LakeError: The lake cannot be written.
    """
    places = segments_of(paths, pipeline)
    with paths.catalog.lock(f"{pipeline}.{PREDICTION_LOG.name}", LOCK_S, "reading the prediction log"):
        rows = outcomes = 0
        touched: set[str] = set()
        while True:
            known = tables.segments(lake, pipeline, [hour])
            read = read_new(places, hour, known)
            written = _write(lake, pipeline, read, commit)
            rows, outcomes = rows + len(read.predicted["hour"]), outcomes + len(read.feedback["hour"])
            touched |= {one.segment for one in read.segments}
            if read.is_all:
                break
        removed = remove_finished(lake, pipeline, places, dt.datetime.now(dt.UTC))
    return Ingested(written, rows, outcomes, len(touched), removed)


def read_new(places: Segments, hour: str, known: Mapping[str, Segment]) -> ReadSegments:
    """The whole lines of an hour's segments that have not been read, at most about `READ_BYTES`."""
    read, room = ReadSegments(), READ_BYTES
    for name, size in places.sizes().items():
        before = known.get(name, Segment(name, hour))
        if hour_of(name) != hour or size <= before.bytes:
            continue
        if room <= 0:
            read.is_all = False
            break
        data = places.read(name, before.bytes, room)
        after = _parse(data, before, read)
        read.is_all = read.is_all and (after.bytes == before.bytes or before.bytes + len(data) >= size)
        room -= after.bytes - before.bytes
        if after.bytes > before.bytes:
            read.segments.append(after)
    return read


def _parse(data: bytes, before: Segment, read: ReadSegments) -> Segment:
    """Add the records of a segment's next lines; returns how far it is read then."""
    end, number, rejected = before.bytes, before.lines, list(before.rejected)
    rows, outcomes = len(read.predicted["hour"]), len(read.feedback["hour"])
    for number, line in enumerate(lines(data, before.bytes), before.lines + 1):
        end, place = line.end, {"hour": before.hour, "segment": before.segment, "line": number}
        if isinstance(line.record, Predicted):
            _add(read.predicted, _predicted(line.record, place))
        elif isinstance(line.record, Feedback):
            _add(read.feedback, _feedback(line.record, place))
        else:
            rejected.append(f"line {number}: {line.error}")
    return replace(
        before,
        bytes=end,
        lines=number,
        rows=before.rows + len(read.predicted["hour"]) - rows,
        outcomes=before.outcomes + len(read.feedback["hour"]) - outcomes,
        rejected=tuple(rejected),
    )


def _add(columns: dict[str, list[Any]], rows: Iterator[Mapping[str, Any]]) -> None:
    for row in rows:
        for name, values in columns.items():
            values.append(row.get(name))


def _predicted(record: Predicted, place: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each row of the request."""
    names = list(record.features)
    features = list(zip(*record.features.values(), strict=True)) or [()] * len(record.rows)
    for number, row in enumerate(record.rows):
        yield {
            **place,
            "request_id": record.id,
            "row_number": number if record.positions is None else record.positions[number],
            "received_at": _utc(record.at),
            "model_version": record.version,
            "role": record.role,
            "key": None if record.keys is None else _text(record.keys[number]),
            "request": bytes(row).decode(),
            "features": msgspec.json.encode(dict(zip(names, features[number], strict=True))).decode(),
            "score": record.scores[number],
            "decision": record.decisions[number],
            "probabilities": None if record.probabilities is None else record.probabilities[number],
            "latency_ms": record.latency_ms,
        }


def _feedback(record: Feedback, place: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for outcome in record.outcomes:
        yield {
            **place,
            "feedback_id": record.id,
            "received_at": _utc(record.at),
            "request_id": outcome.id,
            "row_number": outcome.row,
            "key": None if outcome.key is None else _text(outcome.key),
            "outcomes": _text(outcome.values),
        }


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo is None else moment.astimezone(dt.UTC).replace(tzinfo=None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str | None) else msgspec.json.encode(value).decode()


def _write(lake: Lake, pipeline: str, read: ReadSegments, commit: Commit) -> Written:
    """Rows and how far they go, in one snapshot; also where there are none, which the audit trail then says.

    The trail keeps every change of content for ever: a log's is its growth, and one entry says it.
    """
    moment = now()
    places = [{**asdict(one), "rejected": list(one.rejected), "read_at": moment} for one in read.segments]
    rows, outcomes = (
        table.put(pipeline, _relation(lake, table.types, columns), append=True, divided_by="hour", version="log")
        for table, columns in ((PREDICTION_LOG, read.predicted), (FEEDBACK, read.feedback))
    )
    segments = SEGMENTS.put(pipeline, lake.values(SEGMENTS.types, places), append=True, key=SEGMENTS.key, version="log")
    return lake.replace([rows, outcomes, segments], commit, lambda: _check_once(lake, pipeline, read.segments))[0]


def _relation(lake: Lake, types: Mapping[str, str], columns: Mapping[str, Sequence[Any]]) -> str:
    """Columns as a temporary table; returns its name."""
    import pyarrow as pa

    name = lake.values(types, [])
    arrow = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "DOUBLE": pa.float64(), "TIMESTAMP": pa.timestamp("us")}
    arrow["DOUBLE[]"] = pa.list_(pa.float64())
    lake.con.register("logged", pa.table({one: pa.array(columns[one], arrow[kind]) for one, kind in types.items()}))
    lake.con.execute(f"INSERT INTO {name} FROM logged")
    lake.con.unregister("logged")
    return name


def _check_once(lake: Lake, pipeline: str, segments: Sequence[Segment]) -> None:
    """Refuse the commit where the lake would not have exactly the rows that were read: its repeat may double them."""
    found = tables.counts(lake, pipeline, [one.segment for one in segments])
    wrong = [one.segment for one in segments if found[one.segment] != (one.rows, one.outcomes)]
    if wrong:
        raise LakeError(
            "The lake has other rows of a segment of the prediction log than were read from it.",
            found=", ".join(wrong[:5]),
            where={"pipeline": pipeline},
            fix="Nothing was written; materialize the hour again.",
        )


def remove_finished(lake: Lake, pipeline: str, places: Segments, moment: dt.datetime) -> int:
    """Remove the segments that nobody writes any more and that are in the lake whole; returns how many."""
    hour = moment.strftime(HOUR)
    names = [name for name in places.sizes() if hour_of(name) < hour]
    known = tables.segments(lake, pipeline, sorted(set(map(hour_of, names))))
    whole = {name: known.get(name, Segment(name, hour_of(name))) for name in names}
    return sum(places.remove_if_read(name, one.bytes) for name, one in whole.items() if not one.rejected)


def hour_of(segment: str) -> str:
    """The hour in which a segment was written."""
    return segment.partition("/")[0]
