"""What every part of the YAML's model shares: strictness, errors that suggest the nearest valid word, shared types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from ml_assets.errors import did_you_mean
from ml_assets.escaping import quoted
from ml_assets.metrics import METRICS

ColumnType = Literal["string", "integer", "number", "boolean", "date", "timestamp"]

# The metrics whose drop is a share of what it dropped from, for descriptions.
AS_SHARE = ", ".join(name for name, metric in METRICS.items() if metric.drops_as_share)
# Columns that every batch table carries beside the declared ones.
OWN_COLUMNS = ("batch", "row_id", "source_file", "source_sha256", "unreadable", "reasons")

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Place = tuple[int | str, ...]  # keys and numbers that lead to a value of the YAML
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """A model that forbids unknown keys and suggests the nearest valid word."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: Any) -> Any:
        if isinstance(data, dict) and True in data and "on" in cls.model_fields:
            data = {"on" if key is True else key: value for key, value in data.items()}  # YAML 1.1 reads `on` as true
        try:
            return handler(data)
        except ValidationError as error:
            found = _without_alternatives(data, error.errors(include_url=False))
            lines = [_explained(cls, line) for line in found]
            raise ValidationError.from_exception_data(cls.__name__, lines) from None


def _without_alternatives(data: Any, lines: Sequence[Any]) -> list[Any]:
    """Of a value that may be one of several things, what is wrong with it as the thing that it was meant to be.

    Pydantic gives a line for each, and puts the thing's name, which is no key of the YAML, into the place.
    """
    placed = [(line, *_place(data, line["loc"], _is_missing(line))) for line in lines]
    kept = []
    for place, group in groupby(placed, key=itemgetter(2)):
        found = [{**line, "loc": loc} for line, loc, _ in group]
        if place is not None:
            deeper = [line for line in found if len(line["loc"]) > len(place)]
            found = deeper or [line for line in found if line["type"] == "literal_error"] or [_of_all(found)]
        kept += found
    return kept


def _place(data: Any, loc: Place, is_missing: bool) -> tuple[Place, Place | None]:
    """Where something is wrong, by keys and numbers alone; and where it may be one of several things, if anywhere."""
    clean: list[int | str] = []
    several = None
    for number, part in enumerate(loc):
        is_missing_key = is_missing and number == len(loc) - 1
        if isinstance(data, dict) and (part in data or is_missing_key):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
        else:
            several = tuple(clean) if several is None else several
            continue
        clean.append(part)
    return tuple(clean), several


class _KeyMissing(ValueError):
    pass


def _is_missing(line: Any) -> bool:
    return line["type"] == "missing" or isinstance(line.get("ctx", {}).get("error"), _KeyMissing)


def _of_all(lines: Sequence[Any]) -> Any:
    """One line of those that each want another type."""
    start = "Input should be a valid "
    words = [line["msg"].removeprefix(start) for line in lines]
    return {**lines[0], "msg": f"{start}{', '.join(words[:-1])} or {words[-1]}"} if len(words) > 1 else lines[0]


def _explained(model: type[BaseModel], line: Any) -> InitErrorDetails:
    """One line of a pydantic error, with what was found and the nearest valid word in it.

    The type becomes `value_error`: Dagster rebuilds the lines to add file and line, and knows pydantic's types only.
    """
    kind, loc, found, message = line["type"], line["loc"], line["input"], line["msg"]
    if kind == "value_error":
        error = line["ctx"]["error"]
    elif kind == "extra_forbidden" and len(loc) == 1:
        error = ValueError(f"unknown key {loc[0]!r}; {did_you_mean(str(loc[0]), model.model_fields)}")
    elif kind == "literal_error":
        valid = re.findall(r"'([^']*)'", line["ctx"]["expected"])
        error = ValueError(f"{quoted(found)} is not a valid word; {did_you_mean(str(found), valid)}")
    elif kind == "missing":
        error = _KeyMissing(f"the key {loc[-1]!r} is missing")
    else:
        error = ValueError(f"{message}; found {quoted(found)}")
    return InitErrorDetails(type="value_error", loc=loc, input=found, ctx={"error": error})
