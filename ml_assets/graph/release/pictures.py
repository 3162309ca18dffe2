"""Pictures that Dagster shows inside a materialization, as inline PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_assets.graph.release.evaluation import Finding, Judged
from ml_assets.ml.pictures import as_markdown, new_figure


def evaluation_picture(judged: Judged, found: Sequence[Finding]) -> str:
    """A Markdown image: how well scores match outcomes, and the metric per slice."""
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    _calibration(left, judged)
    _slices(right, found)
    return as_markdown(figure, f"evaluation of version {judged.version}")


def _calibration(axes: Any, judged: Judged) -> None:
    import numpy as np

    if judged.schema.kind == "binary":
        edges = np.unique(np.quantile(judged.scores, np.linspace(0, 1, 11)))
        bins = np.clip(np.searchsorted(edges, judged.scores, side="right") - 1, 0, max(len(edges) - 2, 0))
        used = np.unique(bins)
        said = [judged.scores[bins == b].mean() for b in used]
        came = [judged.labels[bins == b].mean() for b in used]
        axes.plot([0, 1], [0, 1], color="lightgray")
        axes.plot(said, came, marker="o")
        axes.set(title="Calibration on test rows", xlabel="predicted probability", ylabel="share that came true")
    elif judged.schema.kind == "multiclass":
        shares = [
            float((judged.decisions == name)[judged.labels == name].mean()) if (judged.labels == name).any() else 0.0
            for name in judged.schema.classes
        ]
        axes.bar(judged.schema.classes, shares)
        axes.set(title="Recall by class on test rows", ylim=(0, 1))
    else:
        axes.scatter(judged.labels[:2000], judged.scores[:2000], s=4)
        axes.axline((float(judged.labels.mean()),) * 2, slope=1, color="lightgray")
        axes.set(title="Test rows", xlabel="outcome", ylabel="prediction")


def _slices(axes: Any, found: Sequence[Finding]) -> None:
    slices = sorted((f for f in found if f.scope == "slice" and f.value == f.value), key=lambda f: f.value)[:30]
    names = [f"{f.slice_by}={f.slice}" for f in slices]
    axes.barh(names, [f.value for f in slices])
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)
    axes.set(title=f"{slices[0].metric} by slice" if slices else "no slices declared")
