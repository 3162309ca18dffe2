"""What became of a version, in words: promoted, refused, pending and so on, by which gates, and what to do next."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ml_assets.reporting.html import Cell, ReportTable
from ml_assets.tables.decisions import Decision, Gate

MOVES_CHAMPION = ("promoted", "rolled_back")
WORDS = {"rolled_back": "rolled back to", "kept": "kept as champion"}


@dataclass(frozen=True)
class VersionState:
    """The state of a version.

    Args:
        style: good, bad, wait or none: how it is coloured.
        word: The state in a word or two.
        sentence: What it means.
        why: The reason that was recorded; empty where the sentence says it.
        commands: What a person can do now.
        newest: The decision that led to it; None before there is any.
        gates: How each gate was judged, those that failed first.
        history: Every decision about the version, where there are several.
    """

    style: str
    word: str
    sentence: str
    why: str = ""
    commands: Sequence[str] = ()
    newest: Decision | None = None
    gates: ReportTable | None = None
    history: ReportTable | None = None


def verdict(pipeline: str, version: str, made: Sequence[Decision], champion: str | None) -> VersionState:
    """The state of a version by all decisions of its pipeline, oldest first.

    Args:
        pipeline: The pipeline.
        version: The version.
        made: Every decision of the pipeline.
        champion: The champion of this moment; None where there is none.
    """
    about = [one for one in made if one.version == version or _takes_from(one, version)]
    if not about:
        return VersionState(
            "none", "Not decided yet", f"The asset {pipeline}/champion decides about version {version} next."
        )
    newest = about[-1]
    own = next((one for one in reversed(about) if one.version == version), newest)
    style, word, sentence = _state(newest, version, champion)
    return VersionState(
        style,
        word,
        sentence,
        why="" if newest.why.lower() in sentence.lower() else newest.why,
        commands=_commands(pipeline, version, newest),
        newest=newest,
        gates=gates_table(own.gates) if own.version == version and own.gates else None,
        history=_history(version, about) if len(about) > 1 else None,
    )


def _takes_from(made: Decision, version: str) -> bool:
    """Does a decision about another version end this one's time as champion?"""
    return made.decision in MOVES_CHAMPION and made.previous_champion == version != made.version


def _state(newest: Decision, version: str, champion: str | None) -> tuple[str, str, str]:
    stays = f"The champion stays version {champion}." if champion else "There is no champion yet: nothing is scored."
    if newest.version != version:
        verb = "rolled back to" if newest.decision == "rolled_back" else "replaced by"
        return (
            "none",
            "Not the champion any more",
            f"It was {verb} version {newest.version} on {when(newest.decided_at)}.",
        )
    failed = sum(not gate.passed for gate in newest.gates)
    gates = f"{failed} of {len(newest.gates)} gates failed." if failed else f"All {len(newest.gates)} gates passed."
    gates = gates if newest.gates else ""
    if newest.decision == "promoted":
        before = (
            f"It replaced version {newest.previous_champion}."
            if newest.previous_champion
            else "It is the first champion."
        )
        return "good", "Promoted", f"Version {version} is the champion. {gates} {before}".replace("  ", " ")
    if newest.decision == "kept":
        return ("bad" if failed else "good"), "Kept as champion", f"Version {version} was the champion already. {gates}"
    if newest.decision == "rolled_back":
        return (
            "good",
            "Champion again",
            f"Version {version} is the champion: version {newest.previous_champion} was rolled back.",
        )
    if newest.decision == "pending":
        return "wait", "Waits for approval", f"{gates} A person decides. {stays}".strip()
    word = "Rejected" if newest.decision == "rejected" else "Refused"
    return "bad", word, f"Version {version} was not promoted. {gates} {stays}".replace("  ", " ")


def _commands(pipeline: str, version: str, newest: Decision) -> list[str]:
    if newest.decision == "pending":
        return [f'ml-assets {verb} {pipeline} {version} --why "…"' for verb in ("approve", "reject")]
    if newest.version == version and newest.decision in ("refused", "rejected"):
        return [f'ml-assets models promote {pipeline} {version} --why "…"']
    return []


def gates_table(gates: Sequence[Gate]) -> ReportTable:
    """Each gate with its limit, what was found, and whether it passed; those that failed first."""
    ordered = sorted(gates, key=lambda gate: gate.passed)
    rows: list[list[str | Cell]] = [
        [
            Cell("✓ passed" if gate.passed else "✗ failed", "good" if gate.passed else "bad"),
            gate.gate,
            gate.limit,
            _number(gate.found),
            gate.detail,
        ]
        for gate in ordered
    ]
    return ReportTable(["result", "gate", "limit", "value", "detail"], rows, "Gates", stacks=True)


def _history(version: str, about: Sequence[Decision]) -> ReportTable:
    rows: list[list[str | Cell]] = [
        [
            when(one.decided_at),
            f"{one.version} {WORDS.get(one.decision, one.decision)}",
            one.decided_by,
            one.why,
        ]
        for one in reversed(about)
    ]
    return ReportTable(["when", "decision", "by", "why"], rows, f"Decisions about version {version}", stacks=True)


def when(moment: dt.datetime) -> str:
    """A moment of the lake for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
