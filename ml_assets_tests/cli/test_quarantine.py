"""`ml-assets quarantine show`: rules, rows, JSON. `retry` is tried in test_commands.py, where runs are real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables.arrivals import ARRIVALS

HELD = """
    SELECT '1' AS batch, 7 AS row_id, 'a.csv' AS source_file, -1.0 AS distance, 2.0 AS other,
        ['distance.min: -1', 'odd: true'] AS reasons
    UNION ALL SELECT '1', 8, 'a.csv', -1.0, 2.0, ['odd: true']
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline `t` with two quarantined rows, and `u` without a table for them."""
    (tmp_path / "pyproject.toml").touch()
    with Lake(tmp_path / "data/lake") as lake:
        for pipeline in ("t", "u"):
            lake.append([ARRIVALS.rows(pipeline, [])], Commit(f"{pipeline}/arrivals"))
        lake.con.execute(f"CREATE TEMP TABLE made AS {HELD}")
        lake.replace([Put("t.quarantine", "made", "1")], Commit("t/quarantine", batch="1"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    shown = CliRunner().invoke(main, ["quarantine", "show", *arguments])
    return shown.exit_code, shown.output


@pytest.mark.usefixtures("project")
def test_rules_and_rows() -> None:
    found = json.loads(run("t", "--json")[1])
    assert found["rules"] == [
        {"rule": "odd", "rows": 2, "batches": 1, "first": "1", "last": "1"},
        {"rule": "distance.min", "rows": 1, "batches": 1, "first": "1", "last": "1"},
    ]
    assert [list(row) for row in found["rows"]] == [["batch", "row_id", "source_file", "distance", "reasons"]] * 2
    assert [row["row_id"] for row in json.loads(run("t", "--json", "--limit", "1")[1])["rows"]] == [7]
    assert [row["row_id"] for row in json.loads(run("t", "--json", "--rule", "distance.min")[1])["rows"]] == [7]


@pytest.mark.usefixtures("project")
def test_nothing_is_held() -> None:
    assert run("u") == (0, "The quarantine of u is empty.\n")
    assert json.loads(run("u", "--json")[1]) == {"rules": [], "rows": []}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("tt",), "There is no pipeline 'tt'."),
        (("t", "--batch", "2"), "No row of batch '2' is in quarantine"),
        (("t", "--rule", "od"), "did you mean 'odd'?"),
    ],
)
def test_a_users_mistake_ends_in_text(arguments: tuple[str, ...], text: str) -> None:
    code, said = run(*arguments)
    assert (code, text in said) == (1, True)
