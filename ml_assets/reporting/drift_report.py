"""Evidently's report on a batch, with our verdict on top: an HTML page, and its JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.graph.monitoring.drift import Drift
from ml_assets.graph.monitoring.measuring import PRESENCE, Measure, quiet
from ml_assets.ml.reference import PREDICTION
from ml_assets.reporting import html

if TYPE_CHECKING:
    import pandas as pd

# Figures of 200 columns are 10 MB and 20 s; the table on the page and the lake have every column.
DRAWN = 25
# A column of the batch's sample with one value, whose mean Evidently can plot over the batches.
VERDICT = "share of the importance in drifted columns"
STYLE = """<style>.verdict { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 24px auto }
.verdict h1 { font-size: 24px; margin: 0 } .verdict table { border-collapse: collapse; font-size: 13px; width: 100% }
.verdict td, .verdict th { text-align: left; padding: 3px 10px 3px 0; border-bottom: 1px solid #e3e8ec }
.verdict .scroll { max-height: 380px; overflow: auto }</style>"""


def run(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    found: Drift,
    how: Mapping[str, Measure],
    batch: str,
    version: str,
    moment: dt.datetime,
) -> Any:
    """Evidently's run over both samples: our verdict, the number of drifted columns, and figures of up to 25 of them.

    Those are the prediction and the most important drifted columns, then those that came nearest to it. Figures have
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
        told = current[list(columns)].assign(**{VERDICT: found.weighted_share or 0.0})
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
            ValueDrift(column=name, method=how[name].method, threshold=how[name].threshold) for name in drawn(found)
        ]
        return Report([MeanValue(column=VERDICT), *([count] if counted else []), *shown]).run(
            Dataset.from_pandas(told, definition),
            Dataset.from_pandas(reference[list(columns)].assign(**{VERDICT: 0.0}), definition),
            name=batch,
            timestamp=moment,
            tags=[version, "drifted" if found.drifted else "calm"],
            metadata={"batch": batch, "model_version": version, "why": found.why, "rows": found.rows},
        )


def drawn(found: Drift) -> list[str]:
    """The columns with figures, the prediction first."""
    there = [column for column in found.columns if column.method != PRESENCE]
    ranked = sorted(there, key=lambda c: (c.column != PREDICTION, not c.drifted, -c.importance * c.far, -c.far))
    return [column.column for column in ranked[:DRAWN]]


def write(snapshot: Any, found: Drift, batch: str, version: str, page_file: Path, json_file: Path) -> None:
    """The page, and Evidently's JSON of it; each appears whole or not at all."""
    with quiet():
        page = html.sealed(snapshot.get_html_str(as_iframe=False))
    html.write(page_file, page.replace("<body>", f"<body>{_head(found, batch, version)}", 1))
    html.write(json_file, snapshot.json())


def _head(found: Drift, batch: str, version: str) -> str:
    names = ("column", "drifted", "distance", "limit", "where to", "importance", "rows", "of the reference", "measure")
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
    return (
        f'{STYLE}<div class="verdict"><h1>Batch {escape(batch)} against version {escape(version)}</h1>'
        f"<p>{escape(found.why)}</p><p>A limit above that of the figures below is what so few rows show by chance. "
        f'Figures are of {len(drawn(found))} columns.</p><div class="scroll">{html.table(names, rows)}</div></div>'
    )
