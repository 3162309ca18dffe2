"""Three more pipelines, each from its own YAML and SELECTs, reach a champion on real data of other kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from ml_assets_tests.conftest import Project, failure_text
from ml_assets_tests.pipelines import data

FOLDER = Path(__file__).parent / "pipelines"


def read(root: Path, name: str) -> Project:
    """A pipeline of the folder in a project of its own."""
    folder = FOLDER / name
    document = yaml.safe_load((folder / "defs.yaml").read_text())
    assert document["type"] == "ml_assets.MLPipeline"
    texts = {file.name: file.read_text() for file in folder.glob("*.sql")}
    document["attributes"]["gates"]["serving"] = {"p95_ms": 5000}  # how busy this machine is says nothing of a model
    return Project(root, dg.DagsterInstance.ephemeral(), document["attributes"], texts)


@pytest.fixture(params=["visits", "seattle", "cancelled"])
def trained_pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    project = read(tmp_path, request.param)
    files: Callable[[Path], Iterator[str]] = getattr(data, request.param)
    batches = list(files(tmp_path))
    with project.instance:
        for step in (lambda: project.ingest(*batches), project.train, lambda: project.watch(batches[-1])):
            result = step()
            assert result.success, failure_text(result)
        yield project


@pytest.mark.slow
def test_it_reaches_a_champion_that_beats_the_baseline(trained_pipeline: Project) -> None:
    project = trained_pipeline
    decision: dict[str, Any]
    (decision,) = project.rows("SELECT decision, why, version FROM {p}.champion")
    assert (decision["decision"], decision["version"]) == ("promoted", "1.0.0"), decision["why"]
    found = {
        row["scope"]: row["value"]
        for row in project.rows(
            f"SELECT scope, value FROM {{p}}.evaluation_report WHERE metric = '{project.spec.metric}' "
            "AND scope IN ('test', 'baseline', 'gain_over_baseline')"
        )
    }
    better = found["baseline"] - found["test"] if project.spec.metric == "mae" else found["test"] - found["baseline"]
    assert better > 0
    scored, rows = project.rows(
        "SELECT (SELECT count(score) FROM {p}.predictions) AS n UNION ALL "
        "SELECT count(*) FROM {p}.features WHERE batch = (SELECT max(batch) FROM {p}.features)"
    )
    assert scored == rows
