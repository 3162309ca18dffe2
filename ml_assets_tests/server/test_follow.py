"""`ml-assets serve` follows the champion: a promotion, a broken release, a rollback, and no request is dropped."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from ml_assets.cli.serve import settings_of
from ml_assets.errors import ModelError, SpecError
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.lake.paths import Paths
from ml_assets.ml import release
from ml_assets.server.app import Routes
from ml_assets.server.counting import Counting
from ml_assets.server.follow import Follower, find_release
from ml_assets.server.keys import Keys
from ml_assets.server.problems import Problem
from ml_assets.server.prometheus import Metrics, shared
from ml_assets.server.registry import Registry, Settings
from ml_assets.tables import releases, versions
from ml_assets.tables.versions import now
from ml_assets_tests.conftest import Project, wait_until
from ml_assets_tests.server.helpers import Server, forged, started


@pytest.fixture
def paths(trained: Project, tmp_path: Path) -> Paths:
    """A copy of the trained project."""
    root = tmp_path / "project"
    shutil.copytree(trained.root, root)
    return Paths(root, root / "data")


def add_version(paths: Paths, version: str, threshold: float, alias: Literal["challenger"] | None = None) -> Path:
    """Another version of the same model, with another threshold, and its release."""
    folder = paths.releases / "loans" / version
    digest = forged(paths.releases / "loans" / "1.0.0", folder, version, threshold)
    with Lake(paths.lake) as lake:
        (row,) = lake.rows("SELECT * FROM lake.loans.trained_model WHERE version = '1.0.0'")
        (packed,) = lake.rows("SELECT * FROM lake.loans.release_candidate WHERE version = '1.0.0'")
        mine = {"version": version, "created_at": now()}
        lake.append(
            [
                Rows("loans.trained_model", versions.VERSIONS.types, [{**row, **mine}]),
                Rows(
                    "loans.release_candidate",
                    releases.RELEASES.types,
                    [{**packed, **mine, "folder": f"loans/{version}", "sha256": digest}],
                ),
            ],
            Commit("loans/test"),
        )
        if alias is not None:
            lake.append([versions.alias_event("loans", alias, version, "a test", "me", "")], Commit("loans/champion"))
    return folder


def promote(paths: Paths, version: str) -> None:
    with Lake(paths.lake) as lake:
        lake.append([versions.alias_event("loans", "champion", version, "a test", "me", "")], Commit("loans/champion"))


def champion(server: Server) -> str:
    return str(server.ask("/health/ready")[1]["pipelines"]["loans"]["champion"])


# It looks for a new champion every 0.2 s, not every 2 s.
OFTEN = """
from ml_assets.server import follow
follow.LOOK_S = 0.2
from ml_assets.cli import main
main()
"""


def test_the_champion_is_followed_and_a_broken_release_is_not(paths: Paths, tmp_path: Path) -> None:
    add_version(paths, "1.0.1", threshold=0.0)
    broken = add_version(paths, "1.0.2", threshold=1.0)
    (broken / "golden.json").write_text("{}")
    row = release.read_golden(paths.releases / "loans" / "1.0.0").rows[0]
    answers: list[tuple[int, str]] = []
    ended = threading.Event()
    with started(tmp_path / "log", ["-c", OFTEN, "serve", "loans"], cwd=paths.root) as server:

        def ask_all_the_time() -> None:
            while not ended.wait(0.01):
                status, answer = server.ask("/v1/loans/predict", {"rows": [row]})
                answers.append((status, answer["version"]))

        client = threading.Thread(target=ask_all_the_time)
        client.start()
        try:
            promote(paths, "1.0.2")
            wait_until(lambda: "1.0.0 goes on" in server.log.read_text(), 20, "the broken release is logged")
            assert "golden.json" in server.log.read_text()
            assert champion(server) == "1.0.0"
            repaired = add_version(paths, "1.0.3", threshold=1.0)
            hidden = repaired.rename(repaired.with_name("hidden"))
            promote(paths, "1.0.3")
            wait_until(lambda: "1.0.3" in server.log.read_text(), 20, "the missing release is logged")
            hidden.rename(repaired)
            wait_until(lambda: champion(server) == "1.0.3", 20, "the release answers that was not there before")
            promote(paths, "1.0.1")
            wait_until(lambda: champion(server) == "1.0.1", 20, "the new champion answers")
            assert server.ask("/v1/loans/predict", {"rows": [row]})[1]["decisions"] == ["1"]  # the threshold is 0
            promote(paths, "1.0.0")
            wait_until(lambda: champion(server) == "1.0.0", 20, "the rollback answers")
        finally:
            ended.set()
            client.join()
        assert server.end() == 0
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {"1.0.0", "1.0.1", "1.0.3"}
    swaps = re.findall(
        r"loans is served by (champion [\d.]+), lookups \w+(; before: .*)?\n", (tmp_path / "log").read_text()
    )
    assert swaps[0] == ("champion 1.0.0", "")
    assert swaps[1][0] == "champion 1.0.3"
    assert swaps[1][1].startswith("; before: champion 1.0.0, lookups ")


def test_what_cannot_be_served_says_what_to_do(trained: Project) -> None:
    with pytest.raises(ModelError, match="There is no version 9") as caught:
        find_release(trained.paths, "loans", "9")
    assert "1.0.0" in str(caught.value)
    place = find_release(trained.paths, "loans")
    assert place.folder == trained.paths.releases / "loans" / "1.0.0"


def test_a_server_that_does_not_start_does_not_say_that_it_goes_on(
    trained: Project, caplog: pytest.LogCaptureFixture
) -> None:
    follower = Follower(trained.paths, ("loans",), lambda _: Settings(log=None), "9")

    async def opened() -> None:
        registry = follower.open(Counting(Metrics(shared(1))))
        try:
            await follower.load()
        finally:
            registry.close()

    with pytest.raises(ModelError, match="no version 9"):
        asyncio.run(opened())
    assert caplog.text == ""


def test_a_wrong_part_of_the_yaml_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "shop/defs/loans"
    folder.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "shop"\n')
    (folder / "defs.yaml").write_text("attributes: {name: loans, serving: {routs: {}, constraints: no_idea}}")
    with pytest.raises(SpecError) as caught:
        settings_of(tmp_path, "loans")
    assert "routs: unknown key 'routs'; did you mean 'routes'?" in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_a_pipeline_whose_yaml_is_wrong_does_not_stop_the_others(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(name: str) -> Settings:
        if name == "wrong":
            raise SpecError("`serving` of the YAML is wrong.")
        return Settings(log=None)

    async def opened(*names: str) -> tuple[Registry, Any]:
        follower = Follower(trained.paths, (), settings)
        monkeypatch.setattr(follower, "_known", lambda: names)
        registry = follower.open(counting := Counting(Metrics(shared(1))))
        try:
            await follower.load()
            return registry, await Routes(registry, Keys(), counting).ready(cast(Any, None))
        finally:
            registry.close()

    registry, answer = asyncio.run(opened("loans", "wrong"))
    assert answer.status_code == 200
    said = json.loads(answer.body)
    assert (list(said["pipelines"]), list(said["refused"])) == (["loans"], ["wrong"])
    with pytest.raises(Problem, match="serving") as caught:
        registry.need("wrong")
    assert caught.value.status == 503
    with pytest.raises(SpecError):
        asyncio.run(opened("wrong"))
