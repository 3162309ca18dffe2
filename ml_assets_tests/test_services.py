"""The services of deploy/compose.yaml as processes, from a file that arrives to a prediction that is logged.

Its ten processes cost two to four minutes of CPU.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ml_assets import attention
from ml_assets.dagster_records import heartbeat
from ml_assets.errors import LakeError
from ml_assets.graph.scoring import prediction_log
from ml_assets.lake.lake import Commit, Lake
from ml_assets.sources.segments import segments_of
from ml_assets_tests import compose, postgres, s3
from ml_assets_tests.conftest import Project, loans, wait_until, written_project
from ml_assets_tests.ports import free_ports
from ml_assets_tests.test_cluster import EQUAL

pytestmark = pytest.mark.slow


def test_a_file_that_arrives_becomes_a_prediction_that_is_logged(
    trained: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scoring server shares nothing with the others but PostgreSQL and S3."""
    with postgres.server() as database, s3.running(tmp_path / "s3", "ml-assets") as objects:
        run(trained, database, objects, tmp_path, monkeypatch)


def run(
    trained: Project,
    database: postgres.Server,
    objects: s3.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded = {table: trained.rows(sql) for table, sql in EQUAL.items()}
    web, server, code = free_ports(3, offsets=(0, 1))
    for name in ("lake", "dagster"):
        database.database(name)
    secrets = {"PGPASSWORD": database.password}
    secrets |= {name: objects.environment()[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    moved = {
        "ml_assets@postgres:5432": f"lake@127.0.0.1:{database.port}",
        "http://s3:8333": objects.options["endpoint_url"],
        "host: code, port: 4000": f"host: 127.0.0.1, port: {code}",
        "4000": str(code),
        "3000": str(web),
        "3001": str(web + 1),
        "8000": str(server),
        "0.0.0.0": "127.0.0.1",
        "ml_assets.definitions": "credit.definitions",
    }
    root, elsewhere = written_project(tmp_path / "project"), written_project(tmp_path / "server")
    with compose.platform(compose.read(secrets), moved) as services:
        for name, value in services.environment("code", root).items():
            if name.startswith(("ML_ASSETS", "AWS", "PG", "DAGSTER")):
                monkeypatch.setenv(name, value)
        assert services.start("prepare", root).wait(60) == 0, (root / "prepare.log").read_text()
        made = Project(root, trained.instance)
        for batch in range(1, 5):
            made.write(batch)
        services.start("code", root)
        compose.wait_for(code, "the code server")
        for name in ("daemon", "web", "pages"):
            services.start(name, root)
        wait_until(lambda: exists(made, "alias_events"), 600, "a champion", every_s=2)

        services.start("server", elsewhere)
        compose.wait_for(server, "the scoring server")
        wait_until(lambda: ask(server, "/health/ready")[0] == 200, 60, "a server that is ready")
        row = {"loan": 9001, "income": 20.5, "region": "A", "signed": "2024-01-02T03:04:05"}
        status, answer = ask(server, "/v1/loans/predict", {"id": "asked", "rows": [row]})
        assert (status, answer["versions"]) == (200, ["1.0.0"])
        loans(5).to_parquet(root / ".loans_5")
        (root / ".loans_5").rename(made.source / "loans_5.parquet")
        wait_until(lambda: exists(made, "performance_report"), 600, "what was predicted and observed", every_s=2)
        assert ask(web, "/server_info")[0] == 200
        assert attention.of_installation(root / "data/dagster") == []
        assert heartbeat(root / "data/dagster") is not None
        assert not (root / "data/dagster/history").exists(), "Dagster's records are on PostgreSQL"
        services.running["server"].terminate()
        assert services.running["server"].wait(30) == 0
    segments = segments_of(made.paths, "loans").sizes()
    assert len(segments) == 1
    with Lake.of(made.paths) as lake:
        hour = prediction_log.hour_of(*segments)
        prediction_log.ingest(lake, made.paths, "loans", hour, Commit("loans/prediction_log"))
    (logged,) = made.rows("SELECT request_id, model_version, score FROM {p}.prediction_log")
    assert logged == {"request_id": "asked", "model_version": "1.0.0", "score": answer["scores"][0]}

    for table, sql in EQUAL.items():
        assert of_batch_5(made.rows(sql)) == of_batch_5(embedded[table]), table
        assert of_batch_5(embedded[table]), table


def of_batch_5(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The loop also scores the batches before the first champion, which `trained` does not."""
    return [row for row in rows if row.get("batch", "5") == "5"]


def exists(project: Project, table: str) -> bool:
    with contextlib.suppress(LakeError), Lake.of(project.paths, read_only=True) as lake:
        return lake.exists(f"loans.{table}")
    return False


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    data, headers = None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"}
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, headers), timeout=30) as answer:
            text = answer.read()
            return int(answer.status), json.loads(text) if text else None
    except HTTPError as error:
        return error.code, None
