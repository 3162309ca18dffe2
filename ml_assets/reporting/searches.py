"""Plots of the searches behind a version, from the trials in the lake."""

from __future__ import annotations

from ml_assets.lake.lake import Lake
from ml_assets.reporting.plots import Figure, as_png
from ml_assets.reporting.search_plots import search_figure
from ml_assets.spec import PipelineSpec
from ml_assets.tables import trials
from ml_assets.tables.training_sets import Pin

READING = (
    "Each line is a trial, from its parameters to its score; dotted ones were pruned after their first fold. Bars, "
    "where there are enough trials, show how much of the score's variance a parameter explains."
)


def search_figures(lake: Lake, spec: PipelineSpec, pin: Pin) -> list[Figure]:
    """A plot for each candidate whose trials differ in something."""
    rows = [row for row in trials.newest(lake, spec.name, pin.pin_id) if row["metric"] == spec.metric]
    figures = []
    for name in spec.candidates:
        tried = [{"state": "complete", **row} for row in rows if row["candidate"] == name]
        figure = search_figure(tried, spec.metric)
        if figure is not None:
            figures.append(Figure(f"Search of {name}: {spec.metric}", as_png(figure), READING))
    return figures
