"""How many batches of a backfill one run takes is a setting of the project."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from ml_assets import dagster_commands
from ml_assets.errors import SpecError
from ml_assets.graph import backfills
from ml_assets.graph.backfills import policy_of
from ml_assets_tests.conftest import Project


def wrote(root: Path, text: str) -> Path:
    (root / "pyproject.toml").write_text(f"[tool.ml_assets.backfill]\n{text}\n")
    return root


def test_assets_of_batches_have_the_policy_of_the_project(project: Project) -> None:
    assert policy_of(project.root) == dg.BackfillPolicy.single_run()
    wrote(project.root, "batches_per_run = 3")
    graph = project.defs().resolve_asset_graph()
    found = {
        graph.get(dg.AssetKey(["loans", name])).backfill_policy for name in ("raw_data", "features", "predictions")
    }
    assert found == {dg.BackfillPolicy.multi_run(3)}
    assert project.defs().resolve_job_def("loans_ingest").backfill_policy == dg.BackfillPolicy.multi_run(3)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("batches_per_run = -1", "must be 1 or more"),
        ('batches_per_run = "3"', "must be a whole number"),
        ("batches = 3", "did you mean 'batches_per_run'"),
    ],
)
def test_a_wrong_number_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        policy_of(wrote(tmp_path, text))


def test_a_command_of_a_terminal_takes_a_range_in_one_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    wrote(project.root, "batches_per_run = 3")
    shown: dict[str, str] = {}

    def started(*_: object, env: dict[str, str], **__: object) -> None:
        shown.update(env)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen", started)
    monkeypatch.setattr(dagster_commands, "module_name", lambda _: "credit.definitions")
    with pytest.raises(KeyboardInterrupt):
        dagster_commands.materialize(project.paths, Console(quiet=True), ["--partition-range", "1...2"])
    monkeypatch.setenv(backfills.ENV, shown[backfills.ENV])
    assert policy_of(project.root) == dg.BackfillPolicy.single_run()
