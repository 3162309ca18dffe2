"""The picture of a drift report."""

from __future__ import annotations

from collections.abc import Sequence

from ml_assets.graph.monitoring.drift import ColumnDrift
from ml_assets.ml.pictures import as_markdown, new_figure


def drift_picture(columns: Sequence[ColumnDrift]) -> str:
    """A Markdown image: how far each column has moved, in units of its threshold."""
    shown = list(columns)[:25]
    figure = new_figure(8, 1 + 0.25 * len(shown))
    axes = figure.subplots()
    distances = [column.score / (column.threshold or 1) for column in shown]
    axes.barh([c.column for c in shown], distances, color=["tab:red" if c.drifted else "tab:blue" for c in shown])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xlabel="distance / threshold", title="Drift by column")
    return as_markdown(figure, "drift by column")
