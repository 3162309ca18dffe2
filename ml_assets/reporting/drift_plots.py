"""The plot of a drift report."""

from __future__ import annotations

from collections.abc import Sequence

from ml_assets.reporting.plots import BLUE, GREY, RED, as_markdown, new_figure
from ml_assets.tables.drift import ColumnDrift

SHOWN = 25


def drift_plot(columns: Sequence[ColumnDrift]) -> str:
    """A Markdown image: how far each column has moved beside how much the model rests on it."""
    shown = list(columns)[:SHOWN]
    figure = new_figure(8, 1 + 0.25 * len(shown))
    moved, weight = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    colors = [GREY if c.ignored else RED if c.drifted else BLUE for c in shown]
    names = [c.column for c in shown]
    moved.barh(names, [c.far for c in shown], color=colors)
    moved.axvline(1, color="black", linewidth=0.8)
    moved.invert_yaxis()
    moved.set(xlabel="distance / limit", title="How far each column has moved")
    weight.barh(names, [c.importance for c in shown], color=colors)
    weight.set(xlabel="share", title="Importance")
    return as_markdown(figure, "drift by column")
