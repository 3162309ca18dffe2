"""A replay: the batches of a pipeline arrive again, in order, in lakes of their own, under two rules of retraining.

The first batches train a first champion, the same for all. Each further batch then arrives, is scored by the champion
of that moment, and only afterwards may start a training. Compared are the loop as the YAML has it, the first champion
frozen, and a training after every batch.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg

from ml_assets.atomic import written_file
from ml_assets.component import MLPipeline, build_pipeline
from ml_assets.errors import LakeError, ModelError, SourceError, did_you_mean
from ml_assets.graph.ingest import files
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.replay.drive import Driver, Ran
from ml_assets.replay.result import ALWAYS, LOOP, Replay, read_arm
from ml_assets.spec import PipelineSpec, Source
from ml_assets.spec.data import Outcomes
from ml_assets.spec.operation import Alerts, Deploy, NewBatches, Retrain, Serving
from ml_assets.tables import decisions, retrain_events, versions

INCOMING, OUTCOMES = "incoming", "outcomes"
# Progress: batches done, of how many, and what is going on.
Say = Callable[[int, int, str], None]


@dataclass
class Arm:
    """One rule of retraining at work, with a lake and a Dagster instance of its own.

    Args:
        name: loop or always.
        spec: The pipeline, in the replay's folders.
        folder: Where its SQL files lie.
        paths: Folders of its lake.
        instance: Its Dagster instance.
        ran: Every run that its sensors requested: the batch that had just arrived, and the run.
    """

    name: str
    spec: PipelineSpec
    folder: Path
    paths: Paths
    instance: dg.DagsterInstance
    ran: list[tuple[str, Ran]] = field(default_factory=list)

    def driver(self) -> Driver:
        """Sensors and jobs of the spec as it is now."""
        defs = build_pipeline(self.spec, self.folder, self.paths)
        return Driver(dg.Definitions.merge(defs, dg.Definitions(executor=dg.in_process_executor)), self.instance)


def replay(pipeline: MLPipeline, paths: Paths, start: str | None, say: Say) -> Replay:
    """Let the batches of a pipeline's source arrive again.

    Args:
        pipeline: The pipeline.
        paths: Folders of the project; the replay writes to `data/replay/<pipeline>` and begins it anew.
        start: The first batch that is scored; those before it train the first champion. Default: the first after
            `retrain.min_batches`.
        say: Told of the progress.

    Raises:
        SourceError: There are too few batches, or none of that name.
        ModelError: The first batches make no champion.
    """
    arriving, late = arrivals(pipeline.spec, paths, pipeline.spec.source), {}
    if pipeline.spec.outcomes:
        late = arrivals(pipeline.spec, paths, pipeline.spec.outcomes)
    first, later = divided(list(arriving), start, pipeline.spec.retrain.min_batches)
    root = paths.data / "replay" / pipeline.spec.name
    shutil.rmtree(root, ignore_errors=True)
    spec = sandboxed(pipeline.spec, root)
    with contextlib.ExitStack() as stack:
        instances = [stack.enter_context(dg.DagsterInstance.ephemeral()) for _ in (LOOP, ALWAYS)]
        loop = Arm(LOOP, spec, pipeline.folder, Paths(paths.root, root / LOOP), instances[0])
        for batch in first:
            arrive(arriving[batch], root / INCOMING)
        for batch in set(late) - set(later):
            arrive(late[batch], root / OUTCOMES)
        _drive(loop, loop.driver(), first[-1], lambda text: say(0, len(later), text))
        frozen = _champion(loop, first)
        always = _fork(loop, instances[1], root / ALWAYS)
        loop.spec = loop.spec.model_copy(update={"serving": Serving(shadow=[frozen])})
        always.spec = always.spec.model_copy(
            update={"retrain": Retrain(on=[NewBatches(new_batches=1)], cooldown_batches=0, min_rows=0)}
        )
        drivers = [(arm, arm.driver()) for arm in (loop, always)]
        for done, batch in enumerate(later):
            for delivery, folder in ((arriving[batch], INCOMING), (late.get(batch), OUTCOMES)):
                if delivery is None:
                    continue
                arrive(delivery, root / folder)
                for arm, driver in drivers:
                    _drive(arm, driver, batch, lambda text, done=done: say(done, len(later), text))  # type: ignore[misc]
        say(len(later), len(later), "done")
        return Replay(
            spec, first, later, frozen, {arm.name: read_arm(arm.paths, arm.spec, arm.ran) for arm, _ in drivers}
        )


def arrivals(spec: PipelineSpec, paths: Paths, source: Source | Outcomes) -> dict[str, files.Delivery]:
    """Batch that a file's name says -> its files on this machine, in the order of the names; '' where it says none.

    Raises:
        SourceError: The source cannot be listed.
    """
    place = files.place_of(spec, paths, source)
    update = {"settle_seconds": 0} | ({"marker": None} if isinstance(source, Source) else {})
    found = [one for one in files.scan(source.model_copy(update=update), place, {}) if one.status == "ready"]
    batches = sorted({one.batch or "" for one in found})
    return {batch: files.deliver(place, [one for one in found if (one.batch or "") == batch]) for batch in batches}


def divided(batches: Sequence[str], start: str | None, min_batches: int) -> tuple[list[str], list[str]]:
    """The batches that train the first champion, and those that are replayed.

    Raises:
        SourceError: One of the two would be empty, or there is no batch `start`.
    """
    if len(batches) <= min_batches and (start is None or start in batches):
        raise SourceError(
            f"A replay needs more than {min_batches} batches (retrain.min_batches).",
            found=", ".join(batches) or "no files",
            fix="Let more files arrive, or lower retrain.min_batches.",
        )
    start = start or batches[min_batches]
    if start not in batches:
        raise SourceError(f"The source has no batch {start!r}.", fix=did_you_mean(start, batches))
    place = batches.index(start)
    if place < min_batches:
        raise SourceError(
            f"{place} batches before {start} are fewer than retrain.min_batches, {min_batches}.",
            fix=f"Begin with {batches[min_batches]} or later.",
        )
    return list(batches[:place]), list(batches[place:])


def sandboxed(spec: PipelineSpec, root: Path) -> PipelineSpec:
    """The pipeline with a source of its own, and without anything that a person or another system would notice."""
    source = spec.source.model_copy(
        update={"path": str(root / INCOMING), "settle_seconds": 0, "marker": None, "options": {}}
    )
    gates = spec.gates.model_copy(update={"approval": "auto"})
    late = spec.outcomes
    if late is not None:
        late = late.model_copy(update={"path": str(root / OUTCOMES), "settle_seconds": 0, "options": {}})
        (root / OUTCOMES).mkdir(parents=True, exist_ok=True)
    return spec.model_copy(
        update={
            "source": source,
            "outcomes": late,
            "gates": gates,
            "alerts": Alerts(),
            "deploy": Deploy(),
            "tracking": None,
            "serving": Serving(),
        }
    )


def arrive(delivery: files.Delivery, incoming: Path) -> None:
    """Let the files of one batch arrive."""
    for local, name in zip(delivery.local, delivery.names, strict=True):
        target = incoming / name
        with written_file(target) as new:
            shutil.copy2(local, new)


def _drive(arm: Arm, driver: Driver, batch: str, say: Callable[[str], None]) -> None:
    def progress(job: str, tags: Mapping[str, str]) -> None:
        why = tags.get("ml_assets/retrain", "")
        say(f"{batch}, {arm.name}: {job.removeprefix(arm.spec.name + '_')}{f' ({why})' if why else ''}")

    driver.say = progress
    ran = driver.settle()
    arm.ran += [(batch, one) for one in ran]
    for one in ran:
        if one.error and not one.job.endswith("_train"):  # the table shows a training that failed
            raise LakeError(f"A run of {one.job} failed after batch {batch}.", found=one.error)


def _champion(arm: Arm, first: Sequence[str]) -> str:
    with Lake.of(arm.paths, read_only=True) as lake:
        champion = versions.alias(lake, arm.spec.name, "champion")
        decision = decisions.newest(lake, arm.spec.name)
        events = retrain_events.read(lake, arm.spec.name, limit=1)
    if champion is None:
        why = f"{decision.version}: {decision.why}" if decision else "".join(f"{e.decision}: {e.why}" for e in events)
        raise ModelError(
            f"The batches {first[0]} to {first[-1]} make no champion.",
            found=why or "no training was started",
            where={"pipeline": arm.spec.name, "lake": arm.paths.lake},
            fix="Begin with a later batch: --from.",
        )
    return champion.version


def _fork(arm: Arm, instance: dg.DagsterInstance, folder: Path) -> Arm:
    """The same state under another name, to go on differently."""
    shutil.copytree(arm.paths.data, folder)
    partitions = f"{arm.spec.name}_batches"
    instance.add_dynamic_partitions(partitions, list(arm.instance.get_dynamic_partitions(partitions)))
    return replace(arm, name=ALWAYS, paths=Paths(arm.paths.root, folder), instance=instance, ran=list(arm.ran))
