"""The rules of a replay side by side, on a graph that takes no time: a version knows how old its newest batch is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ml_assets.component import MLPipeline
from ml_assets.errors import LakeError, MLAssetsError, ModelError
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.replay import drive, replay, run
from ml_assets.replay.result import ALWAYS, FROZEN, LOOP, Replay
from ml_assets.spec import PipelineSpec
from ml_assets.spec.operation import NewBatches
from ml_assets.tables import decisions, performance, versions
from ml_assets.tables.decisions import Decision
from ml_assets_tests.conftest import Project
from ml_assets_tests.graph.release.hand_made import add_version

BATCHES = [str(batch) for batch in range(1, 7)]


@dataclass(frozen=True)
class Graph:
    """Jobs and sensors with the names of a pipeline's; `broken` has the (job, newest batch)es that fail."""

    spec: PipelineSpec
    paths: Paths
    broken: frozenset[tuple[str, str]] = frozenset()

    def definitions(self) -> dg.Definitions:
        jobs = [self.job("ingest", self.score), self.job("train", self.train)]
        return dg.Definitions(jobs=jobs, sensors=[self.new_data(jobs[0]), self.retrain(jobs[1])])

    def job(self, name: str, work: Any) -> dg.JobDefinition:
        def step(context: dg.OpExecutionContext) -> None:
            batch = context.run.tags["batch"]
            if (name, batch) in self.broken:
                raise dg.Failure(f"{name} of {batch} is broken", allow_retries=False)
            with Lake.of(self.paths) as lake:
                work(lake, batch, Commit(asset=f"loans/{name}", run_id=context.run_id))

        return dg.GraphDefinition(name=f"loans_{name}", node_defs=[dg.op(name=f"{name}_step")(step)]).to_job()

    def score(self, lake: Lake, batch: str, commit: Commit) -> None:
        """A version loses a tenth with each batch that has come since its newest one."""
        champion = versions.alias(lake, "loans", "champion")
        if champion is None:
            return
        roles = {champion.version: "champion"}
        roles = dict.fromkeys(self.spec.serving.shadow, "shadow") | roles
        rows = [
            {"batch": batch, "model_version": version, "role": role, "metric": "roc_auc", "rows": 100}
            | {"value": 1 - (int(batch) - newest_batch(lake, version)) / 10}
            for version, role in roles.items()
        ]
        lake.replace([performance.put(lake, "loans", rows, batch)], commit)

    def train(self, lake: Lake, batch: str, commit: Commit) -> None:
        version = f"1.0.{len(versions.versions(lake, 'loans'))}"
        add_version(lake, self.paths, version, params={"newest": batch})
        decisions.record(lake, "loans", Decision(version, "promoted", "", [], None), commit)

    def new_data(self, job: dg.JobDefinition) -> dg.SensorDefinition:
        """Each file is a batch; one that has come already is none."""

        @dg.sensor(name="loans_new_data", job=job)
        def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
            there = {file.stem[-1] for file in Path(self.spec.source.path).iterdir()}
            came = sorted(there.difference(context.instance.get_dynamic_partitions(PARTITIONS.name)))
            return dg.SensorResult(
                [dg.RunRequest(batch, tags={"batch": batch}) for batch in came],
                dynamic_partitions_requests=[PARTITIONS.build_add_request(came)],
            )

        return sensor

    def retrain(self, job: dg.JobDefinition) -> dg.SensorDefinition:
        """By the number of new batches alone."""
        (rule,) = self.spec.retrain.on
        assert isinstance(rule, NewBatches)
        new_batches = rule.new_batches

        @dg.sensor(name="loans_retrain", job=job)
        def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
            newest = max(context.instance.get_dynamic_partitions(PARTITIONS.name))
            with Lake.of(self.paths) as lake:
                known = versions.versions(lake, "loans")
                is_first = not known and int(newest) >= self.spec.retrain.min_batches
                age = int(newest) - newest_batch(lake, known[-1].version) if known else 0
            if is_first or age >= new_batches:
                tags = {"ml_assets/retrain": "first" if is_first else "new_batches", "ml_assets/why": f"{age} came"}
                yield dg.RunRequest(newest, tags={**tags, "batch": newest})

        return sensor


PARTITIONS = dg.DynamicPartitionsDefinition(name="loans_batches")


