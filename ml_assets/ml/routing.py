"""Which of several versions a row's prediction is taken from: by the row's key, the same in the server and in batches.

The key's values are turned into text, hashed with the pipeline's name and placed in [0, 1). The routes divide that
interval, the champion's part first, so a key stays where it is when a share grows.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

CHAMPION = "champion"
DIGITS = 13  # of the hash, in base 16: the most that a float holds exactly, so that a share is never rounded up to 1
SEPARATOR = "\x1f"  # "unit separator" of ASCII: between the values, so that ("a", "bc") is not ("ab", "c")


def key_columns(key: Sequence[str], request: Iterable[str]) -> list[str]:
    """The columns by whose values rows are routed: those of the pipeline's key that a request has."""
    there = set(request)
    return [name for name in key if name in there]


def share_of(pipeline: str, key_values: Iterable[object]) -> float:
    """Where in [0, 1) a key is.

    Args:
        pipeline: The pipeline's name.
        key_values: Of the key columns in the order of the YAML; without a key, whatever tells the row apart.
    """
    text = SEPARATOR.join([pipeline, *map(text_of, key_values)])
    digest = hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    return int(digest[:DIGITS], 16) / float(16**DIGITS)


def choose(routes: Mapping[str, float], share: float) -> str:
    """The role that a share falls to; the champion's where the routes leave something over.

    Args:
        routes: Role -> its share, of the roles that have a version.
        share: From `share_of`.
    """
    reached = 0.0
    for role in sorted(routes, key=lambda name: (name != CHAMPION, name)):
        reached += routes[role]
        if share < reached:
            return role
    return CHAMPION


def text_of(value: object) -> str:
    """A value of a key as text: the same for a value out of JSON and for one out of a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        return dt.datetime.isoformat(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return str(value)
