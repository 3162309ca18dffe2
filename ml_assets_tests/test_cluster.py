"""A project whose catalog is on PostgreSQL and whose files are on S3 computes what an embedded one does."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._daemon.types import DaemonHeartbeat

from benchmarks import backfill
from ml_assets import attention
from ml_assets.cli import main
from ml_assets.dagster_records import heartbeat
from ml_assets.errors import LakeBusy, LakeError
from ml_assets.graph.scoring import prediction_log
from ml_assets.graph.staleness.facts import read_facts
from ml_assets.graph.staleness.nodes import pipelines_of
from ml_assets.graph.staleness.states import evaluate
from ml_assets.graph.training.candidates import CandidateResult, compete
from ml_assets.graph.training.pinning import make_pin
from ml_assets.home import DRIVER, prepare_home
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.move import move
from ml_assets.lake.paths import Paths
from ml_assets.lake.postgres import PostgresCatalog
from ml_assets.server.shipping import ship
from ml_assets.sources.segments import segments_of
from ml_assets.tables import versions
from ml_assets_tests import postgres, s3
from ml_assets_tests.conftest import Project, files_of, train, wait_until
from ml_assets_tests.graph.training.small import spec_of, written
from ml_assets_tests.lake.catalog_contract import write
from ml_assets_tests.lake.kept import quiet
from ml_assets_tests.server.helpers import started

# What both must have; lists come from models that compute in the same order.
EQUAL = {
    "validated_data": "SELECT batch, row_id, income, region, late_days FROM {p}.validated_data ORDER BY ALL",
    "features": "SELECT * FROM {p}.features ORDER BY ALL",
    "predictions": "SELECT batch, row_id, score, decision, model_version FROM {p}.predictions ORDER BY ALL",
    "champion": "SELECT version, decision, gates FROM {p}.champion",
    "drift_report": "SELECT batch, drifted, share FROM {p}.drift_report",
    "performance_report": "SELECT batch, metric, value FROM {p}.performance_report ORDER BY ALL",
}


# A server's log on its way: what it prints was acknowledged. It ships every tenth of a second, until SIGTERM.
WRITER = """
    import signal, sys, time
    from pathlib import Path
    from ml_assets.lake.paths import Paths
    from ml_assets.server import prediction_log, shipping
    prediction_log.SYNC_S = shipping.CHECK_S = 0.1
    paths, ended = Paths.of(Path(sys.argv[1])), []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    shipper = shipping.Shipper(paths.serving, paths.shipped_log)
    log, number = prediction_log.PredictionLog(paths.serving, "same-1", segment_s=0.5), 0
    while not ended:
        name = f"{sys.argv[2]}{number}"
        outcome = {"id": name, "values": {"late_days": number}}
        log.write("loans", [{"kind": "feedback", "id": name, "at": "2026-01-02T12:00:00Z", "outcomes": [outcome]}])
        print(name, flush=True)
        time.sleep(0.02)
        number += 1
    log.close()
    shipper.close()
