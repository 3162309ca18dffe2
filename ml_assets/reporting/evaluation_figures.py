"""The plots of an evaluation's report, drawn from the numbers in its document and from its findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_assets import metrics
from ml_assets.reporting.evaluation_plots import SHOWN, shown
from ml_assets.reporting.svg import Axis, Plot, Point, Row, Series, bars, lines, rows
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import EvaluatedNumber

Figures = Mapping[str, Any]
SHARE = {"low": 0.0, "high": 1.0}
STYLES = ("version", "champion", "third", "fourth", "fifth")  # of curves that are no models


class Names:
    """What the three models are called in legends."""

    def __init__(self, version: str, champion: str | None) -> None:
        self.of = {"version": f"version {version}", "champion": f"champion {champion}", "baseline": "baseline"}

    def series(self, curves: Mapping[str, Sequence[Point]]) -> list[Series]:
        """A line for each model, the version on top."""
        return [
            Series(name, curves[name], self.of[name]) for name in ("baseline", "champion", "version") if name in curves
        ]


def ranking(figures: Figures, names: Names) -> list[Plot]:
    """How well a binary model ranks rows: ROC, precision and recall, gain, lift."""
    if "gain" not in figures:
        return []
    share = figures["positives"]
    diagonal, level = [[0, 0], [1, 1]], [[0, share], [1, share]]
    lift = {name: [[x, y / x] for x, y in points if x >= 0.01] for name, points in figures["gain"].items()}
    return [
        lines(
            "ROC curve",
            Axis("share of negatives predicted positive", **SHARE),
            Axis("share of positives found", **SHARE),
            names.series({"baseline": diagonal, **figures["roc"]}),
            "Each point is a threshold. The closer to the upper left corner the better; the diagonal is chance.",
        ),
        lines(
            "Precision and recall",
            Axis("recall: share of positives found", **SHARE),
            Axis("precision: share of right alarms", **SHARE),
            names.series({"baseline": level, **figures["precision_recall"]}),
            f"The higher the better. The baseline is the share of positives among the test rows, {share:.1%}.",
        ),
        lines(
            "Cumulative gain",
            Axis("share of rows, likeliest first", **SHARE),
            Axis("share of positives found", **SHARE),
            names.series({"baseline": diagonal, **figures["gain"]}),
            "How many of the positives are found when only the likeliest rows are acted on.",
        ),
        lines(
            "Lift",
            Axis("share of rows, likeliest first", **SHARE),
            Axis("times as many as by chance", low=0.0),
            names.series({"baseline": [[0, 1], [1, 1]], **lift}),
            "How many times more positives are among the likeliest rows than among as many rows chosen by chance.",
        ),
    ]


def thresholds(spec: PipelineSpec, figures: Figures, threshold: float | None) -> list[Plot]:
    """Precision, recall and cost at each threshold."""
    if "thresholds" not in figures:
        return []
    found, chosen = figures["thresholds"], 0.5 if threshold is None else threshold
    used = [("limit", chosen, f"threshold in use, {chosen:.3g}")]
    plots = [
        lines(
            "Precision and recall by threshold",
            Axis("threshold", **SHARE),
            Axis("share", **SHARE),
            [Series("version", found["precision"], "precision"), Series("champion", found["recall"], "recall")],
            f"Rows whose probability is at or above the threshold are predicted {spec.target.name}=1.",
            used,
        )
    ]
    if "cost" in found:
        constant = _constant_cost(spec, figures)
        unit = spec.costs.unit if spec.costs else ""
        plots.append(
            lines(
                "Cost by threshold",
                Axis("threshold", **SHARE),
                Axis(unit or "cost", low=0.0),
                [
                    Series("baseline", [[0, constant], [1, constant]], "cheapest constant decision"),
                    Series("version", found["cost"], "this version"),
                ],
                "What the decisions on the test rows cost at each threshold; lower is better.",
                used,
            )
        )
    return plots


def _constant_cost(spec: PipelineSpec, figures: Figures) -> float:
    """The cost of deciding all rows alike, whichever is cheaper."""
    cells, costs = figures["confusion"]["version"], spec.costs
    positives = cells["true_positives"] + cells["false_negatives"]
    if costs is None:
        return math.nan
    return float(min(costs.false_negative * positives, costs.false_positive * (cells["rows"] - positives)))


def classes(figures: Figures) -> list[Plot]:
    """How well each class is told from the rest, and how right the surest predictions are (multiclass)."""
    if "coverage" not in figures:
        return []
    across, up = Axis("share of other rows predicted as the class", **SHARE), Axis("share of the class found", **SHARE)
    return [
        lines(
            "ROC curve of each class",
            across,
            up,
            [Series("baseline", [[0, 0], [1, 1]], "chance"), *_curves(figures["roc"])],
            "One class against all others, for the most frequent ones. Closer to the upper left corner is better.",
        ),
        lines(
            "Precision and recall of each class",
            Axis("recall", **SHARE),
            Axis("precision", **SHARE),
            _curves(figures["precision_recall"]),
            "One class against all others, for the most frequent ones. Higher is better.",
        ),
    ]


def _curves(curves: Mapping[str, Sequence[Point]]) -> list[Series]:
    return [Series(style, points, name) for style, (name, points) in zip(STYLES, curves.items(), strict=False)]


def coverage(figures: Figures, names: Names) -> list[Plot]:
    """Accuracy among the surest rows (multiclass)."""
    if "coverage" not in figures:
        return []
    level = figures["baseline_accuracy"]
    return [
        lines(
            "Accuracy of the surest predictions",
            Axis("share of rows, surest first", **SHARE),
            Axis("accuracy", high=1.0),
            names.series({"baseline": [[0, level], [1, level]], **figures["coverage"]}),
            "How many predictions are right when only the surest are acted on; the baseline always predicts the most "
            "frequent class.",
        )
    ]


def calibration(spec: PipelineSpec, figures: Figures, names: Names) -> list[Plot]:
    """Do probabilities come true, and how often each is predicted."""
    if "calibration" not in figures:
        return []
    what = "of the likeliest class" if spec.target.kind == "multiclass" else f"of {spec.target.name}"
    curves, counts = figures["calibration"], figures["histogram"]
    dots = [Series(name, points, mark="dots") for name, points in curves.items()]
    return [
        lines(
            "Calibration",
            Axis("predicted probability", **SHARE),
            Axis("observed share", **SHARE),
            [Series("baseline", [[0, 0], [1, 1]], "perfect"), *names.series(curves), *dots],
            "On the diagonal, what is predicted with 30% happens in 30% of the rows. Each point: a tenth of the rows.",
        ),
        bars(
            "Distribution of the probabilities",
            Axis(f"predicted probability {what}"),
            Axis("rows"),
            (counts["low"], counts["high"]),
            counts["counts"],
            "How often each probability is predicted.",
        ),
    ]


def regression(spec: PipelineSpec, figures: Figures, names: Names) -> list[Plot]:
    """Predictions beside outcomes (regression)."""
    if "deciles" not in figures:
        return []
    observed, deciles, counts = figures["observed"], figures["deciles"], figures["histogram"]
    ends = [end for point in observed for end in point]
    ends += [one[name] for one in deciles for name in ("low", "high")]
    low, high = min(ends), max(ends)
    return [
        lines(
            "Predictions and outcomes",
            Axis(f"predicted {spec.target.name}"),
            Axis("observed"),
            [
                Series("version", observed, "test rows, sampled", mark="dots"),
                Series("baseline", [[low, low], [high, high]], "perfect"),
            ],
            "On the line, the prediction is the outcome.",
        ),
        lines(
            "Outcomes by predicted value",
            Axis(f"predicted {spec.target.name}"),
            Axis("observed"),
            [
                Series("champion", [[one["predicted"], one["low"]] for one in deciles], "lowest and highest tenth"),
                Series("champion", [[one["predicted"], one["high"]] for one in deciles]),
                Series("baseline", [[low, low], [high, high]], "perfect"),
                Series("version", [[one["predicted"], one["observed"]] for one in deciles], "mean outcome"),
                Series("version", [[one["predicted"], one["observed"]] for one in deciles], mark="dots"),
            ],
            "Each point is a tenth of the rows, by prediction. The steeper, the more the model tells rows apart.",
        ),
        bars(
            "Residuals",
            Axis("prediction minus outcome"),
            Axis("rows"),
            (counts["low"], counts["high"]),
            counts["counts"],
            "A peak at 0 is good; one beside it means that predictions are too high or too low. The largest 1% of the "
            "errors are left out.",
        ),
        lines(
            "Errors",
            Axis("absolute error", low=0.0),
            Axis("share of rows with at most that", **SHARE),
            names.series(figures["errors"]),
            "The further to the upper left the better. The baseline predicts the mean of the training rows.",
        ),
    ]


def dependence(spec: PipelineSpec, figures: Figures) -> list[Plot]:
    """The mean prediction at the values of each of the most important features."""
    what = {
        "binary": f"mean probability of {spec.target.name}",
        "multiclass": "mean probability",
        "regression": f"mean predicted {spec.target.name}",
    }[spec.target.kind]
    found = figures.get("dependence", ())
    ends = [value for one in found for means in one["predicted"].values() for value in means]
    up = (
        Axis(what, min(ends, default=0), max(ends, default=1)) if spec.target.kind != "multiclass" else Axis(what, 0, 1)
    )
    return [_dependence(one, up) for one in found if one["values"]]


def _dependence(one: Mapping[str, Any], up: Axis) -> Plot:
    reading = f"All else as it is, in {one['rows']:,} test rows"
    curves = one["predicted"]
    if one["kind"] == "number":
        curves = [
            Series(style, list(zip(one["values"], means, strict=True)), name if len(curves) > 1 else "")
            for style, (name, means) in zip(STYLES, curves.items(), strict=False)
        ]
        dots = [Series(line.style, line.points, mark="dots") for line in curves]
        return lines(one["feature"], Axis(one["feature"]), up, [*curves, *dots], f"{reading}.")
    first, *others = curves.values()
    ordered = sorted(range(len(one["values"])), key=lambda place: -first[place])
    shown_rows = [
        Row(
            f"{one['values'][place]} ({one['shares'][place]:.0%})",
            first[place],
            others=[(style, means[place]) for style, means in zip(STYLES[1:], others, strict=False)],
        )
        for place in ordered
    ]
    legend = list(zip(STYLES, curves, strict=False)) if others else []
    return rows(
        one["feature"], up, shown_rows, f"{reading}; with the share of the rows that have the value.", (), legend
    )


def scores(found: Sequence[EvaluatedNumber], scores_of: Mapping[str, Mapping[str, float]], names: Names) -> list[Plot]:
    """The metrics between 0 and 1 on one axis, each other one on its own, beside those of the other models."""
    every = [f for f in found if f.scope == "test"]
    test = [f for f in every if metrics.METRICS[f.metric].is_bounded]
    alone = [_alone(f, scores_of, names) for f in every if f not in test]
    if not test:
        return alone
    shown_rows = [
        Row(
            f.metric,
            f.value,
            *_ends(f),
            others=[(name, of[f.metric]) for name, of in scores_of.items() if f.metric in of],
        )
        for f in test
    ]
    less = [f.metric for f in test if not metrics.METRICS[f.metric].is_higher_better]
    legend = [(name, names.of[name]) for name in ("version", *scores_of)]
    reading = "Circles are this version, with its 95% confidence intervals. Higher is better"
    reading += f", except for {', '.join(less)}, where lower is better." if less else "."
    return [rows("Metrics on test rows", Axis("value"), shown_rows, reading, (), legend), *alone]


def _alone(finding: EvaluatedNumber, scores_of: Mapping[str, Mapping[str, float]], names: Names) -> Plot:
    """A metric that has an axis of its own: the models below each other."""
    others = [
        Row(names.of[name], of[finding.metric], style=name) for name, of in scores_of.items() if finding.metric in of
    ]
    own = Row(names.of["version"], finding.value, *_ends(finding))
    better = "Higher" if metrics.METRICS[finding.metric].is_higher_better else "Lower"
    reading = f"{better} is better; the line is the 95% confidence interval."
    return rows(f"Metrics on test rows: {finding.metric}", Axis(finding.metric), [own, *others], reading)


def slices(found: Sequence[EvaluatedNumber], scope: str, names: Names) -> list[Plot]:
    """The largest and the worst slices or groups, beside all rows and the other models."""
    parts = [f for f in found if f.scope == scope]
    chosen, left_out = shown(parts, parts[0].metric) if parts else ([], 0)
    if not chosen:
        return []
    metric = chosen[0].metric
    marked = worse_than_baseline(found)
    others = {
        name: {(f.slice_by, f.slice): f.value for f in found if f.scope == f"slice_{name}"}
        for name in ("champion", "baseline")
    }
    others = {name: of for name, of in others.items() if of and scope == "slice"}
    shown_rows = [
        Row(
            f"{f.slice_by}={f.slice}",
            f.value,
            *_ends(f),
            style="bad" if (f.slice_by, f.slice) in marked and scope == "slice" else "version",
            others=[(name, of[f.slice_by, f.slice]) for name, of in others.items() if (f.slice_by, f.slice) in of],
        )
        for f in chosen
    ]
    whole = next((f.value for f in found if f.scope == "test" and f.metric == metric), None)
    verticals = [] if whole is None else [("limit", whole, "all rows")]
    legend = [("version", names.of["version"]), *((name, names.of[name]) for name in others)]
    if marked and scope == "slice":
        legend.append(("bad", "worse than the baseline"))
    reading = "Each row is a slice of the test rows, with its 95% confidence interval."
    if left_out:
        reading += f" The largest and the worst are shown; {left_out} more are left out or undefined."
    title = f"{metric} by {', '.join(dict.fromkeys(str(f.slice_by) for f in parts))}"
    return [rows(title, Axis(metric), shown_rows, reading, verticals, legend)]


def worse_than_baseline(found: Sequence[EvaluatedNumber]) -> set[tuple[str | None, str | None]]:
    """Slices in which a model that ignores every feature scores better."""
    baseline = {(f.slice_by, f.slice): f.value for f in found if f.scope == "slice_baseline"}
    return {
        (f.slice_by, f.slice)
        for f in found
        if f.scope == "slice"
        and metrics.METRICS[f.metric].gain(f.value, baseline.get((f.slice_by, f.slice), math.nan)) < 0
    }


def importance(spec: PipelineSpec, found: Sequence[EvaluatedNumber]) -> list[Plot]:
    """Permutation importance of each feature."""
    return _bars(
        [f for f in found if f.scope == "importance"],
        "Permutation importance",
        f"loss of {spec.metric} when shuffled",
        "How much the metric loses when the values of a feature are shuffled among the rows; the line spans five "
        "shuffles. Near 0, the model could do without the feature.",
    )


def missing(found: Sequence[EvaluatedNumber]) -> list[Plot]:
    """What changes without each feature."""
    return _bars(
        [f for f in found if f.scope == "missing" and f.slice_by],
        "Missing features",
        "share of predictions that change",
        "How many predictions change when every value of a feature is missing.",
    )


def _bars(found: Sequence[EvaluatedNumber], title: str, axis: str, reading: str) -> list[Plot]:
    chosen = sorted((f for f in found if not math.isnan(f.value)), key=lambda f: -f.value)[:SHOWN]
    if not chosen:
        return []
    left_out = len(found) - len(chosen)
    reading += f" {left_out} more features are left out." if left_out else ""
    return [rows(title, Axis(axis), [Row(str(f.slice), f.value, *_ends(f)) for f in chosen], reading, as_bars=True)]


def _ends(finding: EvaluatedNumber) -> tuple[float | None, float | None]:
    ends = finding.low, finding.high
    return (None, None) if any(end is None or math.isnan(end) for end in ends) else ends
