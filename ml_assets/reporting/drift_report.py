"""The drift of a batch as an HTML report, and Evidently's run behind it, whose own report is rendered on demand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.ml.drift_measures import PRESENCE, Measure, quiet
from ml_assets.ml.reference import PREDICTION
from ml_assets.reporting import drift_plots, html
from ml_assets.reporting.html import Cell, ReportTable, Section, Tile
from ml_assets.tables.drift import BatchDrift

if TYPE_CHECKING:
    import pandas as pd

# The table of the report and the lake have every column.
PLOTTED = 25
MOST_ROWS = 800
RAISED = "Limits are raised where so few rows could differ by chance."
# A column of the batch's sample with one value, whose mean Evidently can plot over the batches.
VERDICT = "share of the importance in drifted columns"


def run(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    found: BatchDrift,
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


def plotted(found: BatchDrift) -> list[str]:
    """The columns with plots, the prediction first."""
    there = [column for column in found.columns if column.method != PRESENCE]
    ranked = sorted(there, key=lambda c: (c.column != PREDICTION, not c.drifted, -c.importance * c.far, -c.far))
    return [column.column for column in ranked[:PLOTTED]]


def write_evidently(saved: str, file: Path) -> None:
    """Evidently's own report, of a run as `Snapshot.dumps` gave it; it appears whole or not at all."""
    with quiet():
        from evidently.core.report import Snapshot

        page = html.sealed(Snapshot.loads(saved).get_html_str(as_iframe=False))
    html.write(file, page)


def page(
    found: BatchDrift,
    current: pd.DataFrame,
    reference: pd.DataFrame,
    pipeline: str,
    batch: str,
    version: str,
    figures: str,
) -> str:
    """Our report on a batch: the verdict, how far each column has moved, and where to.

    Args:
        found: The verdict.
        current: Sample of the batch.
        reference: Sample of the fitted rows.
        pipeline: The pipeline.
        batch: The batch.
        version: The model version.
        figures: Address of Evidently's JSON beside it.
    """
    shown = plotted(found)
    which = "All columns are" if len(shown) == len(found.columns) else f"The {len(shown)} most important columns are"
    style, word = {True: ("bad", "Drift"), False: ("good", "No drift"), None: ("none", "No verdict")}[found.drifted]
    sections = [
        Section("How far each column has moved", drift_plots.distances(found)),
        Section(
            "Distributions",
            [f"{which} plotted below.", *(drift_plots.compared(found, name, current, reference) for name in shown)],
        ),
        Section("All columns", [RAISED, *_columns(found)]),
    ]
    return html.render(
        "drift.html",
        title=f"{pipeline} {batch}: {word.lower()}",
        pipeline=pipeline,
        batch=batch,
        version=version,
        style=style,
        word=word,
        why=_sentence(found.why.removeprefix(f"{word}: ")),
        figures=figures,
        numbers=_tiles(found),
        sections=sections,
    )


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _tiles(found: BatchDrift) -> list[Tile]:
    share, counted = found.weighted_share, [column for column in found.columns if not column.ignored]
    if share is None:
        return [Tile(f"{found.rows:,}", "rows of the batch")]
    return [
        Tile(f"{share:.0%}", "of the model's importance is in drifted columns", f"limit {found.limit:.0%}"),
        Tile(f"{len(found.drifted_columns)}", f"of {len(counted)} columns drifted"),
        Tile(f"{found.rows:,}", "rows of the batch", f"{found.reference_rows:,} of the training data"),
    ]


def _columns(found: BatchDrift) -> list[str | ReportTable]:
    """Every column, the drifted ones first; very many are cut, so that the page stays small."""
    names = ("column", "result", "distance", "limit", "direction", "importance", "rows", "training rows", "method")
    ordered = sorted(found.columns, key=lambda column: not column.drifted)
    rows = [
        (
            column.column + (" (ignored)" if column.ignored else ""),
            Cell("▲ drifted", "bad") if column.drifted else "unchanged",
            f"{column.score:.3g}",
            f"{column.threshold:.3g}",
            column.direction,
            f"{column.importance:.1%}",
            f"{column.rows:,}",
            f"{column.reference_rows:,}",
            column.method,
        )
        for column in ordered[:MOST_ROWS]
    ]
    left_out = len(ordered) - len(rows)
    more = [f"{left_out} more columns are in the table drift_report of the lake."] if left_out else []
    return [ReportTable(names, rows, "All columns", stacks=True), *more]
