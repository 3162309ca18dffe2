"""The triggers of retraining: a class for each, and nothing else to write for another one but its word in the YAML.

A trigger names its evidence, and says where it comes from, whether the YAML names it, and what settles it. Whether a
training starts because of it is the same for all (rules.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ml_assets.errors import SourceError
from ml_assets.graph.retraining.situation import Situation, TrainingReason
from ml_assets.lake.lake import Lake
from ml_assets.sources import evidently_reports
from ml_assets.sources.evidently_reports import ForeignReport
from ml_assets.spec.operation import NewBatches, Retrain
from ml_assets.tables import drift, performance, remembered
from ml_assets.tables.table import is_online

Calm = frozenset[str]


class Trigger:
    """A cause of trainings; a subclass overrides what it differs in. Its name is stored with each decision."""

    name: ClassVar[str]
    # The word of `retrain.on` that turns it on; None where it needs none.
    word: ClassVar[str | None] = None
    # Its evidence is in no table: what waits lives on in the row that says so.
    carried: ClassVar[bool] = False
    # A training set that has the evidence's batches settles it, whatever that training was started for.
    settled_by_batches: ClassVar[bool] = False

    def is_configured(self, rules: Retrain) -> bool:
        """Does the YAML turn it on?"""
        return self.word is None or self.word in rules.on

    def read(self, lake: Lake, pipeline: str, champion: str | None) -> tuple[list[TrainingReason], Calm]:  # noqa: ARG002
        """Its evidence in the lake's tables, settled or not, and the batches that were judged and found calm."""
        return [], frozenset()

    def derive(self, rules: Retrain, now: Situation) -> list[TrainingReason]:  # noqa: ARG002
        """Its evidence that follows from what was done so far."""
        return []


class First(Trigger):
    """There is no champion yet: starts the first training, and after a failed one another with each new batch."""

    name = "first"

    def derive(self, rules: Retrain, now: Situation) -> list[TrainingReason]:
        last = now.last
        if now.champion is not None or not rules.on or not now.arrivals:
            return []
        if last is not None and (last.state == "running" or last.decision == "pending"):
            return []
        text = "no version has been trained yet" if last is None else "no version has become champion yet"
        return [TrainingReason(self.name, f"first {max(now.arrivals.values())}", text)]


class Drift(Trigger):
    """Batches that have drifted from what the champion was trained on."""

    name = word = "drift"
    settled_by_batches = True

    def read(self, lake: Lake, pipeline: str, champion: str | None) -> tuple[list[TrainingReason], Calm]:
        """A batch without a verdict is neither evidence nor calm.

        Nor is a day of real-time use that an earlier champion was asked: no training set ever has it, which would
        settle it.
        """
        rows = [
            row
            for row in remembered.rows(lake, drift.DRIFT, pipeline, f"SELECT {drift.SUMMARY} FROM {{t}}")
            if row["drifted"] is not None and (row["model_version"] == champion or not is_online(row["batch"]))
        ]
        found = []
        for row in rows:
            if row["drifted"]:
                weighted = row["weighted_share"] is not None
                measure = row["weighted_share"] if weighted else row["share"]
                of = "of the model's importance" if weighted else "of the columns"
                limit = "" if row["share_limit"] is None else f", limit {row['share_limit']:.0%}"
                text = f"batch {row['batch']} has drifted ({measure or 0:.0%} {of}{limit})"
                key = f"drift {row['batch']} {row['model_version']}"
                found.append(TrainingReason(self.name, key, text, (row["batch"],), measure))
        return found, frozenset(row["batch"] for row in rows if not row["drifted"])


class Decay(Trigger):
    """Batches on which the live score of today's champion is below its test score."""

    name = word = "decay"
    settled_by_batches = True

    def read(self, lake: Lake, pipeline: str, champion: str | None) -> tuple[list[TrainingReason], Calm]:
        verdicts = performance.verdicts(lake, pipeline, champion) if champion else []
        rows = [row for row in verdicts if row["decayed"] is not None]
        found = [
            TrainingReason(
                self.name,
                f"decay {row['batch']} {row['model_version']}",
                f"{row['model_version']} scores {row['metric']} {row['value'] or 0:.4g} on batch {row['batch']}"
                + ("" if row["test_score"] is None else f", test score {row['test_score']:.4g}"),
                (row["batch"],),
                row["drop"],
            )
            for row in rows
            if row["decayed"]
        ]
        return found, frozenset(row["batch"] for row in rows if not row["decayed"])


class EnoughBatches(Trigger):
    """As many new batches as the YAML says."""

    name = "new_batches"

    def derive(self, rules: Retrain, now: Situation) -> list[TrainingReason]:
        configured = [one.new_batches for one in rules.on if isinstance(one, NewBatches)]
        last = now.last_good
        if not configured or last is None:
            return []
        new = now.new_batches(last)
        if len(new) < min(configured):
            return []
        text = f"{len(new)} new batches since the last training"
        return [TrainingReason(self.name, f"new_batches {last.snapshot}", text, tuple(sorted(new)))]


class Report(Trigger):
    """Drift in a report that another job made with Evidently; the sensor hands it in."""

    name = "report"
    word = "drift"
    carried = True

    @classmethod
    def scan(cls, folder: Path, stamps: Mapping[str, Any]) -> tuple[list[TrainingReason], dict[str, Any]]:
        """Evidence in the reports that are new in a folder, and the stamps of all that were ever read.

        Args:
            folder: Of the reports.
            stamps: From the scan before.
        """
        try:
            found = evidently_reports.scan(folder, dict(stamps))
        except SourceError as error:
            if str(folder) in stamps:
                return [], dict(stamps)
            missing = TrainingReason(cls.name, f"report {folder}", str(error), error=True)
            return [missing], {**stamps, str(folder): [0, 0, ""]}
        there = {name: stamp for name, stamp in stamps.items() if name != str(folder)}
        return cls.evidence(found), there | {report.file: list(report.stamp) for report in found}

    @classmethod
    def evidence(cls, found: Iterable[ForeignReport]) -> list[TrainingReason]:
        """Reports that say drift, or that cannot be read; calm ones are no evidence."""
        evidence = []
        for report in found:
            key = f"report {report.sha256 or report.file}"
            if report.error:
                evidence.append(TrainingReason(cls.name, key, f"{report.file}: {report.error}", error=True))
            elif report.drifted:
                share = "" if report.share is None else f" ({report.share:.0%} of its columns)"
                text = f"report {report.file} says drift{share}"
                evidence.append(TrainingReason(cls.name, key, text, measure=report.share))
        return evidence


class Cron(Trigger):
    """The schedule of `retrain.cron`, which hands it in."""

    name = "cron"
    carried = True

    @classmethod
    def evidence(cls, moment: dt.datetime) -> TrainingReason:
        """That the schedule's moment has come."""
        text = moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        return TrainingReason(cls.name, f"cron {text}", f"the schedule of {text}")


# In the order in which a decision names them.
TRIGGERS: Mapping[str, Trigger] = {
    one.name: one for one in (First(), Drift(), Decay(), EnoughBatches(), Report(), Cron())
}
