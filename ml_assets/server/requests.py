"""A request's rows, as a msgspec type that is made from the release's schema, and what is responded."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from ml_assets.ml.bundle import Schema

MAX_ROWS = 1000
MAX_ID = 128  # characters of a request id
WHOLE = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
TYPES: dict[str, Any] = {
    "string": str,
    "integer": WHOLE,
    "number": float,
    "boolean": bool,
    "date": dt.date,
    "timestamp": dt.datetime,
}
KeyValue = str | WHOLE | float | bool | None
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]


class RowRefused(Exception):
    """A row of a request cannot be answered, whatever the server does; the text names it.

    Args:
        why: What is wrong with it.
        row: Its number, from 0; None where it is not one row alone.
        field: The field that it is about.
    """

    def __init__(self, why: str, row: int | None, field: str | None = None) -> None:
        place = "" if row is None else f" - at `$.rows[{row}]{'.' + field if field else ''}`"
        super().__init__(why + place)
        self.why, self.row, self.field = why, row, field


class Warned(msgspec.Struct):
    """A value that breaks a constraint of its column."""

    row: int
    field: str
    rule: str


class Reason(msgspec.Struct):
    """What a feature does to a score.

    Args:
        feature: Its name.
        value: In this row.
        effect: How much higher the score is than with other values of the feature; of the decision's probability
            (multiclass).
    """

    feature: str
    value: float | str | None
    effect: float


class PredictResponse(msgspec.Struct, omit_defaults=True):
    """What the server responds, in the order of the request's rows.

    Args:
        id: Of the request, as it was given, or drawn by the server.
        pipeline: The pipeline.
        versions: Version that scored each row.
        scores: Probability of 1 (binary) or of the decision (multiclass), or the value (regression).
        decisions: One a row.
        version: The version, where it is the same for all rows.
        threshold: Score from which the decision is 1 (binary), where one version scored all rows.
        classes: Order of the probabilities (multiclass).
        probabilities: Of each class (multiclass).
        warnings: Values that break a constraint of their column.
        explanations: The features that move each row's score most, where the request asks for them.
    """

    id: str
    pipeline: str
    versions: list[str]
    scores: list[float]
    decisions: list[str]
    version: str | None = None
    threshold: float | None = None
    classes: list[str] | None = None
    probabilities: list[list[float]] | None = None
    warnings: list[Warned] | None = None
    explanations: list[list[Reason]] | None = None


def request_type(schema: Schema, pipeline: str) -> Any:
    """The type of `{"rows": [{column: value}]}`: every column is required, those that may be missing take null."""
    fields = []
    for number, (name, word) in enumerate(schema.columns.items()):
        kind = TYPES[word]
        fields.append((f"c{number}", kind | None if name in schema.nullable else kind))
    names = {f"c{number}": name for number, name in enumerate(schema.columns)}
    row = msgspec.defstruct(f"Row_{pipeline}", fields, rename=names, forbid_unknown_fields=True, gc=False)
    rows = Annotated[list[row], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]  # type: ignore[valid-type]
    keys = Annotated[list[KeyValue | list[KeyValue]], msgspec.Meta(max_length=MAX_ROWS)]
    members: list[Any] = [("rows", rows), ("keys", keys | None, None), ("id", Id | None, None)]
    return msgspec.defstruct(f"Request_{pipeline}", members, forbid_unknown_fields=True)


def columns(rows: Sequence[Any], schema: Schema) -> dict[str, list[Any]]:
    """Parsed rows as columns; timestamps in UTC without a zone, as batches have them.

    Raises:
        RowRefused: A timestamp has no place in UTC.
    """
    found = dict(zip(schema.columns, map(list, zip(*map(msgspec.structs.astuple, rows), strict=True)), strict=True))
    for name, word in schema.columns.items():
        if word == "timestamp":
            found[name] = [_utc(value, row, name) for row, value in enumerate(found[name])]
    return found


def _utc(value: dt.datetime | None, row: int, name: str) -> dt.datetime | None:
    if value is None or value.tzinfo is None:
        return value
    try:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    except OverflowError:
        raise RowRefused("The timestamp lies outside the years 1 to 9999 in UTC", row, name) from None


def not_utf8(body: bytes | bytearray, decoder: msgspec.json.Decoder[Any], schema: Schema) -> str:
    """What to say of a body with a text that is no UTF-8, with its row and field where they can be told."""
    with contextlib.suppress(msgspec.DecodeError):
        rows = decoder.decode(body.decode(errors="replace")).rows
        for number, row in enumerate(rows):
            for position, name in enumerate(schema.columns):
                if "\ufffd" in str(getattr(row, f"c{position}")):
                    return f"A text is no UTF-8 - at `$.rows[{number}].{name}`"
    return "The body is no UTF-8."
