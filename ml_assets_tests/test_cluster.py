"""A project whose catalog is on PostgreSQL and whose files are on S3 computes what an embedded one does."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets.errors import LakeBusy, LakeError
from ml_assets.graph.staleness.facts import read_facts
from ml_assets.graph.staleness.nodes import pipelines_of
from ml_assets.graph.staleness.states import evaluate
from ml_assets.lake.lake import Lake
from ml_assets.lake.move import move
from ml_assets.lake.paths import Paths
from ml_assets.lake.postgres import PostgresCatalog
from ml_assets_tests import postgres, s3
from ml_assets_tests.conftest import Project, files_of, train
from ml_assets_tests.lake.history_helpers import rows, write
from ml_assets_tests.lake.kept import quiet

# What both must have; lists come from models that compute in the same order.
EQUAL = {
    "validated_data": "SELECT batch, row_id, income, region, late_days FROM {p}.validated_data ORDER BY ALL",
    "features": "SELECT * FROM {p}.features ORDER BY ALL",
    "predictions": "SELECT batch, row_id, score, decision, model_version FROM {p}.predictions ORDER BY ALL",
    "champion": "SELECT version, decision, gates FROM {p}.champion",
    "drift_report": "SELECT batch, drifted, share FROM {p}.drift_report",
    "performance_report": "SELECT batch, metric, value FROM {p}.performance_report ORDER BY ALL",
}


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Server]:
    with postgres.server() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(database: postgres.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a project on both servers."""
    with s3.running(tmp_path_factory.mktemp("s3"), "models") as objects:
        yield {
            "ML_ASSETS_CATALOG": database.database(),
            "ML_ASSETS_LAKE_DATA": "s3://models/credit",
            **objects.environment(),
        }


