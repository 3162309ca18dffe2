"""The result of a replay: scores by batch, trainings and their cost, as rows for people and machines."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ml_assets.atomic import written_file
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.metrics import METRICS, Metric
from ml_assets.replay.drive import Ran
from ml_assets.spec import PipelineSpec
from ml_assets.tables import decisions, performance
from ml_assets.tables.decisions import Decision

LOOP, ALWAYS, FROZEN = "loop", "always", "frozen"
COLUMNS = (
    *("batch", "rows", "frozen", "frozen_low", "frozen_high"),
    *("loop", "loop_low", "loop_high", "loop_version"),
    *("always", "always_low", "always_high", "always_version"),
    *("trained_after", "why", "train_seconds"),
)


@dataclass(frozen=True)
class BatchScore:
    """A live score: of one version on the rows of one batch whose outcome is known."""

    version: str
    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class ReplayedTraining:
    """One training that the sensors requested.

    Args:
        batch: The batch that had just arrived.
        trigger: What requested it.
        why: In a sentence.
        version: The new version; None where the training failed.
        decision: What was decided about it: promoted, refused, ...; failed where there is no decision.
        seconds: Wall time of its run.
        cpu_seconds: CPU time of its run.
    """

    batch: str
    trigger: str
    why: str
    version: str | None
    decision: str
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule of retraining.

    Args:
        scores: Batch -> version -> its score.
        champions: Batch -> the champion that scored it.
        trainings: In order, the first champion's among them.
        ingest_seconds: Wall time of all other runs.
    """

    scores: dict[str, dict[str, BatchScore]]
    champions: dict[str, str]
    trainings: list[ReplayedTraining]
    ingest_seconds: float

    def of_champion(self, batch: str) -> BatchScore | None:
        """The score of the champion."""
        return self.scores.get(batch, {}).get(self.champions.get(batch, ""))


@dataclass(frozen=True)
class Replay:
    """A whole replay.

    Args:
        spec: The pipeline.
        first: Batches that trained the first champion.
        later: Batches that were replayed.
        frozen: Version of the first champion.
        outcomes: loop, always -> its result.
    """

    spec: PipelineSpec
    first: list[str]
    later: list[str]
    frozen: str
    outcomes: dict[str, RuleResult]

    @property
    def metric(self) -> Metric:
        """The metric of live predictions."""
        return METRICS[self.spec.performance_metric]

    def score(self, arm: str, batch: str) -> BatchScore | None:
        """The live score of the loop, the frozen model or the training after every batch."""
        if arm == FROZEN:
            return self.outcomes[LOOP].scores.get(batch, {}).get(self.frozen)
        return self.outcomes[arm].of_champion(batch)

    def compared(self) -> list[str]:
        """Batches on which all three have a score."""
        return [batch for batch in self.later if all(self.score(arm, batch) for arm in (LOOP, FROZEN, ALWAYS))]

    def mean(self, arm: str) -> float:
        """Mean over the batches on which all three have a score; NaN where there are none."""
        scores = [self.score(arm, batch) for batch in self.compared()]
        return fmean(score.value for score in scores if score) if scores else math.nan

    def trainings(self, arm: str) -> list[ReplayedTraining]:
        """Trainings after the first champion."""
        if arm == FROZEN:
            return []
        return [training for training in self.outcomes[arm].trainings if training.batch in self.later]

    def gain(self, arm: str, batch: str) -> float:
        """By how much better than the frozen model, whichever way the metric goes."""
        one, other = self.score(arm, batch), self.score(FROZEN, batch)
        if one is None or other is None:
            return math.nan
        return self.metric.gain(one.value, other.value)

    def rows(self) -> list[dict[str, Any]]:
        """One row a batch, with `COLUMNS`; trainings are those of the loop."""
        found = []
        for batch in self.later:
            row: dict[str, Any] = {"batch": batch}
            for arm in (FROZEN, LOOP, ALWAYS):
                score = self.score(arm, batch)
                if score is not None:
                    row |= {"rows": score.rows, arm: score.value, f"{arm}_low": score.low, f"{arm}_high": score.high}
                    row |= {f"{arm}_version": score.version} if arm != FROZEN else {}
            after = [training for training in self.trainings(LOOP) if training.batch == batch]
            row["trained_after"] = ", ".join(f"{one.version or 'none'} {one.decision} ({one.trigger})" for one in after)
            row["why"] = "; ".join(one.why or one.trigger for one in after)
            row["train_seconds"] = round(sum(one.seconds for one in after), 1)
            found.append({name: row.get(name) for name in COLUMNS})
        return found

    def write_csv(self, file: Path) -> None:
        """The rows as a file; it appears whole or not at all."""
        with written_file(file) as new, new.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows())


def read_arm(paths: Paths, spec: PipelineSpec, ran: Sequence[tuple[str, Ran]]) -> RuleResult:
    """Scores and trainings of one rule, out of its lake."""
    with Lake.of(paths, read_only=True) as lake:
        measured = performance.scores(lake, spec.name, spec.performance_metric)
        decided = {made.run_id: made for made in decisions.decisions(lake, spec.name)}
    scores: dict[str, dict[str, BatchScore]] = {}
    champions = {}
    for row in measured:
        score = BatchScore(row["model_version"], row["value"], _number(row["low"]), _number(row["high"]), row["rows"])
        scores.setdefault(row["batch"], {})[score.version] = score
        if row["role"] == "champion":
            champions[row["batch"]] = score.version
    trains = f"{spec.name}_train"
    return RuleResult(
        scores,
        champions,
        [_training(batch, one, decided.get(one.run_id)) for batch, one in ran if one.job == trains],
        sum(one.seconds for _, one in ran if one.job != trains),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _training(batch: str, ran: Ran, decided: Decision | None) -> ReplayedTraining:
    return ReplayedTraining(
        batch,
        ran.tags.get("ml_assets/retrain", ""),
        ran.tags.get("ml_assets/why", ""),
        decided.version if decided else None,
        decided.decision if decided else "failed",
        ran.seconds,
        ran.cpu_seconds,
    )
