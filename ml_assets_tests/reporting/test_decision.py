"""The state of a version in words, by every decision of its pipeline."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from ml_assets.reporting.decision import VersionState, verdict
from ml_assets.reporting.html import Cell
from ml_assets.tables.decisions import Decision, Gate, Word

PASSED = Gate("metrics.roc_auc", "roc_auc >= 0.6", 0.71234, True)
FAILED = Gate("champion", "not worse in roc_auc by more than 0", -0.02, False, "gain between -0.03 and -0.01")


def made(
    version: str, word: Word, before: str | None = None, *gates: Gate, why: str = "because", day: int = 1
) -> Decision:
    return Decision(version, word, why, list(gates), before, "ana", dt.datetime(2026, 1, day, 8, 30))


def of(version: str, *decisions: Decision, champion: str | None = None) -> VersionState:
    return verdict("loans", version, decisions, champion)


STATES: dict[str, tuple[list[Any], str, str, str]] = {
    "promoted": (
        [made("2", "promoted", "1", PASSED)],
        "good",
        "Promoted",
        "All 1 gates passed. It replaced version 1.",
    ),
    "first": ([made("2", "promoted", None, PASSED)], "good", "Promoted", "It is the first champion."),
    "refused": (
        [made("2", "refused", "1", PASSED, FAILED)],
        "bad",
        "Refused",
        "Version 2 was not promoted. 1 of 2 gates failed. The champion stays version 1.",
    ),
    "pending": ([made("2", "pending", "1", PASSED)], "wait", "Waits for approval", "A person decides."),
    "rejected": ([made("2", "rejected", "1", PASSED)], "bad", "Rejected", "The champion stays version 1."),
    "replaced": (
        [made("2", "promoted", "1", PASSED), made("3", "promoted", "2", PASSED, day=2)],
        "none",
        "Not the champion any more",
        "It was replaced by version 3 on 2026-01-02 08:30 UTC.",
    ),
    "rolled back": (
        [made("2", "promoted", "1", PASSED), made("1", "rolled_back", "2")],
        "none",
        "Not the champion any more",
        "It was rolled back to version 1",
    ),
    "again": (
        [made("1", "promoted"), made("2", "rolled_back", "1")],
        "good",
        "Champion again",
        "version 1 was rolled back",
    ),
    "kept": ([made("2", "kept", "2", FAILED)], "bad", "Kept as champion", "1 of 1 gates failed."),
}


@pytest.mark.parametrize("case", list(STATES))
def test_each_state_is_said(case: str) -> None:
    decisions, style, word, words = STATES[case]
    state = of("2", *decisions, champion="1")
    assert (state.style, state.word) == (style, word)
    assert words in state.sentence
    assert "  " not in state.sentence


def test_before_any_decision_nothing_is_claimed() -> None:
    state = of("2", made("3", "refused", "1", FAILED), champion="1")  # about another version
    assert (state.style, state.word, state.gates, state.history) == ("none", "Not decided yet", None, None)


def test_gates_have_limit_value_and_result_and_failed_ones_come_first() -> None:
    gates = of("2", made("2", "refused", "1", PASSED, FAILED)).gates
    assert gates is not None
    assert gates.names == ["result", "gate", "limit", "value", "detail"]
    assert list(gates.rows[0]) == [
        Cell("✗ failed", "bad"), "champion", FAILED.limit, "-0.02", "gain between -0.03 and -0.01",
    ]  # fmt: skip
    assert list(gates.rows[1]) == [Cell("✓ passed", "good"), "metrics.roc_auc", "roc_auc >= 0.6", "0.7123", ""]


def test_what_waits_says_what_to_do_and_the_history_is_kept() -> None:
    waiting = made("2", "pending", "1", PASSED, why="all 1 gates passed")
    assert of("2", waiting).commands == [
        'ml-assets approve loans 2 --why "…"',
        'ml-assets reject loans 2 --why "…"',
    ]
    later = of("2", waiting, made("2", "promoted", "1", PASSED, why="looked at the slices", day=2), champion="2")
    assert later.why == "looked at the slices"
    assert later.commands == []
    assert later.history is not None
    assert [row[1] for row in later.history.rows] == ["2 promoted", "2 pending"]