def test_rows_scores_and_decisions_are_those_of_an_embedded_lake(
    trained: Project, cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = {table: trained.rows(sql) for table, sql in EQUAL.items()}
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    train(tmp_path)
    made = Project(tmp_path / "project", trained.instance)
    catalog = made.paths.catalog
    assert isinstance(catalog, PostgresCatalog)
    assert catalog.data.url == "s3://models/credit/lake/data"
    for table, sql in EQUAL.items():
        assert made.rows(sql) == embedded[table], table
        assert embedded[table], table
    local = [file.relative_to(made.paths.data) for file in made.paths.data.rglob("*.parquet")]
    assert {file.parts[0] for file in local} == {"incoming", "cache"}  # what arrived, and copies of releases
    assert not made.paths.lake.exists() or not list(made.paths.lake.rglob("*.sqlite"))
    with Lake.of(made.paths, read_only=True) as lake:
        assert lake.damaged_files("loans") == []
        lost = next(file for file in catalog.data.files("loans/features") if "batch=2" in file.name)
        catalog.data.remove(lost.name)
        (found,) = lake.damaged_files("loans")
        assert (found.batch, found.what, found.path) == ("2", "is lost", f"s3://models/credit/lake/data/{lost.name}")
    assert [store for store in ("bundles", "releases") if not any_names(made, store)] == []


def any_names(project: Project, store: str) -> Any:
    return getattr(project.paths.artifacts, store).names("loans")


# Kills itself: after the third file of a move, or when half of the catalog's tables are written.
KILLED = """
import os, signal, sys
from pathlib import Path
from ml_assets.lake import catalog_copy, ledger
from ml_assets.lake.move import move
from ml_assets.lake.paths import Paths
moment, root, address, data = sys.argv[1:]
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
ledger.SAVE_S = 0
if moment == "files":
    tell = lambda far: kill() if far.files == 3 else None
else:
    tell = lambda far: None
    identifier, seen = catalog_copy.identifier, []
    def counting(name):
        seen.append(name)
        return kill() if name == "ducklake_snapshot" else identifier(name)
    catalog_copy.identifier = counting
paths = Paths(Path(root), Path(root) / "data")
move(paths.place_at(None, None), paths.place_at(address, data), tell, 5)
"""


def written(opened: Lake) -> dict[int, dict[str, object]]:
    """Snapshot -> what it says of its writer; of the newest and every tenth also the content that it gave to tables."""
    with opened as lake:
        found: dict[int, dict[str, object]] = {}
        for one in lake.rows("FROM lake.snapshots() ORDER BY snapshot_id DESC"):
            number, said = one["snapshot_id"], json.loads(one["commit_extra_info"] or "{}")
            for name in said.get("rows", {}) if len(found) % 10 == 0 else ():
                content = f"(FROM lake.{name} AT (VERSION => {number})) r"
                one[name] = lake.fetch(f"SELECT count(*), sum(hash(r)::HUGEINT)::VARCHAR FROM {content}")
            found[number] = one
        return found


def verdicts(project: Project) -> dict[tuple[str, str | None], str]:
    """Asset and batch -> fresh, stale, ...; the online lookups follow each batch, and are not made here."""
    with Lake.of(project.paths, read_only=True) as lake:
        found = evaluate(pipelines_of(project.defs())["loans"], read_facts(lake, "loans"))
    return {(one.asset_name, one.batch): one.state for one in found if one.asset_name != "online_lookups"}


def test_a_lake_moves_there_survives_kills_goes_on_and_moves_back(
    trained: Project,
    copied: Project,
    database: postgres.Server,
    cluster: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, cluster[name])
    address, place = database.database(), "s3://models/moved"
    paths = copied.paths
    shutil.copytree(trained.paths.reports, paths.reports)
    embedded, before, untouched = written(Lake.of(paths, read_only=True)), verdicts(copied), files_of(paths.data)
    for moment in ("files", "catalog"):
        command = [sys.executable, "-c", KILLED, moment, str(copied.root), address, place]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    target = paths.place_at(address, place)
    done = move(paths.place, target, quiet, 5)
    assert done.copied.files == 0  # what was copied before the kills is not copied again
    assert done.copied.unchanged > 20
    assert {file for file in files_of(paths.data) - untouched if "lock" not in file[0]} == set()
    monkeypatch.setenv("ML_ASSETS_CATALOG", address)
    monkeypatch.setenv("ML_ASSETS_LAKE_DATA", place)
    assert paths.place == target
    assert written(Lake.of(paths, read_only=True)) == embedded
    assert verdicts(copied) == before
    copied.write(6)
    assert copied.ingest("6", until="features").success
    after = verdicts(copied)
    assert {one: after[one] for one in before} == before
    assert after["features", "6"] == "fresh"
    with pytest.raises(LakeError, match="writes that this lake does not have"):
        move(paths.place_at(None, None), target, quiet, 5)
    another = paths.place_at(database.database(), "s3://models/another")
    with Lake(tmp_path / "another", catalog=another.catalog) as lake:
        write(lake, "features", "a", rows({1: 1}))
    with pytest.raises(LakeError, match="another lake"):
        move(target, another, quiet, 5)
    monkeypatch.setattr("ml_assets.lake.move.WAIT_S", 0)
    with target.catalog.write_lock(["loans.features"], 5), pytest.raises(LakeBusy):
        move(target, paths.place_at(None, None), quiet, 5)
    monkeypatch.chdir(copied.root)
    for command in (["check"], ["backup", "s3://models/backup"]):
        shown = CliRunner().invoke(main, ["lake", *command])
        assert shown.exit_code == 0, shown.output
    now = written(Lake.of(paths, read_only=True))
    back = Paths(tmp_path / "back", tmp_path / "back/data")
    move(target, back.place_at(None, None), quiet, 5)
    assert written(Lake(back.lake, read_only=True)) == now
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", address.rpartition("/")[2])
    lost = next(target.catalog.data.files("loans/features"))
    target.catalog.data.remove(lost.name)
    assert "recover --from BACKUP" in CliRunner().invoke(main, ["lake", "check"]).output
    shown = CliRunner().invoke(main, ["lake", "recover", "--from", "s3://models/backup"])
    assert shown.exit_code == 0, shown.output
    assert "Copied 1 files" in shown.output
    assert written(Lake.of(paths, read_only=True)) == now
