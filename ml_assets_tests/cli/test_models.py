"""`ml-assets models ...`, approve, reject and summary: what a person sees and answers."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ml_assets.cli import main
from ml_assets.cli.group import console
from ml_assets.graph.release.promotion import decide
from ml_assets.lake.lake import Lake, Rows
from ml_assets.lake.paths import Paths
from ml_assets.tables import versions
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.releases import RELEASES
from ml_assets_tests.graph.release.hand_made import BY, add_version, spec


@pytest.fixture(scope="module")
def three_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the champion 1.0.0, 1.0.1 that waits for approval, and 1.0.2 that was refused; to be copied."""
    root = tmp_path_factory.mktemp("versions")
    (root / "pyproject.toml").touch()
    paths = Paths(root, root / "data")
    with Lake(paths.lake) as lake:
        lake.append([ARRIVALS.rows("loans", [])], BY)
        for version, roc_auc, approval in (("1.0.0", 0.8, "auto"), ("1.0.1", 0.82, "manual"), ("1.0.2", 0.55, "auto")):
            gain = None if version == "1.0.0" else roc_auc - 0.8
            add_version(lake, paths, version, roc_auc, gain, params={"max_depth": int(version[-1])})
            decide.decide(lake, spec(approval=approval), versions.need_version(lake, "loans", version), BY)
    return root


