"""A request's rows, as a msgspec type that is made from the release's schema."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from ml_assets.ml.bundle import Schema

MAX_ROWS = 1000
WHOLE = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
TYPES: dict[str, Any] = {
    "string": str,
    "integer": WHOLE,
    "number": float,
    "boolean": bool,
    "date": dt.date,
    "timestamp": dt.datetime,
}


class RowRefused(Exception):
    """A row of a request cannot be answered, whatever the server does; the text names it."""

    def __init__(self, why: str, row: int | None, field: str | None = None) -> None:
        place = "" if row is None else f" - at `$.rows[{row}]{'.' + field if field else ''}`"
        super().__init__(why + place)


class PredictResponse(msgspec.Struct):
    """What the server responds, in the order of the request's rows."""

    version: str
    scores: list[float]
    decisions: list[str]


def request_type(schema: Schema) -> Any:
    """The type of `{"rows": [{column: value}]}`: every column is required, those that may be missing take null."""
    fields = []
    for number, (name, word) in enumerate(schema.columns.items()):
        kind = TYPES[word]
        fields.append((f"c{number}", kind | None if name in schema.nullable else kind))
    names = {f"c{number}": name for number, name in enumerate(schema.columns)}
    row = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True)
    rows = Annotated[list[row], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]  # type: ignore[valid-type]
    return msgspec.defstruct("Request", [("rows", rows)], forbid_unknown_fields=True)


def columns(rows: Sequence[Any], schema: Schema) -> dict[str, list[Any]]:
    """Parsed rows as columns; timestamps in UTC without a zone, as batches have them.

    Raises:
        RowRefused: A timestamp has no place in UTC.
    """
    found = {name: [getattr(row, f"c{number}") for row in rows] for number, name in enumerate(schema.columns)}
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
