"""What the plots of an evaluation show, as plain numbers: curves with few points, however many test rows there are.

Belongs here: what is computed from predictions alone. Does not: what asks the model again (dependence.py), single
rows (worst.py), and how a figure is drawn (reporting/).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ml_assets.ml import calibration
from ml_assets.ml.costs import row_costs
from ml_assets.ml.judged import Array, Judged
from ml_assets.spec import PipelineSpec

Figures = dict[str, Any]
POINTS = 160  # of a curve
BINS = 30  # of a histogram
DOTS = 800  # rows of a scatter plot, sampled with the pipeline's seed
CLASSES = 15  # of a confusion matrix
CURVES = 5  # classes with a curve of their own


def figures(spec: PipelineSpec, judged: Judged, champion: Judged | None, baseline: Judged) -> Figures:
    """Every curve of a kind of target, of the version and of the models that it is compared with.

    Args:
        spec: The pipeline.
        judged: The version's predictions on the test rows.
        champion: The champion's, on those of the same rows that it has not seen; None where there is none.
        baseline: Those of a model that ignores every feature.

    Returns:
        Name of the figure -> its numbers, which JSON can hold.
    """
    of_kind = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[spec.target.kind]
    sides = {"version": judged, "champion": champion, "baseline": baseline}
    there = {name: side for name, side in sides.items() if side is not None}
    scores = {name: side.all_scores() for name, side in there.items() if name != "version"}
    return {"scores": scores, **of_kind(spec, there)}


def _binary(spec: PipelineSpec, sides: dict[str, Judged]) -> Figures:
    version = sides["version"]
    ranked = {name: _Ranked(side) for name, side in sides.items() if name != "baseline"}
    return {
        "roc": {name: one.roc() for name, one in ranked.items()},
        "precision_recall": {name: one.precision_recall() for name, one in ranked.items()},
        "gain": {name: one.gain() for name, one in ranked.items()},
        "positives": float(np.mean(version.labels == 1)),
        "thresholds": ranked["version"].thresholds(spec),
        "confusion": {name: _decided(spec, side) for name, side in sides.items()},
        **_probabilities(sides),
    }


class _Ranked:
    """Rows by falling score; a step is a score, for no threshold tells equal ones apart."""

    def __init__(self, judged: Judged) -> None:
        order = np.argsort(-judged.scores, kind="stable")
        ranked = judged.scores[order]
        last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
        hits = np.cumsum(judged.labels[order] == 1)
        self.rows, self.positives = len(ranked), int(hits[-1])
        at = last[_spread(len(last))]
        self.scores, self.taken, self.hits = ranked[at], at + 1, hits[at]

    def roc(self) -> list[list[float]]:
        negatives = max(self.rows - self.positives, 1)
        return _points((self.taken - self.hits) / negatives, self.hits / max(self.positives, 1), first=(0.0, 0.0))

    def precision_recall(self) -> list[list[float]]:
        return _points(self.hits / max(self.positives, 1), self.hits / self.taken)

    def gain(self) -> list[list[float]]:
        return _points(self.taken / self.rows, self.hits / max(self.positives, 1), first=(0.0, 0.0))

    def thresholds(self, spec: PipelineSpec) -> Figures:
        enough = self.taken >= max(self.rows // 200, 1)  # the precision of few rows is chance
        scores, taken, hits = self.scores[enough], self.taken[enough], self.hits[enough]
        found: Figures = {
            "precision": _points(scores, hits / taken),
            "recall": _points(scores, hits / max(self.positives, 1)),
        }
        if spec.costs:
            wrong = spec.costs.false_positive * (taken - hits)
            found["cost"] = _points(scores, wrong + spec.costs.false_negative * (self.positives - hits))
        return found


def _decided(spec: PipelineSpec, judged: Judged) -> Figures:
    """Rows by label and decision, and what they cost."""
    true, decided = judged.labels == 1, judged.decisions == 1
    cells = {
        "true_negatives": ~true & ~decided,
        "false_positives": ~true & decided,
        "false_negatives": true & ~decided,
        "true_positives": true & decided,
    }
    found: Figures = {name: int(cell.sum()) for name, cell in cells.items()} | {"rows": len(true)}
    if spec.costs:
        found["cost"] = float(row_costs(spec.costs, judged.labels, judged.decisions).sum())
    return found


def _multiclass(_: PipelineSpec, sides: dict[str, Judged]) -> Figures:
    version = sides["version"]
    names, counts = np.unique(version.labels, return_counts=True)
    frequent = [str(name) for name in names[np.argsort(-counts, kind="stable")]]
    known = [name for name in frequent if name in version.schema.classes]
    return {
        "classes": [_class(version, name) for name in frequent[: 2 * CLASSES]],
        "left_out": len(frequent) - len(frequent[:CLASSES]),
        "confusion": _matrix(version, frequent[:CLASSES]),
        "roc": {name: _one_against_rest(version, name).roc() for name in known[:CURVES]},
        "precision_recall": {name: _one_against_rest(version, name).precision_recall() for name in known[:CURVES]},
        "coverage": {name: _coverage(side) for name, side in sides.items() if name != "baseline"},
        "baseline_accuracy": float(np.mean(sides["baseline"].decisions == version.labels)),
        **_probabilities(sides),
    }


def _class(judged: Judged, name: str) -> Figures:
    true, decided = judged.labels == name, judged.decisions == name
    hits = int((true & decided).sum())
    return {
        "class": name,
        "rows": int(true.sum()),
        "predicted": int(decided.sum()),
        "precision": hits / int(decided.sum()) if decided.any() else None,
        "recall": hits / int(true.sum()) if true.any() else None,
    }


def _matrix(judged: Judged, names: list[str]) -> list[list[int]]:
    """Rows by true class, then by predicted class; what is predicted as none of these is left out."""
    decisions = {name: judged.decisions == name for name in names}
    return [[int(((judged.labels == true) & decisions[decided]).sum()) for decided in names] for true in names]


def _one_against_rest(judged: Judged, name: str) -> _Ranked:
    column = list(judged.schema.classes).index(name)
    return _Ranked(
        Judged(judged.rows, (judged.labels == name).astype(int), judged.scores[:, column], judged.schema, "")
    )


def _coverage(judged: Judged) -> list[list[float]]:
    """Share of the rows that are kept, the surest first, and the share of them that is right."""
    predicted, right = judged.probabilities()
    hits = np.cumsum(right[np.argsort(-predicted, kind="stable")])
    at = _spread(len(hits), least=max(len(hits) // 50, 1) - 1)
    return _points((at + 1) / len(hits), hits[at] / (at + 1))


def _probabilities(sides: dict[str, Judged]) -> Figures:
    """Calibration curves, and how often each probability is predicted."""
    compared = {name: side for name, side in sides.items() if name != "baseline"}
    counts, _ = np.histogram(sides["version"].probabilities()[0], bins=BINS, range=(0, 1))
    curves = {name: calibration.curve(*side.probabilities()) for name, side in compared.items()}
    return {
        "calibration": {name: _points(predicted, observed) for name, (predicted, observed, _) in curves.items()},
        "histogram": {"low": 0.0, "high": 1.0, "counts": counts.tolist()},
    }


def _regression(spec: PipelineSpec, sides: dict[str, Judged]) -> Figures:
    version = sides["version"]
    rows, errors = len(version.labels), version.scores - version.labels
    sampled = np.random.default_rng(spec.tuning.seed).choice(rows, min(rows, DOTS), replace=False)
    low, high = (float(end) for end in np.quantile(errors, (0.005, 0.995)))
    low, high = (low, high) if high > low else (low - 1, high + 1)
    counts, _ = np.histogram(errors, bins=BINS, range=(low, high))
    return {
        "observed": _points(version.scores[sampled], version.labels[sampled]),
        "deciles": _deciles(version),
        "histogram": {"low": low, "high": high, "counts": counts.tolist()},
        "errors": {name: _errors(side) for name, side in sides.items()},
    }


def _deciles(judged: Judged) -> list[Figures]:
    """Tenths of the rows by prediction: what was predicted and what was observed."""
    bins = calibration.bins_of(judged.scores)
    found = []
    for place in np.unique(bins):
        labels, scores = judged.labels[bins == place], judged.scores[bins == place]
        low, high = np.quantile(labels, (0.1, 0.9))
        ends = {"low": float(low), "high": float(high)}
        found.append({"predicted": float(scores.mean()), "observed": float(labels.mean()), "rows": len(labels)} | ends)
    return found


def _errors(judged: Judged) -> list[list[float]]:
    """Absolute error, and the share of the rows whose error is at most that; Bi and Bennett 2003."""
    shares = np.linspace(0, 0.98, 50)
    return _points(np.quantile(np.abs(judged.scores - judged.labels), shares), shares)


def _spread(count: int, least: int = 0) -> Array:
    """At most `POINTS` places from `least` to the last one, evenly."""
    return np.unique(np.linspace(least, count - 1, POINTS).round().astype(int))


def _points(across: Array, up: Array, first: tuple[float, float] | None = None) -> list[list[float]]:
    points = [[float(f"{x:.6g}"), float(f"{y:.6g}")] for x, y in zip(across, up, strict=True)]
    return [list(first), *points] if first else points
