"""`ml-assets experiment`: who is better, how sure that is, and what is still needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ml_assets.cli import main
from ml_assets.cli.group import console
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import versions
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.versions import VERSIONS

A, B = "1.0.0", "1.1.0"
Predicted = tuple[float, float]  # what A and B say of a row that turns out late


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["experiment", *arguments])


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_project: Callable[..., Path]) -> Callable[..., None]:
    """A project with a champion and a challenger that have predicted rows, half of which turn out late."""
    root = write_project(tmp_path / "credit")
    monkeypatch.chdir(root)
    monkeypatch.setattr(console, "width", 200)

    def made(rows: int, noise: Predicted = (0.1, 0.1), challenger: str | None = B) -> None:
        with Lake(root / "data/lake") as lake:
            commit = Commit("loans/trained_model")
            lake.append([ARRIVALS.rows("loans", [])], commit)
            records = [{"version": one, "created_at": versions.now(), "parts": []} for one in (A, B)]
            aliases = [("champion", A), ("challenger", challenger)]
            moves = [versions.alias_event("loans", name, one, "a test", "test", "") for name, one in aliases if one]
            lake.append([VERSIONS.rows("loans", records), *moves], commit)
            write_rows(lake, rows, noise)

    return made


def write_rows(lake: Lake, rows: int, noise: Predicted) -> None:
    """Both are right about every row, less sure the more noise they have."""
    rng = np.random.default_rng(0)
    is_late = rng.random(rows) < 0.5
    types = {"batch": "VARCHAR", "row_id": "BIGINT", "late_days": "DOUBLE"}
    known = [{"batch": "5", "row_id": n, "late_days": 20.0 * late} for n, late in enumerate(is_late.tolist())]
    predicted: list[dict[str, Any]] = []
    for version, sigma in zip((A, B), noise, strict=True):
        sure = np.clip(0.8 - np.abs(rng.normal(0, sigma, rows)), 0.05, 0.95)
        score = np.where(is_late, sure, 1 - sure)
        predicted += [
            {"batch": "5", "row_id": n, "model_version": version, "score": one, "decision": str(int(one > 0.5))}
            | {"seen": False, "role": "champion" if version == A else "challenger"}
            for n, one in enumerate(score.tolist())
        ]
    puts = [VALIDATED_DATA.put("loans", lake.values(types, known), "5")]
    lake.replace([*puts, PREDICTIONS.put("loans", lake.values(PREDICTIONS.types, predicted), "5")], Commit("loans/x"))


@pytest.mark.parametrize(
    ("noise", "verdict", "word"), [((0.4, 0.05), "better", "less"), ((0.05, 0.4), "worse", "more")]
)
def test_a_difference_is_said(begin: Callable[..., None], noise: Predicted, verdict: str, word: str) -> None:
    begin(2_000, noise)
    found = json.loads(run("loans", "--json").output)
    assert (found["first"], found["second"], found["loss"]) == (A, B, "log loss")
    assert (found["verdict"], found["decided_by"]) == (verdict, "batches")
    batches = found["sources"][0]
    assert batches["rows"] == [2_000, 2_000]
    assert batches["low"] < batches["gain"] < batches["high"]
    assert batches["gain"] == pytest.approx(batches["losses"][0] - batches["losses"][1])
    shown = run("loans")
    assert shown.exit_code == 0
    assert f"1.1.0 is {verdict}: it loses" in shown.output
    assert f"{word} per row" in shown.output
    assert "It is decided: stop." in shown.output


def test_what_is_not_decided_says_what_is_needed(begin: Callable[..., None]) -> None:
    begin(500, (0.1, 0.105))
    found = json.loads(run("loans", "--smallest", "0.02", "--json").output)
    assert found["verdict"] == "not yet decided"
    needed = found["sources"][0]["rows_needed"]
    assert needed["at_present_effect"] > 0
    assert needed["at_most"] > 0
    shown = run("loans", "--smallest", "0.02").output
    assert f"After {needed['at_most']:,} more rows like these it is decided in any case." in shown
    assert f"about {needed['at_present_effect']:,} more rows" in shown
    assert "Without --smallest it may go on for ever" in run("loans").output
    enough = run("loans", "--smallest", "1").output
    assert "1.1.0 makes no difference that matters" in enough


def test_the_versions_may_be_named_in_any_order(begin: Callable[..., None]) -> None:
    begin(2_000, (0.4, 0.05))
    found = json.loads(run("loans", "--versions", B, A, "--json").output)
    assert (found["first"], found["second"], found["verdict"]) == (B, A, "worse")


def test_a_source_without_rows_decides_nothing(begin: Callable[..., None]) -> None:
    begin(2_000, (0.4, 0.05))
    shown = run("loans", "--source", "routes")
    assert shown.exit_code == 0
    assert "1.1.0 is not yet decided: there are no rows with known outcomes." in shown.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "no pipeline"),
        (("loans", "--versions", A, "7.0.0"), "no model version '7.0.0'"),
        (("loans", "--versions", A, A), "needs two versions"),
        (("loans",), "There is no challenger"),
        (("loans", "--smallest", "0"), "not in the range"),
    ],
)
def test_mistakes_are_answered(begin: Callable[..., None], arguments: tuple[str, ...], said: str) -> None:
    begin(10, challenger=None)
    shown = run(*arguments)
    assert shown.exit_code != 0
    assert said in shown.output
    assert "Traceback" not in shown.output


def test_a_champion_is_no_challenger_of_itself(begin: Callable[..., None]) -> None:
    begin(10, challenger=A)
    assert "There is no challenger to compare with the champion." in run("loans").output
