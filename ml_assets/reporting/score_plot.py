"""The plot of live scores over batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml_assets.reporting.plots import BLUE, GREY, RED, as_markdown, new_figure

MOST = 40


def score_plot(metric: str, judged: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown image: the champion's score of each batch with its interval, and its test score.

    Args:
        metric: Its name.
        judged: Rows of `performance_report`, one a batch, in order; the last 40 are shown.
    """
    shown = [row for row in judged if row["value"] is not None][-MOST:]
    figure = new_figure(7, 2.6)
    axes = figure.subplots()
    places = range(len(shown))
    for place, row in zip(places, shown, strict=True):
        colour = RED if row["decayed"] else GREY if row["seen"] else BLUE
        if row["low"] is not None:
            axes.plot([place, place], [row["low"], row["high"]], color=colour, linewidth=1.5)
        axes.plot(place, row["value"], "o", color=colour, markersize=4)
    test_scores = [float("nan") if row["test_score"] is None else row["test_score"] for row in shown]
    axes.step(
        places, test_scores, where="mid", color="black", linewidth=0.8, linestyle="--", marker="_", label="test score"
    )
    every = max(1, len(shown) // 10)
    axes.set_xticks(list(places)[::every], [row["batch"] for row in shown][::every], rotation=30, ha="right")
    axes.set(ylabel=metric, title="Live score by batch (grey: the version has seen it; red: decayed)")
    axes.legend(loc="best", fontsize=8)
    return as_markdown(figure, f"{metric} by batch")
