"""What is asked of the server and later arrives in a batch has the same score there, by the same version."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ml_assets.ml import log_records
from ml_assets_tests.conftest import Project, loans, wait_until
from ml_assets_tests.server.helpers import Server, started
from ml_assets_tests.server.test_follow import add_version

KEY = ["loan"]
NAMES = ("loan", "income", "region", "signed")


def newest_batch(server: Server) -> str:
    about = server.ask("/v1/loans")[1]
    return str(about["lookups"]["lookups/region_history"]["newest_batch"])


@pytest.fixture
def yaml(copied: Project) -> Project:
    """The project with a challenger on half of the keys and a shadow, as its YAML says."""
    folder = copied.root / "pipelines" / "defs" / "loans"
    folder.mkdir(parents=True)
    (copied.root / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "pipelines"\n')
    (folder / "defs.yaml").write_text(
        "attributes: {name: loans, key: [loan], columns: [{name: late_days, type: number, outcome: true}],\n"
        "  serving: {routes: {champion: 0.5, challenger: 0.5}, shadow: [1.0.2], constraints: refuse}}\n"
    )
    return copied


def test_online_equals_batch_with_lookups_that_follow_the_lake(yaml: Project, tmp_path: Path) -> None:
    project = yaml
    add_version(project.paths, "1.0.1", threshold=0.0, alias="challenger")
    add_version(project.paths, "1.0.2", threshold=1.0)
    frame = loans(7)
    frame.loc[3, "income"] = math.nan
    rows = frame[list(NAMES)].astype({"signed": str}).astype(object).where(frame[list(NAMES)].notna(), None)
    body = {"rows": rows.to_dict("records"), "id": "asked before"}
    with started(tmp_path / "log", ["-m", "ml_assets.cli", "serve"], cwd=project.root) as server:
        assert newest_batch(server) < "6"
        old = server.ask("/v1/loans/predict", body)[1]
        project.write(6)
        assert project.ingest("5", "6").success
        wait_until(lambda: newest_batch(server) == "6", 10, "the newest lookups answer")
        status, answer = server.ask("/v1/loans/predict", body)
        assert status == 200, answer
        assert set(answer["versions"]) == {"1.0.0", "1.0.1"}
        status, broken = server.ask("/v1/loans/predict", {"rows": [{**body["rows"][0], "loan": 0}]})
        assert (status, broken["errors"]) == (422, [{"row": 0, "field": "loan", "detail": "breaks min: 1"}])
        outcome = {"key": {"loan": 7001}, "values": {"late_days": 3}}
        assert server.ask("/v1/loans/feedback", {"outcomes": [outcome]})[0] == 200
        status, wrong = server.ask("/v1/loans/feedback", {"outcomes": [{**outcome, "values": {"income": 3}}]})
        assert (status, wrong["errors"][0]["field"]) == (422, "income")
        assert server.end() == 0
    assert any(one != other for one, other in zip(old["scores"], answer["scores"], strict=True))
    project.write(7, frame)
    assert project.ingest("7").success
    assert project.materialize("predictions", batches=["7"]).success
    batch = project.rows(
        "SELECT loan, p.score FROM {p}.predictions p JOIN {p}.validated_data v USING (row_id, batch) "
        "WHERE batch = '7' AND p.model_version = '1.0.0'"
    )
    online = dict(zip(frame["loan"], answer["scores"], strict=True))
    assert len(batch) > 100
    assert max(abs(online[row["loan"]] - row["score"]) for row in batch) < 1e-9
    assert logged_roles(project.paths.serving / "loans") == {"champion", "challenger", "shadow", "feedback"}


def logged_roles(folder: Path) -> set[str]:
    records = [line.record for file in folder.rglob("*.log") for line in log_records.lines(file.read_bytes())]
    assert None not in records
    return {getattr(record, "role", "feedback") for record in records}
