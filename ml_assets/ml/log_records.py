"""Records of the prediction log: what the server writes, and the graph reads. Each is a line of a segment.

A line is the CRC-32 of the JSON as 8 hexadecimal digits, a space, the JSON, a newline. A line without its newline was
cut off by a kill or a full disk: its request was never answered.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import msgspec

SUFFIX = ".log"
HOUR = "%Y-%m-%dT%H"  # of a segment's folder, UTC
HEAD = 9  # bytes before the JSON
_encoder = msgspec.json.Encoder()


class Predicted(msgspec.Struct, tag="predict", tag_field="kind"):
    """A request that was answered; shadows are records of their own.

    Args:
        id: Of the request.
        at: When it was received, UTC.
        version: The model's.
        role: champion, challenger or shadow.
        rows: The request's rows, as JSON objects.
        features: Feature -> its value for each row.
        scores: One a row: probability of 1 (binary) or of the decision (multiclass), or the value (regression).
        decisions: One a row.
        probabilities: Of each class, a list a row (multiclass).
        keys: What the request says is routed alike, one a row; None where it says nothing.
        latency_ms: From the request's arrival to its answer.
        positions: Of the rows in the request, where only some of them were answered by this version.
    """

    id: str
    at: dt.datetime
    version: str
    role: str
    rows: list[msgspec.Raw]
    features: dict[str, list[Any]]
    scores: list[float]
    decisions: list[str | None]
    probabilities: list[list[float]] | None = None
    keys: list[Any] | None = None
    latency_ms: float | None = None
    positions: list[int] | None = None


class Feedback(msgspec.Struct, tag="feedback", tag_field="kind"):
    """Outcomes that were sent back.

    Args:
        id: Of the request that brought them.
        at: When, UTC.
        outcomes: For each `values` and either `id`, and perhaps `row`, of an answered request, or its `key`.
    """

    id: str
    at: dt.datetime
    outcomes: list[Outcome]


class Outcome(msgspec.Struct):
    """What was observed for the rows of one request or key: outcome column -> value."""

    values: dict[str, Any]
    id: str | None = None
    row: int | None = None
    key: dict[str, Any] | None = None


Record = Predicted | Feedback
_decoder = msgspec.json.Decoder(Record)


@dataclass(frozen=True)
class Line:
    """A whole line of a segment.

    Args:
        end: Offset behind its newline.
        record: None where it cannot be read.
        error: Why not.
    """

    end: int
    record: Record | None
    error: str = ""


def as_line(record: bytes | Mapping[str, Any] | msgspec.Struct) -> bytes:
    """A record as a line; bytes are its JSON already."""
    payload = record if isinstance(record, bytes) else _encoder.encode(record)
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def lines(data: bytes, start: int = 0) -> Iterator[Line]:
    """The whole lines of some bytes of a segment, which begin at the offset `start` of it."""
    begin = 0
    while (newline := data.find(b"\n", begin)) >= 0:
        yield _line(data[begin:newline], start + newline + 1)
        begin = newline + 1


def _line(text: bytes, end: int) -> Line:
    payload = text[HEAD:]
    if text[:HEAD] != b"%08x " % zlib.crc32(payload):
        return Line(end, None, "its checksum is wrong")
    try:
        return Line(end, _checked(_decoder.decode(payload)))
    except (msgspec.DecodeError, ValueError) as error:  # ValidationError is one; ValueError: bytes that are no UTF-8
        return Line(end, None, f"it is no record: {error}")


def _checked(record: Record) -> Record:
    if isinstance(record, Predicted):
        rows = len(record.rows)
        each: list[Sized] = [record.scores, record.decisions, *record.features.values()]
        each += [one for one in (record.keys, record.probabilities, record.positions) if one is not None]
        if any(len(one) != rows for one in each):
            raise ValueError(f"it has {rows} rows, and not as many of everything else")
    return record


def is_sampled(request_id: str, share: float) -> bool:
    """Is a request part of a sample? All records of a request, of whatever version, are or are not."""
    drawn = hashlib.md5(f"log {request_id}".encode(), usedforsecurity=False).hexdigest()[:15]
    return int(drawn, 16) / 16**15 < share
