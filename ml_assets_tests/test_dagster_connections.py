"""A run asks Dagster's records on PostgreSQL over connections that stay open, and survives their loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ml_assets import launcher
from ml_assets.dagster_connections import kept_open
from ml_assets_tests import postgres
from ml_assets_tests.conftest import wait_until

DATABASE = "records"
SESSIONS = f"SELECT pid FROM pg_stat_activity WHERE datname = '{DATABASE}' ORDER BY pid"
END = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.server() as made:
        yield made


@pytest.fixture
def instance(server: postgres.Server, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    server.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
    address = server.database(DATABASE).replace("postgresql:", "postgresql+psycopg2:")
    text = f"telemetry: {{enabled: false}}\nstorage: {{postgres: {{postgres_url: '{address}'}}}}\n"
    (tmp_path / "dagster.yaml").write_text(text)
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


def test_records_in_files_are_asked_as_before(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, kept_open(instance):
        create_run_for_test(instance, job_name="parcels_ingest")
        assert len(instance.get_runs()) == 1
