"""A run asks Dagster's records on PostgreSQL over connections that stay open, and survives their loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ml_assets import home, launcher, run_locks
from ml_assets.dagster_connections import kept_open
from ml_assets.graph import declare
from ml_assets_tests import postgres
from ml_assets_tests.conftest import Project, wait_until

DATABASE = "records"
SESSIONS = f"SELECT pid FROM pg_stat_activity WHERE datname = '{DATABASE}' ORDER BY pid"
END = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.server() as made:
        yield made


@pytest.fixture
def instance(server: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    server.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
    monkeypatch.setenv(home.ENV_DATABASE, server.database(DATABASE).replace("postgresql://", home.DRIVER))
    (tmp_path / "dagster.yaml").write_text(home.OURS.read_text() + home.STORAGE)
    with launcher.open_instance(tmp_path) as made:
        yield made


def sessions(server: postgres.Server) -> list[int]:
    """Process ids of the server's sessions in Dagster's database."""
    return [pid for (pid,) in server.execute(SESSIONS)]


def test_a_run_keeps_its_connections_until_it_ends(server: postgres.Server, instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, job_name="parcels_ingest", status=dg.DagsterRunStatus.STARTED)

    def report() -> None:
        instance.report_engine_event("at work", run)
        instance.add_run_tags(run.run_id, {"seen": "yes"})

    report()
    wait_until(lambda: sessions(server) == [], 10, "the end of the sessions", 0.1)
    with kept_open(instance):
        report()
        first = sessions(server)
        assert len(first) == 2, "one of runs and one of events"
        report()
        assert sessions(server) == first
        server.execute(END)
        report()
        assert len(sessions(server)) == 2
    wait_until(lambda: sessions(server) == [], 10, "the end of the sessions", 0.1)
    report()
    assert len(instance.all_logs(run.run_id)) == 5


def test_a_run_holds_its_lock_at_the_server_also_on_a_machine_without_dagster_yaml(
    server: postgres.Server, instance: dg.DagsterInstance
) -> None:
    """As a run on Ray gets its instance: with its command."""
    run = create_run_for_test(instance, job_name="parcels_ingest", status=dg.DagsterRunStatus.STARTED)
    (launcher.home(instance) / "dagster.yaml").unlink()
    with dg.DagsterInstance.from_ref(instance.get_ref()) as elsewhere, launcher.at_work(elsewhere, run.run_id):
        assert run_locks.is_held(server.address(DATABASE), run.run_id)
        marked = elsewhere.get_run_by_id(run.run_id)
        assert marked is not None
        worker = launcher.worker_of(marked)
        assert worker is not None
        assert worker.has_server


def test_the_pool_of_a_pipeline_that_looks_back_is_limited_before_its_first_run_is_queued(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    spec = Project(tmp_path / "project", instance).spec
    for _ in range(2):  # PostgreSQL takes a limit only once
        declare.limit_ingest_pool(spec, instance)
    (pool,) = instance.event_log_storage.get_pool_limits()
    assert (pool.name, pool.limit) == ("loans_ingest", 1)
    declare.limit_ingest_pool(spec.model_copy(update={"name": "apart", "lookups": {}}), instance)
    assert [pool.name for pool in instance.event_log_storage.get_pool_limits()] == ["loans_ingest"]


def test_records_in_files_are_asked_as_before(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, kept_open(instance):
        create_run_for_test(instance, job_name="parcels_ingest")
        assert len(instance.get_runs()) == 1
