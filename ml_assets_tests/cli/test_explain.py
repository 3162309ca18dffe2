"""`ml-assets explain`: a score with its features, a row in quarantine, rows that are not there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets.lake.lake import Commit, Lake
from ml_assets_tests.conftest import Project


def explained(*words: str) -> dict[str, Any]:
    shown = CliRunner().invoke(main, ["explain", "loans", *words, "--json"])
    assert shown.exit_code == 0, shown.output
    return dict(json.loads(shown.stdout))


def test_a_scored_row(trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.root)
    (stored,) = trained.rows("SELECT * FROM {p}.predictions WHERE batch = '5' AND row_id = 3")
    (features,) = trained.rows("SELECT * FROM {p}.features WHERE batch = '5' AND row_id = 3")
    found = explained("5", "3")
    assert {name: found[name] for name in ("score", "decision", "model_version", "role")} == {
        name: stored[name] for name in ("score", "decision", "model_version", "role")
    }
    assert found["score_now"] == pytest.approx(stored["score"], abs=1e-9)
    assert {one["feature"]: one["value"] for one in found["features"]} == {
        name: value for name, value in features.items() if name not in ("batch", "row_id", "label")
    }
    effects = [abs(one["effect"]) for one in found["features"]]
    assert effects == sorted(effects, reverse=True)
    assert effects[0] > 0
    shown = CliRunner().invoke(main, ["explain", "loans", "5", "3", "--limit", "1"]).output
    assert f"loans 5, row 3: score {stored['score']:.4f}, decision {stored['decision']}" in shown
    assert "the score" in shown.split("\n")[3]
    assert "have changed since" not in shown


def test_a_row_by_its_key(trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.root)
    assert explained("5", "loan=5004")["row_id"] == trained.value("SELECT row_id FROM {p}.raw_data WHERE loan = 5004")
    several = CliRunner().invoke(main, ["explain", "loans", "5", "region=A"])
    assert (several.exit_code, "Name one by its number" in several.output) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["55", "1"], "did you mean '5'?"),
        (["5", "1000000"], "found: 150 rows"),
        (["5", "9" * 5000], "found: 150 rows"),
        (["5", "٣"], "names no row"),
        (["5", "first"], "'first' names no row"),
        (["5", "laon=1"], "did you mean 'loan'?"),
        (["4", "1"], "`ml-assets score loans 4`"),
        (["5", "1", "--version", "9.0.0"], "did you mean '1.0.0'?"),
    ],
)
def test_what_cannot_be_explained(
    trained: Project, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(trained.root)
    shown = CliRunner().invoke(main, ["explain", "loans", *words])
    assert (shown.exit_code, said in shown.output) == (1, True), shown.output


def test_a_row_in_quarantine_and_features_that_have_changed(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied.root)
    commit = Commit("loans/test", "", "")
    with Lake(copied.paths.lake) as lake:
        lake.maintain(lambda: _quarantined_and_changed(lake), commit)
    assert explained("5", "1")["quarantined_for"] == ["income.min: -5"]
    shown = CliRunner().invoke(main, ["explain", "loans", "5", "1"]).output
    assert "row 1 is in quarantine" in shown
    assert "income.min: -5" in shown
    assert "Its features have changed since" in CliRunner().invoke(main, ["explain", "loans", "5", "2"]).output


def _quarantined_and_changed(lake: Lake) -> list[tuple[Any, ...]]:
    row = "batch = '5' AND row_id = 1"
    lake.con.execute(
        f"INSERT INTO lake.loans.quarantine BY NAME SELECT *, ['income.min: -5'] AS reasons "
        f"FROM lake.loans.validated_data WHERE {row}"
    )
    lake.con.execute(f"DELETE FROM lake.loans.validated_data WHERE {row}")
    lake.con.execute("UPDATE lake.loans.features SET income = 80 - income WHERE batch = '5' AND row_id = 2")
    return []
