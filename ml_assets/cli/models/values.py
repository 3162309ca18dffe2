"""How the commands about versions write values in a cell."""

from __future__ import annotations

import datetime as dt

from ml_assets.escaping import as_written


def shown_value(value: object) -> str:
    """Any value of a version, as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dt.datetime):
        return minute(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_parameter(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(shown_value(inner) for inner in value)
    return "" if value is None else str(value)


def _parameter(value: object) -> str:
    return shown_value(value) if isinstance(value, float | dict) else as_written(value)


def number(value: float | None) -> str:
    """Four digits, or all of those before the point; empty where there is none."""
    return "" if value is None else f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"


def scored(value: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval."""
    return number(value) + ("" if low is None or high is None else f" [{number(low)}, {number(high)}]")


def minute(value: dt.datetime | None) -> str:
    """A time to the minute, UTC."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"
