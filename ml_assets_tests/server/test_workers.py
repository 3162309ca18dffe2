"""Several workers on one port: counters of all, one that is killed and started again, SIGTERM, keys."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ml_assets.ml import release
from ml_assets.server.keys import ENV_KEYS, new_key
from ml_assets_tests.conftest import Project, wait_until
from ml_assets_tests.server.helpers import Server, started

PREDICT, ADMIN = new_key(["predict"], "a client"), new_key(["admin"], "")


@pytest.fixture(scope="module")
def server(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = trained.paths.releases / "loans" / "1.0.0"
    keys = tmp_path_factory.mktemp("workers") / "keys"
    keys.write_text(f"{PREDICT[1]}\n{ADMIN[1]}\n")
    command = ["-m", "ml_assets.server", str(folder), "--workers", "2", "--keys", str(keys)]
    with started(keys.with_name("log"), command) as running:
        yield running


def ask(server: Server, method: str, path: str, body: Any = None, key: str = PREDICT[0]) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, body and json.dumps(body), {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def test_a_killed_worker_is_replaced_and_its_counts_are_kept(server: Server, trained: Project) -> None:
    row = release.read_golden(trained.paths.releases / "loans" / "1.0.0").rows[0]
    parent = psutil.Process(server.process.pid)
    workers = parent.children()
    assert len(workers) == 2

    def asked() -> None:
        for _ in range(20):
            assert ask(server, "POST", "/v1/loans/predict", {"rows": [row]})[0] == 200

    asked()
    os.kill(workers[0].pid, signal.SIGKILL)
    wait_until(lambda: "killed by signal 9" in server.log.read_text(), 10, "the supervisor sees it")
    asked()
    wait_until(lambda: len(parent.children()) == 2, 10, "another is started")
    metrics = ask(server, "GET", "/metrics")[1]
    assert 'ml_assets_requests_total{pipeline="loans",route="predict",code="200"} 40\n' in metrics
    assert 'ml_assets_rows_total{pipeline="loans",version="1.0.0",role="champion"} 40\n' in metrics


def test_a_killed_worker_closes_its_connections_and_another_answers_what_it_had_not_taken(
    server: Server, trained: Project
) -> None:
    row = release.read_golden(trained.paths.releases / "loans" / "1.0.0").rows[0]
    sent = "POST", "/v1/loans/predict", json.dumps({"rows": [row]}), {"Authorization": f"Bearer {PREDICT[0]}"}
    taken = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    taken.request(*sent)
    assert taken.getresponse().read()
    workers = psutil.Process(server.process.pid).children()
    for worker in workers:
        worker.suspend()
    waiting = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    waiting.request(*sent)
    taken.request(*sent)
    killed = time.monotonic()
    for worker in workers:
        worker.kill()
    with pytest.raises(OSError, match=r"closed connection|reset"):
        taken.getresponse()
    assert time.monotonic() - killed < 1
    assert waiting.getresponse().status == 200
    waiting.close()


def test_keys_open_what_their_scope_says(server: Server) -> None:
    assert server.ask("/health/ready")[0] == 200  # whoever looks after the process needs no key
    status, problem = server.ask("/v1/loans/predict", {"rows": []})
    assert (status, problem["type"]) == (401, "urn:ml_assets:problem:no-key")
    assert server.ask("/v1")[0] == 401
    status, refused = ask(server, "POST", "/v1/loans/reload", {})
    assert (status, json.loads(refused)["title"]) == (403, "The key does not allow this")
    assert ask(server, "POST", "/v1/loans/reload", {}, ADMIN[0])[0] == 200
    assert ask(server, "POST", "/v1/loans/predict", {"rows": []}, ADMIN[0])[0] == 403
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    for origin, status in ((f"http://127.0.0.1:{server.port}", 200), ("http://other.example", 403), ("null", 403)):
        connection.request("GET", "/v1", headers={"Authorization": f"Bearer {PREDICT[0]}", "Origin": origin})
        response = connection.getresponse()
        assert (response.status, len(response.read()) > 0) == (status, True)
    connection.close()
    assert "securitySchemes" in server.ask("/openapi.json")[1]["components"]


def test_what_is_no_path_is_a_problem_too_and_a_log_is_not_everywhere(server: Server) -> None:
    assert server.ask("/v2")[1]["type"] == "urn:ml_assets:problem:not-found"
    assert ask(server, "GET", "/v1/loans/predict")[0] == 405
    status, text = ask(server, "GET", "/v1/lans")
    assert (status, "did you mean 'loans'" in text) == (404, True)
    status, page = ask(server, "GET", "/docs")
    assert status == 200
    assert "/v1/loans/predict" in page
    assert "://" not in page.replace("Bearer", "").replace("http://127.0.0.1", "")


def test_sigterm_ends_all_of_them(server: Server) -> None:
    workers = psutil.Process(server.process.pid).children()
    assert server.end() == 0
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert alive == []


def test_workers_that_cannot_begin_say_why_and_end(tmp_path: Path, trained: Project) -> None:
    folder = trained.paths.releases / "loans" / "1.0.0"
    command = [
        sys.executable,
        "-m",
        "ml_assets.server",
        str(folder),
        "--port",
        "0",
        "--workers",
        "2",
        "--sha256",
        "0" * 64,
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert shown.returncode == 1
    assert "not the one that was registered" in shown.stderr
    assert "Traceback" not in shown.stderr
    insecure = [sys.executable, "-m", "ml_assets.server", str(folder), "--port", "0", "--host", "0.0.0.0"]
    environment = {name: value for name, value in os.environ.items() if name != ENV_KEYS}
    shown = subprocess.run(insecure, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert (shown.returncode, "lets other machines in" in shown.stderr) == (1, True)