@pytest.fixture
def project(three_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A copy of the project with three versions."""
    shutil.copytree(three_versions, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 160)
    return Paths(tmp_path, tmp_path / "data")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def ok(*arguments: str) -> str:
    shown = run(*arguments)
    assert shown.exit_code == 0, shown.output
    return shown.output


def parsed(*arguments: str) -> Any:
    return json.loads(ok(*arguments, "--json"))


def refused(*arguments: str) -> str:
    shown = run(*arguments)
    assert shown.exit_code != 0
    assert "Traceback" not in shown.output
    return shown.output


def champion() -> str:
    return ok("models", "champion", "loans").strip()


def test_list(project: Paths) -> None:
    newest, waiting, first = parsed("models", "list", "loans")
    assert list(first) == [
        *("version", "created_at", "candidate", "validation_score", "metric", "test_score", "low", "high"),
        *("decision", "aliases", "triggered_by"),
    ]
    assert parsed("models", "list", "loans", "--limit", "1") == [newest]
    assert (newest["version"], newest["decision"], newest["aliases"]) == ("1.0.2", "refused", ["challenger"])
    assert (waiting["version"], waiting["decision"], waiting["aliases"]) == ("1.0.1", "pending", [])
    assert (first["version"], first["decision"], first["aliases"]) == ("1.0.0", "promoted", ["champion"])
    scores = [first[name] for name in ("metric", "validation_score", "test_score", "low", "high")]
    assert scores == ["roc_auc", 0.75, 0.8, 0.75, 0.8 + 0.05]
    assert (first["candidate"], first["triggered_by"]) == ("tree", "sensor loans_retrain")
    text = ok("models", "list", "loans")
    for words in ("0.55 [0.5, 0.6]", "refused, now challenger", "promoted, now champion"):
        assert words in text


def test_show(project: Paths) -> None:
    release = {"version": "1.0.0", "created_at": versions.now(), "folder": "loans/1.0.0-a", "started": False}
    with Lake(project.lake) as lake:
        lake.append([Rows("loans.release_candidate", RELEASES.types, [{**release, "engine": "onnx"}])], BY)
    found = parsed("models", "show", "loans", "1.0.0")
    assert set(found) == {
        *(column.name for column in versions.VERSIONS.columns),
        *("training_set", "schema", "files", "scores", "decisions", "aliases", "alias_events", "release"),
        "read_training_set",
    }
    assert (found["snapshot_id"], found["git_commit"], found["code_version"]) == (1, "abc123", "c0de")
    assert found["training_set"]["batches"] == {"train": ["1", "2"], "validation": ["3"], "test": ["4"]}
    assert [gate["gate"] for gate in found["decisions"][0]["gates"]] == ["metrics.roc_auc", "champion"]
    assert [event["alias"] for event in found["alias_events"]] == ["champion"]
    assert found["bundle"] == str(project.bundles / "loans/1.0.0")
    assert found["release"]["folder"] == str(project.releases / "loans/1.0.0-a")
    assert found["read_training_set"] == 'open_lake().table("loans.features", snapshot="1.0.0")'
    text = ok("models", "show", "loans", "1.0.0")
    for word in ("200 of 1, 2", "sensor loans_retrain", "max_depth 0", "income (number)", "no champion to compare"):
        assert word in text
    assert parsed("models", "show", "loans", "1.0.2")["release"] is None


def test_diff_shows_only_what_differs(project: Paths) -> None:
    assert list(_diff("1.0.0", "1.0.2")[0]) == ["section", "what", "first", "second"]
    rows = {f"{row['section']} {row['what']}": (row["first"], row["second"]) for row in _diff("1.0.0", "1.0.2")}
    assert rows.pop("parameters max_depth") == (0, 2)
    assert rows.pop("scores test roc_auc") == (0.8, 0.55)
    assert rows.pop("gates metrics.roc_auc") == ({"passed": True, "found": 0.8}, {"passed": False, "found": 0.55})
    assert set(rows) == {"scores gain_over_champion roc_auc", "gates champion", "code features.sql"}
    assert "Nothing differs" in ok("models", "diff", "loans", "1.0.0", "1.0.0")
    assert "max_depth" in ok("models", "diff", "loans", "1.0.0", "1.0.2")


def _diff(first: str, second: str) -> Any:
    return parsed("models", "diff", "loans", first, second)


def test_promote_and_rollback(project: Paths) -> None:
    assert champion() == "1.0.0"
    between = dt.datetime.now(dt.UTC).isoformat()
    said = ok("models", "promote", "loans", "1.0.2", "--why", "the gate was too strict")
    assert said == "loans 1.0.2 is the champion; before: 1.0.0\n"
    assert champion() == "1.0.2"
    model = parsed("models", "champion", "loans", "--as-of", between)
    assert (model["version"], set(model)) == ("1.0.0", set(versions.ModelVersion.__dataclass_fields__))
    said = ok("models", "rollback", "loans", "--why", "it was not")
    assert said == "loans 1.0.0 is the champion again; taken back: 1.0.2\n"
    assert champion() == "1.0.0"
    assert "No champion before 1.0.0" in refused("models", "rollback", "loans", "--why", "x")
    ok("models", "rollback", "loans", "--to", "1.0.1", "--why", "x")
    assert champion() == "1.0.1"
    made = parsed("models", "show", "loans", "1.0.2")["decisions"]
    assert [one["decision"] for one in made] == ["refused", "promoted"]
    assert (made[1]["why"], made[1]["decided_by"]) == ("the gate was too strict", versions.user())


def test_a_champion_as_of_a_time(project: Paths) -> None:
    assert "There was no champion at 2013-11-01 11:00:00 UTC." in refused(
        "models", "champion", "loans", "--as-of", "2013-11-01T12:00+01:00"
    )
    assert "takes a time in ISO format" in refused("models", "champion", "loans", "--as-of", "yesterday")


def test_the_summary_shows_what_waits_and_what_was_refused(project: Paths) -> None:
    shown = run("summary", "loans")
    assert shown.exit_code == 1  # a person is waited for
    assert re.search(r"newest version +1\.0\.2 refused: metrics\.roc_auc: roc_auc >= 0\.6, found 0\.55;", shown.output)
    (listed,) = json.loads(run("summary", "loans", "--json").output)
    assert set(listed) == {
        *("pipeline", "rows", "batches", "seen", "quarantine", "candidates", "champion", "test", "live", "newest"),
        *("drift", "problems"),
    }
    assert (listed["champion"]["version"], listed["newest"]["version"]) == ("1.0.0", "1.0.2")
    assert re.search(r"problem +version 1\.0\.1 waits since .* for `ml-assets approve loans 1\.0\.1`", shown.output)
    ok("approve", "loans", "1.0.1", "--why", "fine")
    assert "refused" in ok("summary", "loans")  # a refusal alone needs nobody


def test_the_summary_shows_the_live_score_beside_the_test_score(project: Paths) -> None:
    types = {
        name: PERFORMANCE.types[name] for name in ("batch", "model_version", "metric", "value", "test_score", "rows")
    }
    types |= {"low": "DOUBLE", "high": "DOUBLE", "judged": "BOOLEAN", "decayed": "BOOLEAN", "seen": "BOOLEAN"}
    row = {"model_version": "1.0.0", "metric": "roc_auc", "low": 0.65, "high": 0.75, "test_score": 0.8, "rows": 1200}
    rows = [
        {**row, "batch": "4", "value": 0.9, "judged": True, "decayed": False, "seen": False},
        {**row, "batch": "5", "value": 0.7, "judged": True, "decayed": True, "seen": False},
        {**row, "batch": "5", "value": 0.1, "judged": False, "seen": False},
        {**row, "batch": "6", "value": 0.2, "judged": True, "seen": True},
    ]
    with Lake(project.lake) as lake:
        lake.append([Rows("loans.performance_report", types | {"why": "VARCHAR"}, rows)], BY)
    shown = "roc_auc 0.7000 [0.6500, 0.7500] on 1,200 rows of batch 5; test score 0.8000: decayed"
    assert shown in run("summary", "loans").output


def test_approve_and_reject(project: Paths) -> None:
    assert "does not wait" in refused("reject", "loans", "1.0.0", "--why", "x")
    assert "Missing option '--why'" in refused("reject", "loans", "1.0.1")
    assert ok("reject", "loans", "1.0.1", "--why", "odd") == "loans 1.0.1 is rejected; the champion stays 1.0.0\n"
    assert "does not wait" in refused("approve", "loans", "1.0.1", "--why", "x")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("models", "list", "loan"), "did you mean 'loans'?"),
        (("models", "show", "loans", "1.0.22"), "did you mean '1.0.2'?"),
        (("models", "diff", "loans", "1.0.0", "1.0.11"), "did you mean '1.0.1'?"),
        (("models", "promote", "loans", "9", "--why", "x"), "valid: 1.0.0, 1.0.1, 1.0.2"),
        (("models", "rollback", "loan", "--why", "x"), "did you mean 'loans'?"),
        (("models", "champion", "loan"), "did you mean 'loans'?"),
        (("models", "promote", "loans", "1.0.1"), "Missing option '--why'"),
    ],
)
def test_mistakes_are_answered(project: Paths, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)


def test_without_a_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    for command in (("models", "list", "loans"), ("models", "rollback", "loans", "--why", "x")):
        assert "There is no lake yet." in refused(*command)
    assert not (tmp_path / "data").exists()
