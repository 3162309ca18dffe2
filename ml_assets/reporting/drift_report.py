"""Evidently's report on a batch, with our verdict on top: an HTML report, and its JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.ml.drift_measures import PRESENCE, Measure, quiet
from ml_assets.ml.reference import PREDICTION
from ml_assets.reporting import html
from ml_assets.reporting.html import Table
from ml_assets.tables.drift import Drift

if TYPE_CHECKING:
    import pandas as pd

# Plots of 200 columns are 10 MB and 20 s; the table of the report and the lake have every column.
PLOTTED = 25
# A column of the batch's sample with one value, whose mean Evidently can plot over the batches.
VERDICT = "share of the importance in drifted columns"


def run(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    found: Drift,
    how: Mapping[str, Measure],
    batch: str,
    version: str,
    moment: dt.datetime,
) -> Any:
    """Evidently's run over both samples: our verdict, the number of drifted columns, and plots of up to 25 of them.

    Those are the prediction and the most important drifted columns, then those that are nearest to it. Plots have
    the thresholds of all batches, not those that were raised for a small one: Evidently would plot each apart. Columns
    that hardly have values are left out.

    Args:
        current: Sample of the batch.
        reference: Sample of the fitted rows, with the same columns.
        found: The verdict.
        how: Column -> how it is measured.
        batch: Name of the run.
        version: The model version.
        moment: Time of the run in a history.
    """
    with quiet():
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import DriftedColumnsCount, MeanValue, ValueDrift

        columns = {c.column: c for c in found.columns if c.method != PRESENCE}
        counted = [name for name, column in columns.items() if not column.ignored]
        with_verdict = current[list(columns)].assign(**{VERDICT: found.weighted_share or 0.0})
        definition = DataDefinition(
            numerical_columns=[*(name for name in columns if how[name].kind == "number"), VERDICT],
            categorical_columns=[name for name in columns if how[name].kind == "category"],
        )
        count = DriftedColumnsCount(
            columns=counted,
            drift_share=found.limit,
            per_column_method={name: columns[name].method for name in counted},
            per_column_threshold={name: columns[name].threshold for name in counted},
        )
        shown = [
            ValueDrift(column=name, method=how[name].method, threshold=how[name].threshold) for name in plotted(found)
        ]
        return Report([MeanValue(column=VERDICT), *([count] if counted else []), *shown]).run(
            Dataset.from_pandas(with_verdict, definition),
            Dataset.from_pandas(reference[list(columns)].assign(**{VERDICT: 0.0}), definition),
            name=batch,
            timestamp=moment,
            tags=[version, "drift" if found.drifted else "no drift"],
            metadata={"batch": batch, "model_version": version, "why": found.why, "rows": found.rows},
        )


def plotted(found: Drift) -> list[str]:
    """The columns with plots, the prediction first."""
    there = [column for column in found.columns if column.method != PRESENCE]
    ranked = sorted(there, key=lambda c: (c.column != PREDICTION, not c.drifted, -c.importance * c.far, -c.far))
    return [column.column for column in ranked[:PLOTTED]]


def write(snapshot: Any, found: Drift, batch: str, version: str, report: Path, figures: Path) -> None:
    """The report, and Evidently's JSON of its figures; each appears whole or not at all."""
    with quiet():
        page = html.sealed(snapshot.get_html_str(as_iframe=False))
    html.write(report, page.replace("<body>", f"<body>{_head(found, batch, version)}", 1))
    html.write(figures, snapshot.json())


def _head(found: Drift, batch: str, version: str) -> str:
    names = ("column", "drifted", "distance", "limit", "direction", "importance", "rows", "reference rows", "method")
    rows = [
        (
            column.column + (" (ignored)" if column.ignored else ""),
            "yes" if column.drifted else "no",
            f"{column.score:.3g}",
            f"{column.threshold:.3g}",
            column.direction,
            f"{column.importance:.1%}",
            f"{column.rows:,}",
            f"{column.reference_rows:,}",
            column.method,
        )
        for column in found.columns
    ]
    shown = len(plotted(found))
    which = "All columns are" if shown == len(rows) else f"The {shown} most important columns are"
    return html.render(
        "drift.html",
        batch=batch,
        version=version,
        why=found.why,
        plotted=f"{which} plotted below.",
        columns=Table(names, rows),
    )
