"""An evaluation as files beside each other: our report, Evidently's and the model card; and as numbers to plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_assets.lake.paths import Paths
from ml_assets.reporting.evaluation_evidently import write_evidently
from ml_assets.reporting.evaluation_report import write_report
from ml_assets.reporting.model_card import model_card
from ml_assets.reporting.plots import Figure
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import Evaluation, Finding
from ml_assets.tables.training_sets import Pin
from ml_assets.tables.versions import ModelVersion


@dataclass(frozen=True)
class Reports:
    """Names of one evaluation's files among the reports."""

    evaluation: str
    evidently: str
    card: str

    @classmethod
    def of(cls, pipeline: str, version: str) -> Reports:
        return cls(*(f"{pipeline}/evaluation/{version}.{end}" for end in ("html", "evidently.html", "md")))


def publish(
    paths: Paths,
    spec: PipelineSpec,
    model: ModelVersion,
    pin: Pin,
    evaluation: Evaluation,
    searches: Sequence[Figure] = (),
) -> Reports:
    """Write the reports of an evaluation.

    Args:
        paths: Where reports are kept.
        spec: The pipeline.
        model: The version.
        pin: Its training set.
        evaluation: What was found.
        searches: Plots of the search.
    """
    reports, store = Reports.of(spec.name, model.version), paths.artifacts.reports
    with store.put(reports.evidently) as file:
        write_evidently(evaluation.judged, file, spec.tuning.seed)
    with store.put(reports.card) as file:
        file.write_text(model_card(spec, model, pin, evaluation.found, evaluation.suspects), encoding="utf-8")
    links = {"model card": Path(reports.card).name, "Evidently's report": Path(reports.evidently).name}
    with store.put(reports.evaluation) as file:
        write_report(file, spec, model, pin, evaluation, searches, links)
    return reports


def plotted(found: Sequence[Finding]) -> dict[str, float]:
    """Numbers that Dagster plots over the versions; those that are not defined are left out."""
    scopes = ("gain_over_baseline", "gain_over_champion", "cost", "saved_over_baseline", "saved_over_champion")
    of_metric = ("train", "noise", "missing", "calibration", "identical")
    numbers = {f"test_{f.metric}": f.value for f in found if f.scope == "test"}
    numbers |= {f.scope: f.value for f in found if f.scope in scopes}
    numbers |= {f"{f.scope}_{f.metric}": f.value for f in found if f.scope in of_metric and f.slice_by is None}
    numbers |= {f"fairness_gap_{f.slice_by}": f.value for f in found if f.scope == "fairness"}
    for scope, name in (("importance", "largest_importance"), ("single", "largest_single")):
        values = [f.value for f in found if f.scope == scope and not math.isnan(f.value)]
        numbers |= {name: max(values)} if values else {}
    return {name: round(value, 6) for name, value in numbers.items() if not math.isnan(value)}
