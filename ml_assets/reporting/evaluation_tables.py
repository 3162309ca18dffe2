"""The tables of an evaluation's report."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_assets import metrics
from ml_assets.reporting import narrative
from ml_assets.reporting.evaluation_figures import Names
from ml_assets.reporting.html import Cell, ReportTable
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets.tables.versions import ModelVersion

STRONGEST = 10  # features of the table of leakage
MOST_SLICES = 40
DEEPEST = 0.45  # how much of the accent colour is behind a cell at most: text on it stays readable


def scores(found: Sequence[EvaluatedNumber], others: Mapping[str, Mapping[str, float]]) -> ReportTable:
    """Every metric on the test rows, beside the other models' ones."""
    rows = [
        [
            f.metric,
            narrative.number(f.value),
            narrative.interval(f),
            *(narrative.number(of.get(f.metric)) for of in others.values()),
        ]
        for f in found
        if f.scope == "test"
    ]
    return ReportTable(["metric", "this version", "95% CI", *others], rows, "Test scores")


def decided(
    spec: PipelineSpec, model: ModelVersion, figures: Mapping[str, Any], names: Names
) -> list[str | ReportTable]:
    """The confusion matrix at the threshold, and what the decisions of each model cost (binary)."""
    if spec.target.kind != "binary" or "confusion" not in figures:
        return []
    cells, target = figures["confusion"]["version"], spec.target.name
    threshold = 0.5 if model.threshold is None else model.threshold
    return [
        f"Rows whose probability is {threshold:.4g} or more are predicted {target}=1.{_prices(spec)}",
        ReportTable(
            [f"observed {target}", "predicted 1", "predicted 0"],
            [
                ["1", _cell(spec, cells, "true_positives"), _cell(spec, cells, "false_negatives")],
                ["0", _cell(spec, cells, "false_positives"), _cell(spec, cells, "true_negatives")],
            ],
            "Confusion matrix",
        ),
        _compared(spec, figures["confusion"], names),
    ]


def _prices(spec: PipelineSpec) -> str:
    if spec.costs is None:
        return ""
    positive, negative = (
        narrative.money(spec, cost) for cost in (spec.costs.false_positive, spec.costs.false_negative)
    )
    return f" A false positive costs {positive}, a false negative {negative}."


def _cell(spec: PipelineSpec, cells: Mapping[str, Any], name: str) -> Cell:
    count, rows = cells[name], max(cells["rows"], 1)
    text = f"{count:,} ({count / rows:.1%})"
    price = {"false_positives": "false_positive", "false_negatives": "false_negative"}.get(name)
    if spec.costs and price:
        text += f", cost {narrative.money(spec, count * getattr(spec.costs, price))}"
    return Cell(text, strength=DEEPEST * count / rows)


def _compared(spec: PipelineSpec, of: Mapping[str, Mapping[str, Any]], names: Names) -> ReportTable:
    """Each model's decisions, as shares: the champion may have been compared on fewer rows."""
    rows = []
    for name, cells in of.items():
        caught, alarms = cells["true_positives"], cells["true_positives"] + cells["false_positives"]
        positives = caught + cells["false_negatives"]
        cost = cells.get("cost")
        rows.append(
            [
                names.of[name],
                f"{cells['rows']:,}",
                f"{alarms / max(cells['rows'], 1):.1%}",
                f"{caught / alarms:.1%}" if alarms else "-",
                f"{caught / positives:.1%}" if positives else "-",
                *([] if cost is None else [narrative.money(spec, cost), f"{cost / max(cells['rows'], 1):.3g}"]),
            ]
        )
    costs = ["cost", "cost per row"] if spec.costs else []
    return ReportTable(["model", "rows", "predicted 1", "precision", "recall", *costs], rows, "Decisions of each model")


