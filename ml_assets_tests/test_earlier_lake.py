"""A project of release 0.1.x is read, and goes on as it would have then; fixtures/lake_0_1 says how it was made.

The fixture stays as it is. A column or a key that has another name since is entered in `RENAMED`.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner, Result

from ml_assets import open_lake
from ml_assets.cli import main
from ml_assets_tests.conftest import Project, failure_text

Row = dict[str, Any]

FIXTURE = Path(__file__).parent / "fixtures" / "lake_0_1"
ARCHIVE = FIXTURE / "project.tar.xz"
# Then -> now: columns of tables and keys of what commands print as JSON.
RENAMED = {"asked_by": "triggered_by", "promised": "test_score", "page": "html"}
COMMANDS = {"retrains": "retraining"}  # then -> now
SCORED, LATER = "2021-07", "2021-08"
DRIFTED = ("model_version", "drifted", "share", "weighted_share", "rows")
PERFORMED = ("model_version", "role", "metric", "value", "low", "high", "rows", "promised", "judged", "decayed")
REPORTED = ("scope", "metric", "slice_by", "slice", "value", "low", "high", "rows")
TRAINED = ("version", "candidate", "params", "train_batches", "validation_score", "threshold")


class Crates(Project):
    """The fixture's pipeline, with the YAML and SQL of its time."""

    def __post_init__(self) -> None:
        self.spec_dict = yaml.safe_load((FIXTURE / "crates.yaml").read_text())["attributes"]
        self.sql = {file.name: file.read_text() for file in FIXTURE.glob("*.sql")}


@pytest.fixture(scope="module")
def facts() -> Row:
    """What the code of then read from its lake, and what it did next."""
    return json.loads((FIXTURE / "facts.json").read_text())


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it was left. For reading only."""
    return unpack(tmp_path_factory.mktemp("orchard"))


@pytest.fixture
def crates(tmp_path: Path) -> Iterator[Crates]:
    """The project, to go on with."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Crates(unpack(tmp_path), instance)


