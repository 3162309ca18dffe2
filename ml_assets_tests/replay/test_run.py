"""A whole replay of a small pipeline, in which outcomes come in files of their own: the loop as nobody touches it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from sklearn.metrics import roc_auc_score

from ml_assets.component import MLPipeline
from ml_assets.lake.lake import Lake
from ml_assets.replay import replay
from ml_assets.replay.result import ALWAYS, FROZEN, LOOP, Replay
from ml_assets_tests.conftest import Project, loans

pytestmark = pytest.mark.slow


@dataclass
class Story:
    """A replay that is over, and what was said meanwhile."""

    project: Project
    made: Replay
    said: list[tuple[int, int, str]]

    def rows(self, arm: str, sql: str) -> list[tuple[object, ...]]:
        folder = self.project.paths.data / "replay" / "loans" / arm / "lake"
        with Lake(folder, read_only=True) as lake:
            return lake.con.execute(sql).fetchall()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Batches 1 to 3 train; incomes move in batch 4, and its outcomes, as those of all, come after it was scored."""
    with dg.DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path_factory.mktemp("replay"), instance)
        project.spec_dict["monitoring"]["drift_share"] = 0.3
        project.spec_dict["outcomes"] = {"path": "data/paid", "pattern": r"paid_(?P<batch>\d+)\.csv"}
        del project.spec_dict["candidates"]["tree"]
        (project.root / "data/paid").mkdir()
        for batch in range(1, 5):
            frame = loans(batch, shift=40.0 if batch == 4 else 0.0)
            project.write(batch, frame.assign(late_days=float("nan")))
            frame[["loan", "late_days"]].to_csv(project.root / f"data/paid/paid_{batch}.csv", index=False)
        said: list[tuple[int, int, str]] = []
        project.defs()  # writes the SQL files
        pipeline = MLPipeline(project.spec, project.root / "sql")
        yield Story(project, replay(pipeline, project.paths, None, lambda *words: said.append(words)), said)


def test_every_batch_is_scored_before_it_is_trained_on(story: Story) -> None:
    assert (story.made.first, story.made.later, story.made.frozen) == (["1", "2", "3"], ["4"], "1.0.0")
    for arm in (LOOP, ALWAYS):
        assert story.rows(arm, "SELECT count(*) FROM lake.loans.predictions WHERE seen AND role = 'champion'") == [(0,)]
    assert story.made.compared() == ["4"]


def test_scores_are_those_of_the_outcomes_that_came_later(story: Story) -> None:
    rows = story.rows(LOOP, "SELECT row_id, score FROM lake.loans.predictions WHERE batch = '4' ORDER BY row_id")
    score = story.made.score(LOOP, "4")
    assert score is not None
    assert score.value == pytest.approx(roc_auc_score(loans(4)["late_days"] > 10, [score for _, score in rows]))
    assert score.rows == 150


def test_the_loop_trains_when_the_world_has_moved(story: Story) -> None:
    assert [(one.batch, one.trigger) for one in story.made.outcomes[LOOP].trainings] == [("3", "first"), ("4", "drift")]
    assert [(one.batch, one.trigger) for one in story.made.trainings(ALWAYS)] == [("4", "new_batches")]
    assert story.made.trainings(FROZEN) == []
    assert "batch 4 has drifted" in story.made.trainings(LOOP)[0].why
    events = story.rows(
        LOOP, "SELECT trigger FROM lake.loans.retrain_events WHERE decision = 'train' ORDER BY decided_at"
    )
    assert events == [("first",), ("drift",)]
    for training in story.made.trainings(ALWAYS):
        assert training.seconds > 0
        assert training.version is not None


def test_progress_is_said_and_the_project_is_left_alone(story: Story) -> None:
    assert story.said[-1] == (1, 1, "done")
    assert (0, 1, "4, loop: train (drift)") in story.said
    assert not story.project.paths.lake.exists()
    assert not story.project.paths.bundles.exists()
