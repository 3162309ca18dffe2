"""`ml-assets lake ...`: what a person sees and answers."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml_assets.cli import main
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables.prediction_log import PREDICTION_LOG
from ml_assets_tests.lake.history_helpers import log, model, rows, write


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose pipeline `t` has three writes and a model of the first."""
    (tmp_path / "pyproject.toml").touch()
    with Lake(tmp_path / "data/lake") as lake:
        lake.con.execute(f"CREATE TEMP TABLE made AS SELECT 'a' AS batch, * FROM ({rows({1: 1, 2: 1})})")
        lake.con.execute("CREATE TEMP TABLE seen AS SELECT 'a' AS batch, 'f' AS path, '' AS sha256, 'ready' AS status")
        puts = [Put("t.features", "made", "a", reshape=True), Put("t.arrivals", "seen", "a")]
        first = lake.replace(puts, Commit("t/features", "run", "v1", "a"))[0].snapshot_id
        log(lake, 1)
        write(lake, "features", "a", rows({1: 1, 2: 5, 3: 5}))
        model(lake, "1.0.0", first)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["lake", *arguments], input=answer)


def ok(*arguments: str, answer: str | None = None) -> str:
    shown = run(*arguments, answer=answer)
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_snapshots(project: Path) -> None:
    found = json.loads(ok("snapshots", "t", "--json"))
    assert [one["asset"] for one in found] == ["t/trained_model", "t/features", "t/candidate_x", "t/features"]
    assert found[-1]["models"] == ["t@1.0.0"]
    keys = ("snapshot_id", "written_at", "asset", "batch", "rows", "run_id", "models", "restored")
    assert {*keys} <= set(found[0])
    shown = ok("snapshots", "t", "--batch", "a", "--limit", "1")
    assert re.search(r"t/features\W+a\W+3\b", shown)
    assert not re.search(r"t/features\W+a\W+2\b", shown)


def test_diff_by_model_version(project: Path) -> None:
    newest = json.loads(ok("snapshots", "--json", "--limit", "1"))[0]["snapshot_id"]
    shown = json.loads(ok("diff", "t@1.0.0", str(newest), "--json"))
    keys = ("table", "state", "key", "columns_added", "columns_removed", "retyped", "batches")
    assert [*shown, *shown["tables"][0]] == ["from", "to", "tables", *keys]
    assert [one["table"] for one in shown["tables"]] == ["t.features", "t.trained_model", "t.trials"]
    (batch,) = shown["tables"][0]["batches"]
    assert batch == {"batch": "a", "added": 1, "removed": 0, "changed": 1, "columns": {"v": 1}}
    text = ok("diff", "1.0.0", str(newest), "t")
    assert "v 1" in text
    assert "created" in text
    assert "Nothing changed" in ok("diff", str(newest), str(newest))


def test_restore_asks_first(project: Path) -> None:
    restore = ("restore", "t.features", "--snapshot", "1.0.0", "--why", "wrong file")
    declined = run(*restore, answer="n\n")
    assert declined.exit_code == 1
    with Lake(project / "data/lake", read_only=True) as lake:
        assert lake.count("t.features") == 3
    assert "Restored from snapshot" in ok(*restore, answer="y\n")
    assert "nothing is written" in ok(*restore, "--yes")
    with Lake(project / "data/lake", read_only=True) as lake:
        assert sorted(lake.table("t.features").fetchall()) == [("a", 1, 1), ("a", 2, 1)]
    assert "wrong file" in ok("snapshots", "t", "--limit", "1", "--json")


def test_maintenance_keeps_what_the_yaml_says(project: Path) -> None:
    unknown = run("maintenance", "t")
    assert unknown.exit_code == 1
    assert "Give --keep-days." in unknown.output
    assert "would expire 0 snapshots" in ok("maintenance", "t", "--keep-days", "5", "--dry-run")
    (project / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "credit"\n')
    folder = project / "credit/defs/t"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text("attributes: {name: t, maintenance: {keep_days: 77}}")
    done = json.loads(ok("maintenance", "t", "--json"))
    assert list(done) == ["snapshots", "files_merged", "files_removed", "bytes_before", "bytes_after", "seconds"]
    assert done["snapshots"] == []
    with Lake(project / "data/lake", read_only=True) as lake:
        assert lake.rows("SELECT keep_days FROM lake.t.maintenance") == [{"keep_days": 77}]


def test_maintenance_deletes_what_servers_logged_long_ago(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "credit"\n')
    folder = project / "credit/defs/t"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text("attributes: {name: t, serving: {log: {keep_days: 30}}}")
    now = dt.datetime.now(dt.UTC)
    hours = [f"{now - dt.timedelta(days=days):%Y-%m-%dT%H}" for days in (29, 31)]
    with Lake(project / "data/lake") as lake:
        empty = dict.fromkeys(PREDICTION_LOG.types)
        lake.append([PREDICTION_LOG.rows("t", [{**empty, "hour": hour} for hour in hours])], Commit("t/prediction_log"))

    def kept() -> list[str]:
        with Lake(project / "data/lake", read_only=True) as lake:
            return [row["hour"] for row in lake.rows("SELECT hour FROM lake.t.prediction_log ORDER BY hour DESC")]

    ok("maintenance", "t", "--dry-run")
    assert kept() == hours
    ok("maintenance", "t")
    assert kept() == hours[:1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("snapshots", "tt"), "no pipeline 'tt'; "),
        (("diff", "1", "999"), "There is no snapshot 999"),
        (("diff", "1.0.0", "2"), "with its pipeline"),
        (("diff", "t@1.0.1", "2"), "did you mean '1.0.0'?"),
        (("restore", "t.trials", "--snapshot", "2", "--why", "x"), "only ever added"),
        (("maintenance", "tt"), "no pipeline 'tt'"),
    ],
)
def test_a_users_mistake_ends_in_text(project: Path, arguments: tuple[str, ...], text: str) -> None:
    shown = run(*arguments)
    assert shown.exit_code == 1
    assert text.removesuffix("; ") in shown.output
    assert "Traceback" not in shown.output


def test_without_a_lake_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("snapshots",),
        ("diff", "1", "2"),
        ("restore", "t.x", "--snapshot", "1", "--why", "x"),
        ("maintenance", "t"),
    ):
        shown = run(*arguments)
        assert (shown.exit_code, "There is no lake yet" in shown.output) == (1, True)
    assert not (tmp_path / "data").exists()


def test_recover_puts_the_published_copy_back(project: Path) -> None:
    assert "in order" in run("recover").output
    (project / "data/lake/catalog.sqlite").unlink()
    for arguments in (["snapshots"], ["maintenance", "t"], ["restore", "t.features", "--snapshot", "1", "--why", "x"]):
        shown = run(*arguments)
        assert shown.exit_code == 1
        assert "`ml-assets lake recover` puts the published copy in its place" in shown.output
    shown = ok("recover")
    assert "public.sqlite now: snapshot 4 of" in shown.replace("\n", " ")
    assert len(json.loads(ok("snapshots", "t", "--json"))) == 4


def test_restore_from_a_lost_file_names_it_and_the_next_step(project: Path) -> None:
    for file in (project / "data/lake/data/t/features").rglob("*.parquet"):
        file.unlink()
    shown = run("restore", "t.features", "--snapshot", "t@1.0.0", "--why", "x", "--yes")
    assert shown.exit_code == 1
    assert "table t.features, " in shown.output
    assert "batch a" in shown.output
    assert """--select 'key:"t/features"' --partition a""" in shown.output
