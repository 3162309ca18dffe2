"""What a replay says it was worth: computed from scores that are made by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from ml_assets.errors import SourceError
from ml_assets.lake.artifacts import FolderArtifacts
from ml_assets.replay.report import conclusions, report, write_report
from ml_assets.replay.result import ALWAYS, FROZEN, LOOP, BatchScore, Replay, ReplayedTraining, RuleResult
from ml_assets.replay.run import divided
from ml_assets_tests.conftest import Project


def scores(**by_version: float) -> dict[str, BatchScore]:
    return {
        version: BatchScore(version, value, value - 0.01, value + 0.01, 100)
        for version, value in ((name.replace("_", "."), value) for name, value in by_version.items())
    }


def made(project: Project) -> Replay:
    """Batches 4 to 6: the loop trained once, after 4; batch 6 has no outcomes yet."""
    first = ReplayedTraining("3", "first", "3 batches are there", "1.0.0", "promoted", 5.0, 4.0)
    once = ReplayedTraining("4", "drift", "income has moved", "1.0.1", "promoted", 6.0, 5.0)
    refused = ReplayedTraining("5", "new_batches", "1 new batch", "1.0.2", "refused", 7.0, 6.0)
    loop = RuleResult(
        {"4": scores(v1_0_0=0.7), "5": scores(v1_0_0=0.6, v1_0_1=0.75)},
        {"4": "v1.0.0", "5": "v1.0.1"},
        [first, once],
        9.0,
    )
    always = RuleResult(
        {"4": scores(v1_0_0=0.7), "5": scores(v1_0_1=0.74)}, {"4": "v1.0.0", "5": "v1.0.1"}, [first, once, refused], 9.0
    )
    return Replay(project.spec, ["1", "2", "3"], ["4", "5", "6"], "v1.0.0", {LOOP: loop, ALWAYS: always})


def test_means_are_over_the_batches_that_all_have_a_score(project: Project) -> None:
    found = made(project)
    assert found.compared() == ["4", "5"]
    assert [found.mean(arm) for arm in (FROZEN, LOOP, ALWAYS)] == pytest.approx([0.65, 0.725, 0.72])
    assert [len(found.trainings(arm)) for arm in (FROZEN, LOOP, ALWAYS)] == [0, 1, 2]  # the first one is not counted
    assert found.gain(LOOP, "5") == pytest.approx(0.15)
    assert math.isnan(found.gain(LOOP, "6"))


def test_a_smaller_error_is_a_gain(project: Project) -> None:
    project.spec_dict["monitoring"]["performance"] = {"metric": "log_loss"}
    found = made(project)
    assert found.gain(LOOP, "5") == pytest.approx(-0.15)
    assert "0.0750 worse" in conclusions(found)[0]


def test_what_came_out_is_said_whatever_it_is(project: Project) -> None:
    first, second = conclusions(made(project))
    assert "mean roc_auc is 0.7250, 0.0750 better than the 0.6500" in first
    assert "better on 1 of them" in first
    assert "trained once" in second
    assert "trained 2 times and has a mean of 0.7200" in second


def test_the_table_and_the_page_have_every_batch(project: Project, tmp_path: Path) -> None:
    found = made(project)
    page, table = map(Path, write_report(found, FolderArtifacts(tmp_path)))
    assert page == tmp_path / "loans/replay/index.html"
    text = page.read_text()
    assert text.count("data:image/png;base64") == 2
    assert "income has moved" in text
    assert "+0.1500" in text
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["batch"] for row in rows] == ["4", "5", "6"]
    assert float(rows[1]["loop"]) == 0.75
    assert rows[1]["loop_version"] == "v1.0.1"
    assert rows[0]["trained_after"] == "1.0.1 promoted (drift)"
    assert rows[2]["loop"] == ""


def test_the_report_names_the_triggers(project: Project) -> None:
    project.spec_dict = {**project.spec_dict, "retrain": {"on": ["drift", {"new_batches": 4}]}}
    assert "retrain.on: drift, new_batches: 4; cooldown_batches" in report(made(project))


def test_no_outcomes_at_all_are_said(project: Project) -> None:
    found = made(project)
    empty = RuleResult({}, {}, [], 0.0)
    nothing = Replay(found.spec, found.first, found.later, found.frozen, {LOOP: empty, ALWAYS: empty})
    assert "nothing can be compared" in conclusions(nothing)[0]
    assert "<h1>" in report(nothing)


def test_where_a_replay_begins() -> None:
    batches = ["1", "2", "3", "4", "5"]
    assert divided(batches, None, 3) == (["1", "2", "3"], ["4", "5"])
    assert divided(batches, "5", 3) == (["1", "2", "3", "4"], ["5"])
    with pytest.raises(SourceError, match="no batch '6'"):
        divided(batches, "6", 3)
    with pytest.raises(SourceError, match="1 batches before 2 are fewer"):
        divided(batches, "2", 3)
    with pytest.raises(SourceError, match="more than 3 batches"):
        divided(["1", "2"], None, 3)
