"""How many batches of a backfill one run takes is a setting of the project."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from ml_assets.errors import SpecError
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
        ("batches_per_run = 0", "must be 1 or more"),
        ('batches_per_run = "3"', "must be a whole number"),
        ("batches = 3", "did you mean 'batches_per_run'"),
    ],
)
def test_a_wrong_number_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        policy_of(wrote(tmp_path, text))