def confusion(spec: PipelineSpec, figures: Mapping[str, Any]) -> list[str | ReportTable]:
    """The confusion matrix, and each class (multiclass)."""
    if spec.target.kind != "multiclass" or "classes" not in figures:
        return []
    known, matrix = figures["classes"], figures["confusion"]
    names = [one["class"] for one in known][: len(matrix)]
    totals = {one["class"]: max(one["rows"], 1) for one in known}
    shares = [
        [name, *(Cell(f"{count / totals[name]:.0%}", strength=DEEPEST * count / totals[name]) for count in row)]
        for name, row in zip(names, matrix, strict=True)
    ]
    left_out = f" The {figures['left_out']} rarest classes are left out." if figures["left_out"] else ""
    return [
        f"Each row is a true {spec.target.name}; the shares say what it is predicted as.{left_out}",
        ReportTable([f"true {spec.target.name}", *names], shares, "Confusion matrix"),
        ReportTable(
            ["class", "rows", "predicted", "precision", "recall"],
            [
                [
                    one["class"],
                    f"{one['rows']:,}",
                    f"{one['predicted']:,}",
                    *("-" if one[name] is None else f"{one[name]:.1%}" for name in ("precision", "recall")),
                ]
                for one in known
            ],
            "Each class",
        ),
    ]


def slices_text(found: Sequence[EvaluatedNumber], marked: Collection[Any]) -> list[str]:
    """How many slices are worse than the baseline."""
    total = sum(f.scope == "slice" and not math.isnan(f.value) for f in found)
    if not marked:
        return [f"No slice is worse than the baseline, of {total}."] if total else []
    return [
        f"In {len(marked)} of {total} slices, a model that ignores every feature would score better; they are marked "
        "and come first."
    ]


def slices(found: Sequence[EvaluatedNumber], marked: Collection[tuple[str | None, str | None]]) -> ReportTable:
    """The slices, those that are worse than the baseline first, then the largest."""
    of_other = {
        name: {(f.slice_by, f.slice): f.value for f in found if f.scope == f"slice_{name}"}
        for name in ("champion", "baseline")
    }
    others = {name: of for name, of in of_other.items() if of}
    parts = [f for f in found if f.scope == "slice"]
    ordered = sorted(parts, key=lambda f: ((f.slice_by, f.slice) not in marked, -f.rows))[:MOST_SLICES]
    rows = [
        [
            f"{f.slice_by}={f.slice}",
            f"{f.rows:,}",
            narrative.number(f.value),
            narrative.interval(f),
            *(narrative.number(of.get((f.slice_by, f.slice))) for of in others.values()),
            _mark(f, of_other["baseline"], marked),
        ]
        for f in ordered
    ]
    metric = parts[0].metric if parts else ""
    return ReportTable(["slice", "rows", metric, "95% CI", *others, "note"], rows, "Slices")


def _mark(
    finding: EvaluatedNumber, baseline: Mapping[tuple[str | None, str | None], float], marked: Collection[Any]
) -> Cell | str:
    place = (finding.slice_by, finding.slice)
    if place not in marked:
        return finding.note or ""
    sign = metrics.METRICS[finding.metric].is_higher_better
    end = finding.high if sign else finding.low
    sure = end is not None and metrics.METRICS[finding.metric].gain(end, baseline[place]) < 0
    text = "▼ worse than the baseline" + ("" if sure else ", by chance perhaps")
    return Cell(f"{text}; {finding.note}" if finding.note else text, "bad")


def gaps(found: Sequence[EvaluatedNumber]) -> ReportTable:
    """The largest gap between groups of each column."""
    rows = [
        [f.slice_by or "", f.metric, narrative.number(f.value), narrative.interval(f), f.note or ""]
        for f in found
        if f.scope == "fairness"
    ]
    return ReportTable(["column", "metric", "largest gap", "95% CI", "between"], rows, "Fairness")


def worst(figures: Mapping[str, Any]) -> list[str | ReportTable]:
    """The test rows with the highest loss."""
    found = figures.get("worst")
    if not found or not found["rows"]:
        return []
    return [
        f"The {len(found['rows'])} test rows with the highest {found['loss']}: where the model is surest and wrong. "
        "Look for wrong labels, broken values, and cases that no feature tells apart.",
        ReportTable(found["columns"], found["rows"], "Worst rows"),
    ]


def single_features(found: Sequence[EvaluatedNumber]) -> ReportTable:
    """The features that predict the target best alone."""
    notes = {f.slice: f.note for f in found if f.scope == "target_proxy"}
    ranked = sorted((f for f in found if f.scope == "single"), key=lambda f: -f.value if f.value == f.value else 1.0)
    rows = [
        [f.slice or "", f.metric, narrative.number(f.value), notes.get(f.slice) or ""]
        for place, f in enumerate(ranked)
        if place < STRONGEST or f.slice in notes
    ]
    return ReportTable(["feature", "metric", "alone", "suspicious because it"], rows, "Target leakage")
