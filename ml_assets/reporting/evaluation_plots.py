"""The plot of an evaluation that Dagster shows inside a materialization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ml_assets import metrics
from ml_assets.ml import calibration
from ml_assets.ml.judged import Judged
from ml_assets.reporting.plots import BLUE, GREEN, GREY, as_markdown, new_figure
from ml_assets.tables.evaluations import EvaluatedNumber, Evaluation

SHOWN = 15  # of slices, features or classes; a plot of more cannot be read
DOTS = 3000


def evaluation_plot(evaluation: Evaluation) -> str:
    """A Markdown image: how well predictions match outcomes, and the metric per slice."""
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    judged = evaluation.judged
    if judged.schema.kind == "regression":
        _against_outcome(left, judged)
    else:
        _calibration(left, judged)
    found = [finding for finding in evaluation.found if finding.scope == "slice"]
    if found:
        _forest(right, found, judged)
    else:
        right.set_axis_off()
    return as_markdown(figure, f"evaluation of version {judged.version}")


def shown(found: Sequence[EvaluatedNumber], metric: str) -> tuple[list[EvaluatedNumber], int]:
    """The largest and the worst slices that have a value, by column from worst to best; how many are left out."""
    sign = 1 if metric == "selection_rate" else metrics.METRICS[metric].sign
    defined = [f for f in found if not math.isnan(f.value)]
    largest = sorted(defined, key=lambda f: -f.rows)[: SHOWN // 2 + 1]
    worst = sorted((f for f in defined if f not in largest), key=lambda f: sign * f.value)[: SHOWN - len(largest)]
    chosen = sorted(largest + worst, key=lambda f: (str(f.slice_by), sign * f.value))
    return chosen, len(found) - len(chosen)


def _ends(found: Sequence[EvaluatedNumber]) -> tuple[list[float], list[float]]:
    """Both ends of each interval; of a missing one, the value."""
    pairs = [(f.value if _open(f.low) else f.low, f.value if _open(f.high) else f.high) for f in found]
    return [float(low or 0) for low, _ in pairs], [float(high or 0) for _, high in pairs]


def _open(end: float | None) -> bool:
    return end is None or math.isnan(end)


def _calibration(axes: Any, judged: Judged) -> None:
    predicted, observed, _ = calibration.curve(*judged.probabilities())
    axes.plot([0, 1], [0, 1], color=GREY, lw=1)
    axes.plot(predicted, observed, marker="o", color=BLUE)
    axes.set(title="Calibration on test rows", xlabel="predicted probability", ylabel="observed share")


def _against_outcome(axes: Any, judged: Judged) -> None:
    step = -(-len(judged.labels) // DOTS)
    axes.scatter(judged.labels[::step], judged.scores[::step], s=6, alpha=0.5, color=BLUE)
    axes.axline((float(judged.labels.mean()),) * 2, slope=1, color=GREY)
    axes.set(title="Test rows", xlabel="outcome", ylabel="prediction")


def _forest(axes: Any, found: Sequence[EvaluatedNumber], judged: Judged) -> None:
    metric = found[0].metric
    chosen, _ = shown(found, metric)
    places = range(len(chosen))
    colours = [(BLUE, GREEN)[list(dict.fromkeys(f.slice_by for f in chosen)).index(f.slice_by) % 2] for f in chosen]
    axes.hlines(places, *_ends(chosen), color=colours, lw=2)
    axes.scatter([f.value for f in chosen], places, color=colours, s=36, zorder=3)
    axes.axvline(judged.statistic(metric)(np.ones(len(judged.labels))), color=GREY, lw=1)
    axes.set_yticks(places, [f"{f.slice_by}={_short(f.slice)}  ({f.rows:,})" for f in chosen], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=metric)


def _short(name: str | None) -> str:
    return str(name) if len(str(name)) <= 28 else f"{str(name)[:27]}…"
