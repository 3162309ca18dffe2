"""`ml-assets trials`: what a person sees of a search."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml_assets.cli import main
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.trials import TRIALS


def row(pin: str, candidate: str, trial: int, score: float | None, day: int, **more: object) -> dict[str, object]:
    known = {"pin_id": pin, "candidate": candidate, "trial": trial, "score": score, "metric": "rmse", "seconds": 0.5}
    scores = [] if score is None else [score, score + 0.25]
    return {
        **known,
        "params": {"C": trial / 3},
        "fold_scores": scores,
        "state": "complete",
        "finished_at": datetime(2026, 1, day),
        **more,
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline `t` with an old training set `aa`, and a new one `bb` on which `tree` was searched twice."""
    (tmp_path / "pyproject.toml").touch()
    made = [
        row("aa", "tree", 0, 9.0, 1),
        row("bb", "tree", 0, 8.0, 2),
        row("bb", "tree", 0, 3.0, 3),
        row("bb", "tree", 1, None, 3, state="failed", error="ValueError: no"),
        row("bb", "linear", 0, 2.0, 2, state="pruned", fold_scores=[2.0, float("nan")]),
    ]
    with Lake(tmp_path / "data/lake") as lake:
        lake.append([ARRIVALS.rows("t", [])], Commit("t/arrivals"))
        lake.append([TRIALS.rows("t", made)], Commit("t/candidate_tree", "run", "v"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["trials", *arguments])


def listed(*arguments: str) -> list[tuple[str, int, float | None]]:
    shown = run(*arguments, "--json")
    assert shown.exit_code == 0, shown.output
    return [(one["candidate"], one["trial"], one["score"]) for one in json.loads(shown.output)]


@pytest.mark.usefixtures("project")
def test_the_newest_search_of_the_newest_training_set_best_first() -> None:
    assert listed() == [("tree", 0, 3.0), ("linear", 0, 2.0), ("tree", 1, None)]  # linear has one fold of two
    assert listed("t", "--limit", "1") == [("tree", 0, 3.0)]
    assert listed("t", "--sort", "score") == [("linear", 0, 2.0), ("tree", 0, 3.0), ("tree", 1, None)]
    assert listed("t", "--sort", "-score") == [("tree", 0, 3.0), ("linear", 0, 2.0), ("tree", 1, None)]
    assert listed("t", "--candidate", "tree", "--sort", "trial") == [("tree", 0, 3.0), ("tree", 1, None)]
    assert listed("t", "--pin", "aa") == [("tree", 0, 9.0)]


@pytest.mark.usefixtures("project")
def test_json_has_stable_keys() -> None:
    (best, *_) = json.loads(run("--json").output)
    assert set(best) == {*(column.name for column in TRIALS.columns), "spread"}
    assert (best["finished_at"], best["params"], best["fold_scores"]) == ("2026-01-03T00:00:00", {"C": 0}, [3.0, 3.25])
    assert json.loads(run("--json", "--candidate", "linear").output)[0]["fold_scores"] == [2.0, None]  # no NaN


@pytest.mark.usefixtures("project")
def test_the_table_tells_what_happened() -> None:
    shown = run("t", "--limit", "2", "--sort", "score").output
    for text in ("rmse", "pruned", "0.2500", "C=0", "training set bb", "1 more trials"):
        assert text in shown
    assert "ror: no" in run("t").output  # wrapped: a terminal of 80 columns


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("tt",), "did you mean 't'?"),
        (("t", "--candidate", "tre"), "did you mean 'tree'?"),
        (("t", "--pin", "cc"), "valid: aa, bb"),
        (("t", "--sort", "scor"), "did you mean 'score'?"),
    ],
)
def test_a_wrong_name_is_told_the_nearest(arguments: tuple[str, ...], text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert text in result.output


def test_a_table_of_the_users_own_is_no_pipeline(project: Path) -> None:
    with Lake(project / "data/lake") as lake:
        lake.append([Rows("reports.mean_score", {"batch": "VARCHAR"}, [])], Commit("reports/mean_score"))
    assert listed() == [("tree", 0, 3.0), ("linear", 0, 2.0), ("tree", 1, None)]
    wrong = run("report").output
    assert "There is no pipeline 'report'." in wrong
    assert "reports" not in wrong
