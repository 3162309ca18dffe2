"""A pipeline run from the command line: which Dagster commands, for which batches.

What is due is read from the lake each time, so that a command that was interrupted continues where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
from rich.console import Console

from ml_assets.component import build_pipeline
from ml_assets.dagster_commands import execute_job, materialize
from ml_assets.errors import BatchRefused, did_you_mean
from ml_assets.graph.batches import ranges
from ml_assets.graph.deployment.backlog import backlog
from ml_assets.graph.retraining.sensors import Decided, decide_now
from ml_assets.graph.staleness.facts import Files, PipelineFacts, read_facts
from ml_assets.graph.staleness.nodes import nodes_of
from ml_assets.graph.staleness.states import AssetState, Node, evaluate
from ml_assets.home import prepare_home
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.launcher import open_instance
from ml_assets.loading import load_pipeline
from ml_assets.tables import training_sets, versions
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.data import FEATURES, RAW_DATA
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.outcomes import OUTCOMES
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.predictions import PREDICTIONS

TO = "..."  # between the ends of a range, as in Dagster
WATCHED = (PREDICTIONS, DRIFT, PERFORMANCE)


class PipelineRunner:
    """Runs parts of one pipeline's graph as Dagster's own commands.

    Args:
        paths: Folders of the project.
        console: Shows the commands and their progress.
        pipeline: Its name.

    Raises:
        UnknownPipeline: The project has no such pipeline.
        SpecError: It cannot be loaded.
    """

    def __init__(self, paths: Paths, console: Console, pipeline: str) -> None:
        self.paths, self.console, self.pipeline = paths, console, pipeline
        found = load_pipeline(paths.root, pipeline)
        self.home: Path = prepare_home(paths, console.print)
        self.spec = found.spec
        made = build_pipeline(found.spec, found.folder, paths, found.positions, found.get_asset_spec)
        self.nodes: Mapping[str, Node] = nodes_of(made.resolve_all_asset_specs())

    def register(self) -> bool:
        """Scan the source folder, so that Dagster knows its batches; read new files of outcomes, if there are any."""
        names = [ARRIVALS.name, *([OUTCOMES.name] if f"{self.pipeline}/{OUTCOMES.name}" in self.nodes else [])]
        return self._materialize(names)

    def ingest(self, batches: Sequence[str]) -> bool:
        """Everything up to the features, of some batches."""
        verdicts, _ = self._verdicts()
        made = dict.fromkeys(one.asset_name for one in verdicts if self.nodes[one.asset].kind == "rebuilt")
        names = [name for name in made if name != ARRIVALS.name]
        return self._over(batches, names)

    def train(self, tags: Mapping[str, str] | None = None) -> bool:
        """A training, from the training set to the decision.

        Args:
            tags: Of the run, such as those that name the decision to train.
        """
        return execute_job(self.paths, self.console, f"{self.pipeline}_train", tags, log_name="run")

    def is_training_due(self) -> Decided:
        """Decide by the rules under `retrain`, as the sensor does, and record the decision."""
        with self._instance() as instance:
            return decide_now(instance, self.spec, self.paths, versions.user())

    def score(self, batches: Sequence[str], version: str | None = None) -> bool:
        """Predictions of some batches, and what is measured on them.

        Args:
            batches: With features.
            version: Score with this version and keep the rows of all others; None: the champion.
        """
        names = [table.name for table in WATCHED if version is None or table is not DRIFT]
        config = {"ops": {f"{self.pipeline}__predictions": {"config": {"version": version}}}}
        more = ["--config-json", json.dumps(config)] if version else []
        return self._over(batches, names, more)

    def to_ingest(self) -> list[str]:
        """Batches that are new, have changed, or were made by old code. What failed waits for another file or code."""
        verdicts, facts = self._verdicts()
        return sorted({str(one.batch) for one in verdicts if one.batch is not None and self._is_due(one, facts)})

    def to_score(self, ingested: Sequence[str] = ()) -> list[str]:
        """Batches that wait for scores, and of those that were just ingested all that the champion does not know."""
        with Lake.of(self.paths, read_only=True) as lake:
            champion = versions.alias(lake, self.pipeline, "champion")
            if champion is None:
                return []
            known = training_sets.newest(lake, self.pipeline, pin_id=champion.pin_id).all_batches
            again = set(lake.batches(FEATURES.of(self.pipeline))).intersection(ingested).difference(known)
            return sorted({*backlog(lake, self.pipeline), *again})

    def arrived(self, named: Sequence[str]) -> list[str]:
        """The batches that words such as `2013-02` or `2013-01...2013-12` name, of those that have arrived.

        Raises:
            BatchRefused: One of them has not.
        """
        return chosen(named, self._verdicts()[1].batches(), self.pipeline, "No file has arrived of a batch")

    def with_features(self, named: Sequence[str]) -> list[str]:
        """The same, of those with features.

        Raises:
            BatchRefused: One of them has none.
        """
        return chosen(named, self._with_features(), self.pipeline, "There are no features of a batch")

    def failed(self) -> dict[str, str]:
        """Batch -> the first line of its newest error, of batches whose newest attempt failed."""
        verdicts, _ = self._verdicts()
        return {one.batch: one.why.partition("\n")[0] for one in verdicts if one.state == "failed" and one.batch}

    def _with_features(self) -> list[str]:
        with Lake.of(self.paths, read_only=True) as lake:
            name = FEATURES.of(self.pipeline)
            return lake.batches(name) if lake.exists(name) else []

    def _instance(self) -> AbstractContextManager[dg.DagsterInstance]:
        return open_instance(self.home)

    def _is_due(self, one: AssetState, facts: PipelineFacts) -> bool:
        if one.redo:
            return True
        is_there = bool(facts.files.get(str(one.batch), Files()).ready)
        return one.asset_name == RAW_DATA.name and one.state in ("missing", "stale") and is_there

    def _verdicts(self) -> tuple[list[AssetState], PipelineFacts]:
        with Lake.of(self.paths, read_only=True) as lake:
            facts = read_facts(lake, self.pipeline)
        return evaluate(self.nodes, facts), facts

    def _over(self, batches: Sequence[str], names: Sequence[str], more: Sequence[str] = ()) -> bool:
        """One command for neighbours in the order in which Dagster knows the batches; a failed one stops no other."""
        with self._instance() as instance:
            registered = instance.get_dynamic_partitions(f"{self.pipeline}_batches")
        done = [self._materialize(names, some, more) for some in ranges(registered, set(batches))]
        return all(done)

    def _materialize(self, names: Sequence[str], batches: Sequence[str] = (), more: Sequence[str] = ()) -> bool:
        arguments = ["--select", ",".join(f'key:"{self.pipeline}/{name}"' for name in names)]
        if len(batches) == 1:
            arguments += ["--partition", batches[0]]
        elif batches:
            arguments += ["--partition-range", f"{batches[0]}{TO}{batches[-1]}"]
        return materialize(self.paths, self.console, [*arguments, *more], log_name="run")


def chosen(named: Sequence[str], known: Sequence[str], pipeline: str, problem: str) -> list[str]:
    """Batches by name or as ranges, in order.

    Args:
        named: Such as `2013-02` or `2013-01...2013-12`; both ends have to be known.
        known: Batches that there are, in order.
        pipeline: For the error.
        problem: What is wrong with a name that is not known.

    Raises:
        BatchRefused: A name is not known, or a range ends before it begins.
    """
    found: set[str] = set()
    for word in named:
        first, _, last = word.partition(TO)
        last = last or first
        for name in (first, last):
            if name not in known:
                raise BatchRefused(
                    f"{problem} {name!r}.",
                    where={"pipeline": pipeline},
                    fix=did_you_mean(name, known) if known else f"`ml-assets ingest {pipeline}` reads what is there.",
                )
        if last < first:
            raise BatchRefused(f"The range {word} ends before it begins.", fix=f"Write {last}{TO}{first}.")
        found.update(name for name in known if first <= name <= last)
    return sorted(found)
