"""Constraints of columns (min, max, allowed, regex), checked on the values of requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ml_assets.server.requests import Warned

Check = tuple[str, str, Callable[[Any], bool]]  # field, rule, does a value keep it?
REMEMBERED = 4096  # texts of a column whose match is known


class Constraints:
    """The constraints that a release's columns declare.

    Args:
        declared: Column -> min, max, allowed and regex, as far as it has them.
    """

    def __init__(self, declared: Mapping[str, Mapping[str, Any]]) -> None:
        self._checks: list[Check] = []
        for field, rules in declared.items():
            for rule, value in rules.items():
                self._checks.append((field, _named(rule, value), _check(rule, value)))

    def broken(self, columns: Mapping[str, Sequence[Any]]) -> list[Warned]:
        """Every value that breaks a constraint; a missing one breaks none."""
        return [
            Warned(row, field, rule)
            for field, rule, keeps in self._checks
            for row, value in enumerate(columns.get(field, ()))
            if value is not None and not keeps(value)
        ]


def _named(rule: str, value: Any) -> str:
    if rule == "allowed":
        return f"allowed: {', '.join(map(str, value))}"
    return f"{rule}: {value:g}" if isinstance(value, int | float) else f"{rule}: {value}"


def _check(rule: str, value: Any) -> Callable[[Any], bool]:
    if rule == "min":
        return lambda found: bool(found >= value)
    if rule == "max":
        return lambda found: bool(found <= value)
    if rule == "allowed":
        return frozenset(value).__contains__
    return _matching(value)


def _matching(pattern: str) -> Callable[[Any], bool]:
    """Does a whole text match? By RE2, as in batches: no pattern takes it more than linear time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = rf"\A(?:{pattern})\z"

    @lru_cache(REMEMBERED)
    def matches(text: str) -> bool:
        return bool(pc.match_substring_regex(pa.scalar(text), whole).as_py())

    return matches
