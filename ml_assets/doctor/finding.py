"""One line of what `ml-assets doctor` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What was found in one place.

    Args:
        area: What was checked, in a word.
        level: ok; warning: works, but somebody should look; problem: something does not work.
        text: What was found, in a line.
        fix: The next step, as a command where there is one; None where it is ok.
    """

    area: str
    level: Level
    text: str
    fix: str | None = None


def ok(area: str, text: str) -> Finding:
    return Finding(area, "ok", text)


def warning(area: str, text: str, fix: str) -> Finding:
    return Finding(area, "warning", text, fix)


def problem(area: str, text: str, fix: str) -> Finding:
    return Finding(area, "problem", text, fix)
