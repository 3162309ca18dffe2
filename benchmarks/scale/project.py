"""The project that is measured: synthetic sales, whose returns depend on price, pieces, product and store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import skeleton
from benchmarks.cost import setting

NAME = "sales"
LIBRARIES = ("dagster", "duckdb", "scikit-learn", "evidently")
SPEC: dict[str, Any] = {
    "name": NAME,
    "source": {"path": "data/incoming", "pattern": r"sales_(?P<batch>\d+)\.parquet", "settle_seconds": 0},
    "columns": [
        {"name": "sale", "type": "integer", "min": 0},
        {"name": "store", "type": "integer"},
        {"name": "product", "type": "string", "regex": "P[0-9]{2}"},
        {"name": "sold_at", "type": "timestamp"},
        {"name": "price", "type": "number", "min": 0},
        {"name": "pieces", "type": "integer", "min": 1, "max": 100},
        {"name": "by_card", "type": "boolean"},
        {"name": "weight", "type": "number", "nullable": True},
        {"name": "discount", "type": "number", "nullable": True},
        {"name": "channel", "type": "string", "nullable": True},
        {"name": "returned", "type": "boolean", "nullable": True, "outcome": True},
    ],
    "key": ["sale"],
    "rules": {"price_is_plausible": "price * pieces < 100000"},
    "tolerate": {"quarantined": 0.05},
    "target": {"name": "is_return", "sql": "returned", "kind": "binary"},
    "lookups": {"store_history": {"key": ["store"], "sql": "store_history.sql", "batches": 6}},
    "features": "features.sql",
    "candidates": {
        "boosting": {
            "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
            "params": {"max_iter": 60},
            "search": {"max_leaf_nodes": {"low": 15, "high": 63}},
        }
    },
    "tuning": {"trials": 2, "folds": 2, "metric": "roc_auc"},
    "gates": {"serving": None, "slices": None, "sensitivity": None, "leakage": None, "overfit": {"max_gap": 1}},
}
SQL = {
    "store_history.sql": "SELECT store, count(*) AS sales, avg(is_return::INT) AS return_share FROM history GROUP BY 1",
    "features.sql": """SELECT b.row_id, b.product, b.price, b.pieces, b.price * b.pieces AS total, b.by_card,
    hour(b.sold_at) AS sold_hour, dayofweek(b.sold_at) AS weekday, b.weight, coalesce(b.discount, 0) AS discount,
    b.channel, h.return_share, h.sales
FROM batch b LEFT JOIN store_history h ON h.store = b.store
""",
}
# About 1 % of the rows break a rule: a product without its form, no pieces, a sale twice.
ROWS = """SELECT
    CASE WHEN r % 400 = 7 THEN r - 1 ELSE r END AS sale, (hash(r, 1) % 500)::BIGINT AS store,
    CASE WHEN hash(r, 2) % 400 = 0 THEN 'unknown' ELSE 'P' || lpad((hash(r, 3) % 40)::VARCHAR, 2, '0') END AS product,
    TIMESTAMP '2024-01-01' + to_seconds((hash(r, 4) % 2592000)::BIGINT) AS sold_at,
    round(hash(r, 6) % 100000 / 100, 2) AS price,
    CASE WHEN hash(r, 7) % 400 = 0 THEN 0 ELSE (1 + hash(r, 8) % 20)::BIGINT END AS pieces,
    hash(r, 9) % 3 = 0 AS by_card, CASE WHEN hash(r, 10) % 20 > 0 THEN hash(r, 11) % 1000 / 100 END AS weight,
    CASE WHEN hash(r, 12) % 5 = 0 THEN hash(r, 13) % 50 / 100 END AS discount,
    'c' || hash(r, 14) % 6 AS channel,
    CASE WHEN hash(r, 15) % 10 > 0 THEN
        hash(r, 16) % 1000 < 30 + hash(r, 6) % 100000 / 1000 + (hash(r, 3) % 40) * 3 + (hash(r, 1) % 10) * 8
    END AS returned
FROM range({first}, {last}) t(r)"""
INGESTED = ("raw_data", "validated_data", "quarantine", "lookup_store_history", "features")


def make(folder: Path, **changes: Any) -> dict[str, Any]:
    """A project of its own with the pipeline and an empty lake; returns the pipeline's attributes.

    Args:
        folder: A new folder.
        changes: Attributes that replace those of `SPEC`.
    """
    spec = {**SPEC, **changes}
    skeleton.make(folder)
    skeleton.declare(folder, spec, SQL)
    return spec


def write_batch(folder: Path, batch: str, first: int, last: int) -> Path:
    """A file of synthetic rows with the numbers from `first` to before `last`, always the same."""
    import duckdb

    file = folder / "data" / "incoming" / f"{NAME}_{batch}.parquet"
    with duckdb.connect(config={"memory_limit": "1GiB"}) as con:
        con.execute(f"COPY ({ROWS.format(first=first, last=last)}) TO '{file}' (FORMAT parquet)")
    return file


def save(file: Path, name: str, found: dict[str, Any]) -> None:
    """Keep a table's figures in a JSON file, beside those of the other tables."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept[name] = {**setting("scale", LIBRARIES), **found}
    file.write_text(json.dumps(kept, indent=1) + "\n")
