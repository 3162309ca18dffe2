"""From requests and feedback alone to a new champion: the log, decay, a batch, a training, the server that follows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from ml_assets.lake.lake import Lake
from ml_assets.tables import training_sets
from ml_assets_tests.conftest import Project, failure_text, loans, wait_until
from ml_assets_tests.graph.ingest.test_online_batches import ingest
from ml_assets_tests.graph.online import read, reports
from ml_assets_tests.server.helpers import Server, started

NAMES = ["loan", "income", "region", "signed"]


def use(server: Server, project: Project) -> str:
    """Ask about customers who then pay in other ways than before; returns the hour of the log, moved to 2026-01-02."""
    frame, rng = loans(6, 400), np.random.default_rng(0)
    surprising = rng.random(len(frame)) < 0.25
    frame.loc[surprising, "late_days"] = 20 - frame.loc[surprising, "late_days"].clip(upper=20)
    rows = frame[NAMES].astype({"signed": str}).to_dict("records")
    status, answer = server.ask("/v1/loans/predict", {"rows": rows})
    assert (status, answer["version"]) == (200, "1.0.0")
    outcomes = [
        {"key": {"loan": loan}, "values": {"late_days": days}}
        for loan, days in zip(frame["loan"].tolist(), frame["late_days"].tolist(), strict=True)
    ]
    assert server.ask("/v1/loans/feedback", {"outcomes": outcomes})[0] == 200
    (hour,) = (project.paths.serving / "loans").iterdir()
    return hour.rename(hour.parent / f"2026-01-02{hour.name[-3:]}").name


@pytest.mark.slow
def test_real_time_use_alone_leads_to_a_new_champion(copied: Project, tmp_path: Path) -> None:
    gates = {**copied.spec_dict["gates"], "overfit": None, "calibration": None}  # which judge what changed
    copied.spec_dict |= {"gates": gates, "retrain": {"on": ["decay"], "cooldown_batches": 2}}
    folder = copied.root / "pipelines" / "defs" / "loans"
    folder.mkdir(parents=True)
    (copied.root / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "pipelines"\n')
    (folder / "defs.yaml").write_text(yaml.safe_dump({"attributes": copied.spec_dict}))
    with started(tmp_path / "log", ["-m", "ml_assets.cli", "serve"], cwd=copied.root) as server:
        read(copied, use(server, copied))
        assert reports(copied, "performance_report", ["decayed"], "judged") == [(True,)]
        assert not copied.tick("loans_retrain").run_requests  # one new batch, of a file, is not enough
        batch = ingest(copied)
        assert len(copied.tick("loans_retrain").run_requests) == 1
        result = copied.train()
        assert result.success, failure_text(result)
        wait_until(lambda: "1.0.1" in str(server.ask("/health/ready")[1]), 60, "the new champion answers")
    with Lake(copied.paths.lake, read_only=True) as lake:
        pin = training_sets.newest(lake, "loans")
        rows = training_sets.read(lake, "loans", dataclasses.replace(pin))
    assert (rows["batch"] == batch).sum() == 400