"""


@dataclass
class Cluster:
    """Both servers.

    Args:
        database: PostgreSQL.
        objects: S3.
    """

    database: postgres.Server
    objects: s3.Server

    def environment(self, name: str) -> dict[str, str]:
        """That of an empty project."""
        lake = {"ML_ASSETS_CATALOG": self.database.database(), "ML_ASSETS_LAKE_DATA": f"s3://ml-assets/{name}"}
        return {**lake, **self.objects.environment()}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with postgres.server() as database, s3.running(tmp_path_factory.mktemp("s3"), "ml-assets") as objects:
        yield Cluster(database, objects)


@pytest.mark.slow
def test_rows_scores_and_decisions_are_those_of_an_embedded_lake(
    trained: Project, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = {table: trained.rows(sql) for table, sql in EQUAL.items()}
    for name, value in cluster.environment("credit").items():
        monkeypatch.setenv(name, value)
    train(tmp_path)
    made = Project(tmp_path / "project", trained.instance)
    catalog = made.paths.catalog
    assert isinstance(catalog, PostgresCatalog)
    assert catalog.data.url == "s3://ml-assets/credit/lake/data"
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
        assert (found.batch, found.what, found.path) == ("2", "is lost", f"s3://ml-assets/credit/lake/data/{lost.name}")
    assert [store for store in ("bundles", "releases") if not any_names(made, store)] == []
    check_server_without_project(made, tmp_path)


def check_server_without_project(project: Project, folder: Path) -> None:
    """A server in an empty folder finds releases and lookups by the environment alone, and its log arrives."""
    (folder / "nowhere").mkdir()
    with started(folder / "serve.log", ["-m", "ml_assets.cli", "serve"], cwd=folder / "nowhere") as server:
        row = {"loan": 9001, "income": 20.5, "region": "A", "signed": "2024-01-02T03:04:05"}
        status, answer = server.ask("/v1/loans/predict", {"id": "asked", "rows": [row]})
        assert (status, answer["versions"]) == (200, ["1.0.0"])
        assert server.end() == 0
    assert "all columns are logged" in (folder / "serve.log").read_text()
    (segment,) = segments_of(project.paths, "loans").sizes()
    with Lake.of(project.paths) as lake:
        hour = prediction_log.hour_of(segment)
        prediction_log.ingest(lake, project.paths, "loans", hour, Commit("loans/prediction_log"))
    (logged,) = project.rows("SELECT request_id, model_version, score FROM {p}.prediction_log")
    assert logged == {"request_id": "asked", "model_version": "1.0.0", "score": answer["scores"][0]}


def any_names(project: Project, store: str) -> Any:
    return getattr(project.paths.artifacts, store).names("loans")


@pytest.mark.slow
def test_logs_of_servers_elsewhere_arrive_once_through_kills_and_a_store_that_is_away(
    cluster: Cluster, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers of one name, on machines of their own that share PostgreSQL and S3 with the pipelines."""
    for name, value in cluster.environment("shipped").items():
        monkeypatch.setenv(name, value)
    said: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def machine(name: str, folder: str) -> Iterator[subprocess.Popen[bytes]]:
        (tmp_path / folder).mkdir(exist_ok=True)
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / folder), name]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = said[name] = [process.stdout.readline().decode().strip()]
            reader = threading.Thread(target=lambda: lines.extend(map(_word, process.stdout or ())))
            reader.start()
            try:
                yield process
            finally:
                process.kill()
                reader.join()

    def read() -> int:
        names = set(map(prediction_log.hour_of, segments_of(project.paths, "loans").sizes()))
        with Lake.of(project.paths) as lake:
            for hour in sorted(names):
                prediction_log.ingest(lake, project.paths, "loans", hour, Commit("loans/prediction_log"))
            return lake.count("loans.feedback") if names else 0

    with machine("a", "one") as killed, machine("b", "two") as ended:
        wait_until(lambda: read() > 0, 60, "the first rows of the log", every_s=2)
        cluster.objects.stop()
        before = len(said["a"]), len(said["b"])
        wait_until(lambda: len(said["a"]) > before[0] + 20 < len(said["b"]), 30, "answers while the store is away", 0.1)
        killed.kill()
        cluster.objects.start()
        with machine("c", "one") as next_one:  # ships what the killed one has left
            wait_until(lambda: read() > sum(before) + 20, 60, "rows that were logged meanwhile", every_s=2)
            for process in (ended, next_one):
                process.terminate()
                assert process.wait(30) == 0
    for folder in ("one", "two"):  # what a slow machine has not shipped within the time for its end
        ship(tmp_path / folder / "data/serving", project.paths.shipped_log)
    read()
    found = [row["feedback_id"] for row in project.rows("SELECT feedback_id FROM {p}.feedback")]
    acknowledged = {name for lines in said.values() for name in lines}
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(found) <= len(acknowledged) + 1, "one of the killed server may not have been acknowledged any more"
    assert not list(tmp_path.glob("*/data/serving/*/*/*"))


def _word(line: bytes) -> str:
    return line.decode().strip()


def test_the_heartbeat_is_where_dagster_itself_writes_it(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = cluster.database.database().replace("postgresql://", DRIVER)
    monkeypatch.setenv("ML_ASSETS_DAGSTER_DATABASE", address)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    home = prepare_home(Paths(tmp_path, tmp_path / "data"))
    assert heartbeat(home) is None
    assert attention.of_installation(home) == []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 300, "SENSOR", "1", []))
    (need,) = attention.of_installation(home)
    assert need.text.startswith("Dagster's daemon is down")
    assert need.since is not None
    assert abs((versions.now() - need.since).total_seconds() - 300) < 60
    assert not (home / "history").exists()


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


def contents(opened: Lake) -> dict[int, dict[str, object]]:
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


