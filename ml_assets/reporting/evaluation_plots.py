"""Plots of an evaluation: those of its report, and the one that Dagster shows inside a materialization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ml_assets import metrics
from ml_assets.ml import calibration
from ml_assets.ml.costs import constant_costs
from ml_assets.ml.judged import Judged
from ml_assets.reporting.plots import BLUE, GREEN, GREY, ORANGE, RED, Figure, as_markdown, as_png, new_figure
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import Evaluation, Finding

SHOWN = 15  # of slices, features or classes; a plot of more cannot be read
DOTS = 3000
WIDTH, DPI = 9.0, 110
# Metrics that lie between 0 and 1 share an axis; each of the others has its own.


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


def report_plots(spec: PipelineSpec, evaluation: Evaluation) -> dict[str, list[Figure]]:
    """Section of the report -> its plots."""
    found, judged = evaluation.found, evaluation.judged
    kind = spec.target.kind
    predicted = {"binary": _thresholds, "multiclass": _confusion, "regression": _predictions}[kind]
    return {
        "metrics": [_metrics(evaluation)],
        "predictions": [*([] if kind == "regression" else [_calibrated(judged)]), predicted(spec, judged)],
        "slices": _forests(found, "slice", judged),
        "fairness": _forests(found, "group", judged),
        "importance": _bars(
            [f for f in found if f.scope == "importance"],
            "Permutation importance",
            f"loss of {spec.metric} when shuffled",
            "How much the metric loses when the values of a feature are shuffled among the rows; the line spans five "
            "shuffles. Near 0, the model could do without the feature.",
            BLUE,
        ),
        "robustness": _bars(
            [f for f in found if f.scope == "missing" and f.slice_by],
            "Missing features",
            "share of predictions that change",
            "How many predictions change when every value of a feature is missing.",
            ORANGE,
        ),
    }


def shown(found: Sequence[Finding], metric: str) -> tuple[list[Finding], int]:
    """The largest and the worst slices that have a value, by column from worst to best; how many are left out."""
    sign = 1 if metric == "selection_rate" else metrics.METRICS[metric].sign
    defined = [f for f in found if not math.isnan(f.value)]
    largest = sorted(defined, key=lambda f: -f.rows)[: SHOWN // 2 + 1]
    worst = sorted((f for f in defined if f not in largest), key=lambda f: sign * f.value)[: SHOWN - len(largest)]
    chosen = sorted(largest + worst, key=lambda f: (str(f.slice_by), sign * f.value))
    return chosen, len(found) - len(chosen)


def _finished(figure: Any, title: str, reading: str) -> Figure:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0 if axes.images else 0.25)
        axes.set_axisbelow(True)
    return Figure(title, as_png(figure, DPI), reading)


def _metrics(evaluation: Evaluation) -> Figure:
    test = {f.metric: f for f in evaluation.found if f.scope == "test"}
    others = [("baseline", evaluation.baseline.all_scores(), GREY, "s")]
    if evaluation.champion is not None:
        label = f"champion {evaluation.champion.version}"
        others.insert(0, (label, evaluation.champion.all_scores(), ORANGE, "D"))
    bounded = [name for name in test if metrics.METRICS[name].is_bounded]
    alone = [name for name in test if not metrics.METRICS[name].is_bounded]
    widths = [*([3.2] if bounded else []), *[1.2] * len(alone)]
    figure = new_figure(WIDTH, max(2.8, 0.6 + 0.36 * len(bounded)))
    axes = list(figure.subplots(1, len(widths), gridspec_kw={"width_ratios": widths}, squeeze=False)[0])
    sides = [(f"version {evaluation.judged.version}", {n: f.value for n, f in test.items()}, BLUE, "o"), *others]
    if bounded:
        across = axes.pop(0)
        for name, values, colour, mark in reversed(sides):
            across.plot([values[n] for n in bounded], range(len(bounded)), mark, color=colour, label=name, ms=7)
        across.hlines(range(len(bounded)), *_ends([test[n] for n in bounded]), color=BLUE, lw=2.5)
        across.set(xlim=(-0.02, 1.02), yticks=range(len(bounded)), yticklabels=bounded)
        across.invert_yaxis()
        handles, names = across.get_legend_handles_labels()
        across.legend(handles[::-1], names[::-1], fontsize=8, loc="best")
    for place, name in zip(axes, alone, strict=True):
        for column, (_, values, colour, mark) in enumerate(sides):
            place.plot([column], [values[name]], mark, color=colour, ms=7)
        place.vlines([0], *_ends([test[name]]), color=BLUE, lw=2.5)
        place.set(title=name, xlim=(-0.5, len(sides) - 0.5), xticks=range(len(sides)))
        place.set_xticklabels([side[0].split(" ")[0] for side in sides], fontsize=8, rotation=30)
        place.title.set_fontsize(10)
    less = [name for name in test if not metrics.METRICS[name].is_higher_better]
    return _finished(
        figure,
        "Metrics on test rows",
        "Circles are this version, with its 95% confidence intervals. Higher is better"
        + (f", except for {', '.join(less)}, where lower is better." if less else "."),
    )


def _ends(found: Sequence[Finding]) -> tuple[list[float], list[float]]:
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


def _calibrated(judged: Judged) -> Figure:
    figure = new_figure(WIDTH, 3.6)
    left, right = figure.subplots(1, 2)
    _calibration(left, judged)
    right.hist(judged.probabilities()[0], bins=30, range=(0, 1), color=BLUE)
    what = "of the likeliest class" if judged.schema.kind == "multiclass" else f"of {judged.schema.target}"
    right.set(title="Distribution of the probabilities", xlabel=f"predicted probability {what}", ylabel="rows")
    reading = (
        "Left: on the grey line, what is predicted with 30% happens in 30% of the rows; each point is a tenth of the "
        "rows. Right: how often each probability is predicted."
    )
    return _finished(figure, "Calibration", reading)


def _thresholds(spec: PipelineSpec, judged: Judged) -> Figure:
    order = np.argsort(-judged.scores, kind="stable")
    ranked, true = judged.scores[order], judged.labels[order] == 1
    cuts = np.unique(np.linspace(len(ranked) // 200, len(ranked) - 1, 400).astype(int))  # few rows: chance
    hits, chosen = np.cumsum(true), 0.5 if judged.schema.threshold is None else judged.schema.threshold
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots(1, 2 if spec.costs else 1, squeeze=False)[0]
    axes[0].plot(ranked[cuts], hits[cuts] / (cuts + 1), color=BLUE, label="precision")
    axes[0].plot(ranked[cuts], hits[cuts] / max(hits[-1], 1), color=ORANGE, label="recall", ls="--")
    axes[0].set(title="Precision and recall", xlabel="threshold", ylabel="share", ylim=(0, 1.02))
    if spec.costs:
        costs = spec.costs.false_positive * (cuts + 1 - hits[cuts])
        costs = costs + spec.costs.false_negative * (hits[-1] - hits[cuts])
        least = min(constant_costs(spec.costs, judged.labels, decision).sum() for decision in (0, 1))
        axes[1].plot(ranked[cuts], costs, color=BLUE, label="model")
        axes[1].axhline(least, color=GREY, ls=":", label="best constant decision")
        axes[1].set(title="Cost on test rows", xlabel="threshold", ylabel=spec.costs.unit or "cost")
    for place in axes:
        place.axvline(chosen, color=RED, lw=1.5, ls="-.", label=f"threshold in use, {chosen:.3g}")
        place.legend(fontsize=8)
    reading = (
        f"Rows with a probability at or above the threshold are predicted {judged.schema.target}=1: precision is the "
        "share of those that are right, recall the share of all positive rows that are found."
    )
    cost = " Right: the total cost of the decisions at each threshold; lower is better." if spec.costs else ""
    return _finished(figure, "Decision threshold", reading + cost)


def _confusion(spec: PipelineSpec, judged: Judged) -> Figure:
    names, counts = np.unique(judged.labels, return_counts=True)
    kept = names[np.argsort(-counts, kind="stable")[:SHOWN]]
    shares = np.array(
        [[np.mean(judged.decisions[judged.labels == true] == decided) for decided in kept] for true in kept]
    )
    size = max(3.4, 1.6 + 0.42 * len(kept))
    figure = new_figure(min(WIDTH, size + 2), size)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > 0.6 else "black"
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=8, color=colour)
    axes.set(xlabel="predicted", ylabel="true", xticks=range(len(kept)), yticks=range(len(kept)), yticklabels=kept)
    axes.set_xticklabels(kept, rotation=45 if len(kept) > 4 else 0)
    left_out = f" The {len(names) - len(kept)} rarest classes are left out." if len(names) > len(kept) else ""
    reading = f"Each row is a true {spec.target.name}; the shares say what it is predicted as."
    return _finished(figure, "Confusion matrix", reading + left_out)


def _predictions(spec: PipelineSpec, judged: Judged) -> Figure:
    figure = new_figure(WIDTH, 3.6)
    left, right = figure.subplots(1, 2)
    _against_outcome(left, judged)
    right.hist(judged.scores - judged.labels, bins=40, color=BLUE)
    right.axvline(0, color=GREY)
    right.set(title="Residuals", xlabel="prediction minus outcome", ylabel="rows")
    reading = (
        f"Left: on the grey line, the predicted {spec.target.name} is the observed one. Right: how far predictions "
        "are off; a peak at 0 is good, one beside it means that they are too high or too low."
    )
    return _finished(figure, "Predictions and outcomes", reading)


def _against_outcome(axes: Any, judged: Judged) -> None:
    step = -(-len(judged.labels) // DOTS)
    axes.scatter(judged.labels[::step], judged.scores[::step], s=6, alpha=0.5, color=BLUE)
    axes.axline((float(judged.labels.mean()),) * 2, slope=1, color=GREY)
    axes.set(title="Test rows", xlabel="outcome", ylabel="prediction")


def _forests(found: Sequence[Finding], scope: str, judged: Judged) -> list[Figure]:
    parts = [f for f in found if f.scope == scope]
    chosen, left_out = shown(parts, parts[0].metric) if parts else ([], 0)
    if not chosen:
        return []
    figure = new_figure(WIDTH, 1.2 + 0.27 * len(chosen))
    _forest(figure.subplots(), parts, judged)
    reading = (
        "Each mark is a slice of the test rows, with its 95% confidence interval and number of rows; the line is all "
        "rows."
    )
    if left_out:
        reading += f" The largest and the worst are shown; {left_out} more are left out or undefined."
    title = f"{parts[0].metric} by {', '.join(dict.fromkeys(str(f.slice_by) for f in parts))}"
    return [_finished(figure, title, reading)]


def _forest(axes: Any, found: Sequence[Finding], judged: Judged) -> None:
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


def _bars(found: Sequence[Finding], title: str, axis: str, reading: str, colour: str) -> list[Figure]:
    chosen = sorted((f for f in found if not math.isnan(f.value)), key=lambda f: -f.value)[:SHOWN]
    if not chosen:
        return []
    figure = new_figure(WIDTH, 1.0 + 0.27 * len(chosen))
    axes = figure.subplots()
    places = range(len(chosen))
    axes.barh(places, [f.value for f in chosen], color=colour, height=0.7)
    axes.hlines(places, *_ends(chosen), color="black", lw=1.2)
    axes.set_yticks(places, [_short(f.slice) for f in chosen], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=axis)
    left_out = len(found) - len(chosen)
    return [_finished(figure, title, reading + (f" {left_out} more features are left out." if left_out else ""))]


def _short(name: str | None) -> str:
    return str(name) if len(str(name)) <= 28 else f"{str(name)[:27]}…"
