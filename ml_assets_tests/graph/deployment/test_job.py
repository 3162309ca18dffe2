"""The deploy job on a copy of the trained project: every step is recorded, and none stops another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ml_assets.graph.deployment import deploy as deploying
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import versions
from ml_assets_tests.conftest import Project, failure_text
from ml_assets_tests.ports import free_port
from ml_assets_tests.receiver import receiving
from ml_assets_tests.server.helpers import started
from ml_assets_tests.server.test_follow import add_version, promote


def deploy(project: Project, **words: Any) -> dg.ExecuteInProcessResult:
    project.spec_dict["deploy"] = words
    job = project.defs().resolve_job_def("loans_deploy")
    return job.execute_in_process(instance=project.instance, raise_on_error=False)


def steps(project: Project, result: dg.ExecuteInProcessResult) -> list[tuple[str, str, bool, str]]:
    rows = project.rows("SELECT * FROM {p}.deployments WHERE run_id = ?", [result.run_id])
    return [(row["step"], row["target"], row["ok"], row["detail"]) for row in rows]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploying, "PAUSES_S", (0.01, 0.01))
    monkeypatch.setattr(deploying.notify_server, "__defaults__", (0.5,))


def test_what_fails_is_said_and_the_rest_is_done(copied: Project, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with receiving() as receiver:
        receiver.answers = [503]
        words = {"publish": "published", "servers": [nobody], "webhook": receiver.url}
        first = deploy(copied, **words)
        again = deploy(copied, **words)
    assert not first.success
    assert f"server {nobody}: not 1.0.0 within 0.5 s: no connection" in failure_text(first)
    place = copied.root / "published" / "loans"
    host = f"http://127.0.0.1:{receiver.port}"
    expected = [
        ("verify", "1.0.0", True),
        ("publish", str(place), True),
        ("server", nobody, False),
        ("webhook", host, True),
    ]
    notified = ("answered 200", "was notified at")
    for result, published, detail in ((first, "1.0.0 copied", notified[0]), (again, "there already", notified[1])):
        found = steps(copied, result)
        assert [step[:3] for step in found] == expected
        assert published in found[1][3]
        assert detail in found[3][3]
    assert "s3cret" not in json.dumps(copied.rows("FROM {p}.deployments"), default=str)
    refused, taken = receiver.bodies  # the second run found that it was notified
    assert refused == taken
    release = copied.paths.releases / "loans" / "1.0.0"
    champion = json.loads((place / "champion.json").read_text())
    assert set(taken) == {"pipeline", "version", "previous", "release", "sha256", "why", "by", "moved_at"}
    assert taken["release"] == str(place / "1.0.0")
    for facts in (champion, taken):
        assert (facts["pipeline"], facts["version"], facts["previous"]) == ("loans", "1.0.0", None)
        assert facts["sha256"] == copied.value("SELECT sha256 FROM {p}.release_candidate")
        assert "gates passed" in facts["why"]
    names = {path.relative_to(release) for path in release.rglob("*")}
    assert {path.relative_to(place / "1.0.0") for path in (place / "1.0.0").rglob("*")} == names


def test_an_unsound_release_goes_nowhere(copied: Project) -> None:
    (copied.paths.releases / "loans" / "1.0.0" / "golden.json").write_text("{}")
    with receiving() as receiver:
        result = deploy(copied, publish="published", webhook=receiver.url, servers=[receiver.url])
        assert receiver.bodies == []
    assert "A file of the release was changed" in failure_text(result)
    assert [(step[0], step[2]) for step in steps(copied, result)] == [
        ("verify", False),
        ("publish", False),
        ("server", False),
        ("webhook", False),
    ]
    assert not (copied.root / "published").exists()


def test_without_a_champion_or_anything_to_tell(project: Project, copied: Project) -> None:
    result = deploy(copied)
    assert result.success
    assert [step[0] for step in steps(copied, result)] == ["verify"]
    with Lake(copied.paths.lake) as lake:
        lake.con.execute("DROP TABLE lake.loans.alias_events")
    assert "There is no champion yet" in failure_text(deploy(copied))


def test_a_running_server_answers_with_the_new_champion(
    copied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying.notify_server, "__defaults__", (20.0,))
    add_version(copied.paths, "1.0.1", threshold=0.0)
    command = ["-m", "ml_assets.cli", "serve", "loans"]
    with started(tmp_path / "log", command, cwd=copied.root) as server, receiving() as fixed:
        fixed.facts = {"pipeline": "loans", "version": "1.0.0", "pinned": True}
        assert server.ask("/v1/loans/reload", {}) == (200, {"pipeline": "loans", "version": "1.0.0", "pinned": False})
        promote(copied.paths, "1.0.1")
        addresses = [f"http://127.0.0.1:{server.port}", f"http://127.0.0.1:{fixed.port}"]
        result = deploy(copied, servers=addresses)
        stays = "it serves 1.0.0 for good; start it without --version, or take it off the list"
        assert steps(copied, result)[1:] == [
            ("server", addresses[0], True, "serves 1.0.1"),
            ("server", addresses[1], False, stays),
        ]
        assert server.ask("/health/ready")[1]["pipelines"] == {"loans": {"champion": "1.0.1"}}
        (copied.paths.releases / "loans" / "1.0.0" / "golden.json").write_text("{}")
        promote(copied.paths, "1.0.0")
        status, answer = server.ask("/v1/loans/reload", {})
        assert (status, answer["version"]) == (503, "1.0.1")
        assert "golden.json" in answer["detail"]


def test_the_previous_champion_is_named(copied: Project) -> None:
    with Lake(copied.paths.lake) as lake:
        for version in ("1.0.1", "1.0.0"):
            lake.append(
                [versions.alias_event("loans", "champion", version, "back", "me", "")], Commit("loans/champion")
            )
        move = deploying.newest_move(lake, "loans")
    assert (move.version, move.previous, move.why, move.by) == ("1.0.0", "1.0.1", "back", "me")