@pytest.mark.slow
def test_a_lake_moves_there_survives_kills_goes_on_and_moves_back(
    trained: Project, copied: Project, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.objects.environment().items():
        monkeypatch.setenv(name, value)
    address, place = cluster.database.database(), "s3://ml-assets/moved"
    paths = copied.paths
    shutil.copytree(trained.paths.reports, paths.reports)
    embedded, before, untouched = contents(Lake.of(paths, read_only=True)), verdicts(copied), files_of(paths.data)
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
    assert contents(Lake.of(paths, read_only=True)) == embedded
    assert verdicts(copied) == before
    copied.write(6)
    assert copied.ingest("6", until="features").success
    after = verdicts(copied)
    assert {one: after[one] for one in before} == before
    assert after["features", "6"] == "fresh"
    with pytest.raises(LakeError, match="writes that this lake does not have"):
        move(paths.place_at(None, None), target, quiet, 5)
    another = paths.place_at(cluster.database.database(), "s3://ml-assets/another")
    write(another.catalog, tmp_path, 1)
    with pytest.raises(LakeError, match="another lake"):
        move(target, another, quiet, 5)
    monkeypatch.setattr("ml_assets.lake.move.WAIT_S", 0)
    with target.catalog.write_lock(["loans.features"], 5), pytest.raises(LakeBusy):
        move(target, paths.place_at(None, None), quiet, 5)
    monkeypatch.chdir(copied.root)
    for command in (["check"], ["backup", "s3://ml-assets/backup"]):
        shown = CliRunner().invoke(main, ["lake", *command])
        assert shown.exit_code == 0, shown.output
    now = contents(Lake.of(paths, read_only=True))
    back = Paths(tmp_path / "back", tmp_path / "back/data")
    move(target, back.place_at(None, None), quiet, 5)
    assert contents(Lake(back.lake, read_only=True)) == now
    cluster.database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", address.rpartition("/")[2])
    lost = next(target.catalog.data.files("loans/features"))
    target.catalog.data.remove(lost.name)
    assert "recover --from BACKUP" in CliRunner().invoke(main, ["lake", "check"]).output
    shown = CliRunner().invoke(main, ["lake", "recover", "--from", "s3://ml-assets/backup"])
    assert shown.exit_code == 0, shown.output
    assert "Copied 1 files" in shown.output
    assert contents(Lake.of(paths, read_only=True)) == now


ELSEWHERE = """
    import sys
    from pathlib import Path
    from ml_assets_tests.test_cluster import competed
    competed(Path(sys.argv[1]))
"""
SLOW = spec_of(
    {
        "estimator": "ml_assets_tests.graph.training.slow_tree.SlowTree",
        "search": {"max_depth": {"low": 1, "high": 6}, "ccp_alpha": {"low": 0.0001, "high": 0.1, "log": True}},
    },
    trials=16,
    folds=2,
)


def competed(root: Path) -> CandidateResult:
    """The search of a candidate, by a machine whose project is in this folder."""
    paths = Paths(root, root / "data")
    with Lake.of(paths) as lake:
        return compete(lake, paths, SLOW, "slow", make_pin(lake, SLOW), "v1", lambda *_: None)


@pytest.mark.slow
def test_a_search_that_lost_its_machine_goes_on_elsewhere(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 on one machine; another one, which has nothing of its own, goes on after its last trial."""
    alone, first, second = (tmp_path / name for name in ("alone", "first", "second"))
    monkeypatch.setenv("FITS", str(tmp_path / "alone.fits"))
    for folder in (alone, first, second):
        (folder / "data").mkdir(parents=True)
    with Lake.of(Paths(alone, alone / "data")) as lake:
        written(lake, SLOW)
    undisturbed = competed(alone)
    for name, value in cluster.environment("elsewhere").items():
        monkeypatch.setenv(name, value)
    with Lake.of(Paths(first, first / "data")) as lake:
        written(lake, SLOW)
    monkeypatch.setenv("FITS", str(tmp_path / "first.fits"))
    searches = Paths(second, second / "data").artifacts.searches
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(ELSEWHERE), str(first)]) as process:
        wait_until(
            lambda: any(len(searches.names(f"loans/{one}")) >= 6 for one in searches.names("loans")), 60, "trials"
        )
        process.kill()
    monkeypatch.setenv("FITS", str(tmp_path / "second.fits"))
    resumed = competed(second)
    assert [(t.number, t.params, t.scores) for t in resumed.trials] == [
        (t.number, t.params, t.scores) for t in undisturbed.trials
    ]
    reached = ("validation_score", "train_score", "threshold", "cv_se")
    assert resumed.best.params == undisturbed.best.params
    assert [getattr(resumed, name) for name in reached] == [getattr(undisturbed, name) for name in reached]
    fits = {name: (tmp_path / f"{name}.fits").read_text().count("\n") for name in ("alone", "first", "second")}
    assert fits["second"] <= fits["alone"] - 6  # six trials have six fits or more
    resumed.journal.remove()
    assert searches.names(resumed.journal.name) == []


@pytest.mark.slow
def test_a_backfill_by_two_workers_has_every_row_once(cluster: Cluster) -> None:
    found = backfill.measured(2, 2, 40, 1, cluster.database, cluster.objects.environment())
    assert (found.rows, found.lost, found.doubled) == (80, 0, 0)
