"""What a materialization says, as Dagster shows it."""

from __future__ import annotations

import dagster as dg

from ml_assets.graph import declare


def test_metadata_in_the_order_in_which_people_need_it() -> None:
    shown = declare.shown(
        {
            "dagster/row_count": 7,
            "snapshot": "12",
            "dagster/column_schema": dg.TableSchema(columns=[]),
            "plot": dg.MetadataValue.md("![]()"),
            "files": 1234,
            "roc_auc": 0.7,
            "drifted": True,
            "p95_ms": 0.84265,
            "seconds": 1.5,
            "report": dg.MetadataValue.url("/ml-assets/reports/a.html"),
        },
        "/pipelines/loans",
    )
    assert list(shown) == [
        *("page", "report", "roc_auc", "dagster/row_count", "snapshot", "files", "drifted", "p95_ms", "seconds"),
        *("plot", "dagster/column_schema"),
    ]
    assert shown["page"].url == "/ml-assets/pipelines/loans"
    assert [name for name, value in shown.items() if isinstance(value, int | float) and value is not True] == [
        "roc_auc",
        "dagster/row_count",
    ]
    assert (shown["files"], shown["p95_ms"], shown["seconds"]) == ("1,234", "0.8427", "1.5")