def unpack(root: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    (root / "pyproject.toml").write_text(
        '[tool.dagster]\nmodule_name = "orchard.definitions"\n'
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "orchard"\n'
    )
    return root


def test_every_row_is_read(unpacked: Path) -> None:
    expected = json.loads((unpacked / "rows.json").read_text())
    assert len(expected) == 28
    found = all_rows(unpacked, expected)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert found[name] == rows, name


def test_the_commands_show_what_they_showed(unpacked: Path, facts: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(unpacked)
    for command, expected in facts["commands"].items():
        words = [COMMANDS.get(word, word) for word in command.split()]
        assert kept(printed(*words), expected) == expected, command
    assert "spoils_after_picking" in ok("quarantine", "show", "crates")
    assert re.search(r"candidate\W+linear", ok("models", "show", "crates", "1.0.2"))
    summary = run("summary", "crates")
    assert "version 1.0.0 (" in summary.output
    assert summary.exit_code == 1  # 1.0.3 waits for approval


def test_its_yaml_is_loaded_and_its_state_is_judged(crates: Crates, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = crates.root / "orchard/defs/crates"
    folder.mkdir(parents=True)
    shutil.copy(FIXTURE / "crates.yaml", folder / "defs.yaml")
    for file in FIXTURE.glob("*.sql"):
        shutil.copy(file, folder)
    (folder.parent / "__init__.py").touch()
    (folder.parents[1] / "definitions.py").write_text(
        "from pathlib import Path\nimport ml_assets\n"
        "defs = ml_assets.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    monkeypatch.syspath_prepend(crates.root)
    monkeypatch.chdir(crates.root)
    shown = run("status", "crates", "--json")
    judged = json.loads(shown.stdout)
    states = {(one["asset"], one["batch"]): one["state"] for one in judged}
    assert ("crates/features", SCORED) in states
    assert "missing" not in {states[("crates/features", batch)] for batch in ("2021-01", SCORED)}
    assert states[("crates/champion", None)] != "missing"


def test_it_goes_on_as_it_would_have(crates: Crates, facts: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(crates.root)
    expected = facts["later"]
    rows = json.loads((crates.root / "rows.json").read_text())["crates.predictions"]
    scored = sorted((row for row in rows if row["batch"] == SCORED), key=lambda row: row["row_id"])
    found = go_on(crates)
    assert found.pop("scored again") == [row["score"] for row in scored if row["role"] == "champion"]
    for what, then in expected.items():
        assert found[what] == then, what
    assert found["trained"]["version"] == "1.1.0"

    assert ok("approve", "crates", "1.0.3", "--why", "the season ends").startswith("crates 1.0.3 is the champion")
    before = printed("models", "champion", "crates")["version"]
    assert before == "1.0.3"
    ok("models", "rollback", "crates", "--why", "not yet")
    assert printed("models", "champion", "crates")["version"] == facts["later"]["champion"]
    states = {one["version"]: one["decision"] for one in printed("models", "list", "crates")}
    assert states.keys() == {"1.0.0", "1.0.1", "1.0.2", "1.0.3", "1.1.0"}
    assert printed("trials", "crates")
    assert {one["asset"] for one in printed("lake", "snapshots", "crates", "--limit", "200")} > {
        "crates/features",
        "crates/champion",
    }


def go_on(project: Crates) -> Row:
    """Take a new batch, score an old one again, train; what came of it, without texts and moments."""
    shutil.copy(project.paths.data / "later" / f"crates_{LATER}.csv", project.source)
    linear = project.spec_dict["candidates"]["linear"]
    project.spec_dict["candidates"] = {"linear": linear}
    for result in (
        project.ingest(LATER),
        project.materialize("predictions", batches=[SCORED, LATER]),
        project.materialize("drift_report", "performance_report", batches=[LATER]),
        project.train(),
    ):
        assert result.success, failure_text(result)
    (model,) = project.rows("SELECT * FROM {p}.trained_model ORDER BY created_at DESC LIMIT 1")
    (decision,) = project.rows("SELECT * FROM {p}.champion ORDER BY decided_at DESC LIMIT 1")
    report = project.rows("SELECT * FROM {p}.evaluation_report WHERE version = ?", [model["version"]])
    (alias,) = project.rows("SELECT * FROM {p}.alias_events WHERE alias = 'champion' ORDER BY moved_at DESC LIMIT 1")
    return {
        "data_versions": _data_versions(project),
        "scored again": _scores(project, SCORED)["1.0.0"],
        "scores": _scores(project, LATER),
        "drift": picked(_of(project, "drift_report", LATER), DRIFTED),
        "performance": picked(_of(project, "performance_report", LATER), PERFORMED),
        "trained": picked([model], TRAINED)[0],
        "evaluation": picked(report, REPORTED),
        "gates": picked(json.loads(decision["gates"]), ("gate", "passed", "found")),
        "decision": decision["decision"],
        "champion": alias["version"],
    }


def _scores(project: Crates, batch: str) -> dict[str, list[float]]:
    """Version -> its scores in the order of the rows."""
    found: dict[str, list[float]] = {}
    for row in sorted(_of(project, "predictions", batch), key=lambda row: row["row_id"]):
        found.setdefault(row["model_version"], []).append(plain(row["score"]))
    return found


def _of(project: Crates, noun: str, batch: str) -> list[Row]:
    return project.rows(f"SELECT * FROM {{p}}.{noun} WHERE batch = ?", [batch])


def _data_versions(project: Crates) -> Row:
    """Hashes of the later batch's rows; that of raw_data is one of bytes and code."""
    rows = project.rows("SELECT commit_extra_info AS extra FROM lake.snapshots() WHERE commit_extra_info IS NOT NULL")
    found: Row = {}
    for row in rows:
        extra = json.loads(row["extra"])
        if extra.get("batch") == LATER:
            found |= extra["data_versions"]
    wanted = ("validated_data", "quarantine", "lookup_grower_history", "features")
    return {name: found[f"crates.{name}"] for name in wanted}


def all_rows(root: Path, expected: Mapping[str, list[Row]] | None = None) -> dict[str, list[Row]]:
    """Every row of every table, or of the expected tables with the columns that are expected."""
    found = {}
    with open_lake(root) as lake:
        for name in expected or lake.tables():
            relation = lake.table(name)
            rows = [dict(zip(relation.columns, values, strict=True)) for values in relation.fetchall()]
            found[name] = picked(rows, expected[name][0] if expected else relation.columns)
    return found


def picked(rows: Iterable[Row], columns: Iterable[str]) -> list[Row]:
    """Rows with these columns only, by their names of then, as JSON would give them back; sorted."""
    columns = list(columns)
    chosen = [{name: row[name if name in row else RENAMED[name]] for name in columns} for row in rows]
    return sorted(plain(chosen), key=lambda row: json.dumps(row, default=str))


def plain(value: Any) -> Any:
    """As JSON; numbers to twelve digits, because the last ones belong to the machine."""

    def rounded(one: Any) -> Any:
        if isinstance(one, float):
            return float(f"{one:.12g}") if one == one else None
        if isinstance(one, dict):
            return {name: rounded(inner) for name, inner in one.items()}
        return [rounded(inner) for inner in one] if isinstance(one, list) else one

    return rounded(json.loads(json.dumps(value, default=str)))


def kept(found: Any, expected: Any) -> Any:
    """What was printed, by the keys of then: later ones may be there beside them."""
    if isinstance(expected, dict) and isinstance(found, dict):
        names = {name: name if name in found else RENAMED.get(name, name) for name in expected}
        return {name: kept(found[now], expected[name]) for name, now in names.items() if now in found}
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        return [kept(one, other) for one, other in zip(found, expected, strict=True)]
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def ok(*arguments: str) -> str:
    shown = run(*arguments)
    assert shown.exit_code == 0, shown.output
    return re.sub(r"\s+", " ", shown.output)


def printed(*arguments: str) -> Any:
    shown = run(*arguments, "--json")
    assert shown.exit_code == 0, shown.output
    # Moments have been in ISO 8601 since.
    return plain(json.loads(re.sub(r'"(\d{4}-\d\d-\d\d)T(\d\d:)', r'"\1 \2', shown.stdout)))