def newest_batch(lake: Lake, version: str) -> int:
    found = versions.version(lake, "loans", version)
    assert found is not None
    return int(found.params["newest"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Six batches, and a loop that trains after every second one."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Project(tmp_path_factory.mktemp("replay"), instance)
        made.spec_dict["retrain"] = {"on": [{"new_batches": 2}], "min_batches": 3}
        for batch in BATCHES:
            (made.source / f"loans_{batch}.parquet").write_bytes(batch.encode())
        yield made


@dataclass
class Replayed:
    """A replay that is over, and what was said meanwhile."""

    made: Replay
    said: list[tuple[int, int, str]]


def replayed(project: Project, *broken: tuple[str, str]) -> Replayed:
    def build(spec: PipelineSpec, _: Path, paths: Paths) -> dg.Definitions:
        return Graph(spec, paths, frozenset(broken)).definitions()

    said: list[tuple[int, int, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "build_pipeline", build)
        pipeline = MLPipeline(project.spec, project.root)
        return Replayed(replay(pipeline, project.paths, None, lambda *words: said.append(words)), said)


@pytest.fixture(scope="module")
def whole(project: Project) -> Replayed:
    return replayed(project)


def test_the_loop_a_frozen_model_and_training_every_time_see_the_same_batches(whole: Replayed) -> None:
    made = whole.made
    assert (made.first, made.later, made.frozen) == (BATCHES[:3], BATCHES[3:], "1.0.0")
    champions = {arm: list(made.outcomes[arm].champions.values()) for arm in (LOOP, ALWAYS)}
    assert champions == {LOOP: ["1.0.0", "1.0.0", "1.0.1"], ALWAYS: ["1.0.0", "1.0.1", "1.0.2"]}
    scores = {arm: [made.score(arm, batch) for batch in made.later] for arm in (LOOP, ALWAYS, FROZEN)}
    assert {arm: [one and one.value for one in of_arm] for arm, of_arm in scores.items()} == {
        LOOP: pytest.approx([0.9, 0.8, 0.9]),
        ALWAYS: pytest.approx([0.9, 0.9, 0.9]),
        FROZEN: pytest.approx([0.9, 0.8, 0.7]),
    }
    trained = {arm: [(one.batch, one.trigger, one.version) for one in made.trainings(arm)] for arm in (LOOP, ALWAYS)}
    assert trained == {
        LOOP: [("5", "new_batches", "1.0.1")],
        ALWAYS: [("4", "new_batches", "1.0.1"), ("5", "new_batches", "1.0.2"), ("6", "new_batches", "1.0.3")],
    }
    assert [(one.trigger, one.why, one.decision) for one in made.outcomes[LOOP].trainings] == [
        ("first", "0 came", "promoted"),
        ("new_batches", "2 came", "promoted"),
    ]


def test_batches_come_by_turns_and_each_step_is_said(whole: Replayed) -> None:
    first = [(0, 3, "3, loop: ingest")] * 3 + [(0, 3, "3, loop: train (first)")]
    assert whole.said == [
        *first,
        (0, 3, "4, loop: ingest"),
        (0, 3, "4, always: ingest"),
        (0, 3, "4, always: train (new_batches)"),
        (1, 3, "5, loop: ingest"),
        (1, 3, "5, loop: train (new_batches)"),
        (1, 3, "5, always: ingest"),
        (1, 3, "5, always: train (new_batches)"),
        (2, 3, "6, loop: ingest"),
        (2, 3, "6, always: ingest"),
        (2, 3, "6, always: train (new_batches)"),
        (3, 3, "done"),
    ]


def test_a_training_that_fails_is_a_row_and_any_other_run_ends_the_replay(project: Project) -> None:
    made = replayed(project, ("train", "5")).made
    assert [(one.decision, one.version) for one in made.trainings(LOOP)] == [("failed", None), ("promoted", "1.0.1")]
    with pytest.raises(LakeError, match=r"A run of loans_ingest failed after batch 4(?s:.)*ingest of 4 is broken"):
        replayed(project, ("ingest", "4"))


def test_without_a_first_champion_there_is_nothing_to_compare(project: Project) -> None:
    with pytest.raises(ModelError, match="The batches 1 to 3 make no champion") as raised:
        replayed(project, ("train", "3"))
    assert raised.value.found == "no training was started"


def test_sensors_that_never_rest_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.op
    def nothing() -> None:
        pass

    @dg.job
    def again() -> None:
        nothing()

    @dg.sensor(job=again)
    def restless(context: dg.SensorEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(context.cursor)

    monkeypatch.setattr(drive, "MAX_ROUNDS", 3)
    with dg.DagsterInstance.ephemeral() as instance:
        driver = drive.Driver(dg.Definitions(jobs=[again], sensors=[restless]), instance)
        with pytest.raises(MLAssetsError, match="still ask for runs after 3 rounds") as raised:
            driver.settle()
    assert raised.value.found == "restless: again, restless: again, restless: again"
