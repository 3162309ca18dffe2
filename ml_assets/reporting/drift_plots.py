"""The plots of a drift report, and the one that Dagster shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ml_assets.ml.drift_measures import DISTANCES
from ml_assets.ml.judged import Array
from ml_assets.reporting.plots import BLUE, GREY, RED, as_markdown, new_figure
from ml_assets.reporting.svg import Axis, Plot, Row, Series, lines, rows
from ml_assets.tables.drift import BatchDrift, MeasuredColumn

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 25
FARTHEST = 4.0  # limits, beyond which a bar is cut: one column must not hide the others
BINS = 24
CATEGORIES = 8  # the most frequent ones of both sides


def drift_plot(columns: Sequence[MeasuredColumn]) -> str:
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


def distances(found: BatchDrift) -> list[Plot]:
    """How far each column has moved, in multiples of its limit, and how much the model rests on it."""
    ranked = sorted(found.columns, key=lambda column: -column.far)[:SHOWN]
    if not ranked:
        return []
    by = "The measure of a distance divided by its limit: from the line on, the column has drifted."
    cut = f" Bars end at {FARTHEST:g} limits." if ranked[0].far > FARTHEST else ""
    more = f" The {SHOWN} that moved farthest are shown." if len(found.columns) > SHOWN else ""
    moved = [Row(one.column, min(one.far, FARTHEST), style=_style(one)) for one in ranked]
    weight = [Row(one.column, one.importance, style=_style(one)) for one in ranked]
    colours = [("bad", "drifted"), ("version", "not drifted"), ("baseline", "ignored")]
    legend = [(style, words) for style, words in colours if style in {row.style for row in moved}]
    limit = [("limit", 1.0, "limit")]
    share, verdict = found.weighted_share, [("limit", found.limit, f"limit {found.limit:.0%}")]
    carried = Row("drifted columns", share or 0.0, style="bad" if found.drifted else "version")
    return [
        rows("Distance of each column", Axis("distance / limit"), moved, by + cut + more, limit, legend, as_bars=True),
        rows(
            "Importance of each column",
            Axis("share of the model's importance"),
            weight,
            f"A batch has drifted when the drifted columns carry at least {found.limit:.0%} of the importance.",
            (),
            legend,
            as_bars=True,
        ),
        *(
            []
            if share is None
            else [
                rows(
                    "Importance in drifted columns",
                    Axis("share of the model's importance", 0.0, 1.0),
                    [carried],
                    "From the limit on, the batch has drifted (monitoring.drift_share).",
                    verdict,
                    as_bars=True,
                )
            ]
        ),
    ]


def _style(column: MeasuredColumn) -> str:
    return "baseline" if column.ignored else "bad" if column.drifted else "version"


def compared(found: BatchDrift, name: str, current: pd.DataFrame, reference: pd.DataFrame) -> Plot:
    """The distribution of a column in the batch and in the training data."""
    column = next(one for one in found.columns if one.column == name)
    by, than = ("moved by", "") if column.method in DISTANCES else ("p-value", " at least")
    reading = f"{by} {column.score:.3g}, limit{than} {column.threshold:.3g}; {column.direction}"
    reading = reading[0].upper() + reading[1:] + "."
    style = _style(column) if column.drifted else "version"
    legend = [("baseline", "training data"), (style, "batch")]
    new, old = current[name], reference[name]
    if new.dtype.kind in "fiub" and old.dtype.kind in "fiub":
        return _numbers(name, new.to_numpy("float64"), old.to_numpy("float64"), style, reading)
    shares = [side.dropna().astype(str).value_counts(normalize=True) for side in (new, old)]
    most = (shares[0].add(shares[1], fill_value=0.0)).nlargest(CATEGORIES).index
    shown = [
        Row(str(value), float(shares[0].get(value, 0.0)), style=style, others=[("baseline", shares[1].get(value, 0.0))])
        for value in most
    ]
    return rows(name, Axis("share of the rows", low=0.0), shown, reading, (), legend)


def _numbers(name: str, new: Array, old: Array, style: str, reading: str) -> Plot:
    new, old = new[np.isfinite(new)], old[np.isfinite(old)]
    both = np.concatenate([new, old])
    low, high = np.quantile(both, (0.005, 0.995)) if len(both) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    curves = []
    for side, styled, words in ((old, "baseline", "training data"), (new, style, "batch")):
        counts, _ = np.histogram(np.clip(side, edges[0], edges[-1]), edges)
        heights = [*(counts / max(len(side), 1)).tolist(), 0.0]
        curves.append(Series(styled, list(zip(edges.tolist(), heights, strict=True)), words, "steps"))
    return lines(name, Axis(name), Axis("share of the rows", low=0.0), curves, reading)
