"""The project that is measured: synthetic sales, whose returns depend on price, pieces, product and store."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from benchmarks.flights import PACKAGE, PYPROJECT, Cost, cpu_model, measured

MODULE = "benchmark_project"
NAME = "sales"
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
    declare(folder, spec)
    shutil.copy(PACKAGE / "definitions.py", folder / MODULE / "definitions.py")
    (folder / MODULE / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "data" / "incoming").mkdir(parents=True)
    (folder / "data" / "dagster").mkdir()
    shutil.copy(PACKAGE / "dagster.yaml", folder / "data" / "dagster" / "dagster.yaml")
    return spec


def declare(folder: Path, spec: dict[str, Any], sql: Mapping[str, str] = SQL) -> None:
    """Write one pipeline's folder of definitions."""
    defs = folder / MODULE / "defs" / str(spec["name"])
    defs.mkdir(parents=True)
    document = {"type": "ml_assets.MLPipeline", "attributes": spec}
    (defs / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    for name, text in sql.items():
        (defs / name).write_text(text)


def write_batch(folder: Path, batch: str, first: int, last: int) -> Path:
    """A file of synthetic rows with the numbers from `first` to before `last`, always the same."""
    import duckdb

    file = folder / "data" / "incoming" / f"{NAME}_{batch}.parquet"
    with duckdb.connect(config={"memory_limit": "1GiB"}) as con:
        con.execute(f"COPY ({ROWS.format(first=first, last=last)}) TO '{file}' (FORMAT parquet)")
    return file


def materialize(folder: Path, assets: Sequence[str], *which: str, memory: str = "1GiB") -> Cost:
    """Materialize assets by the command that a user types, in a process of its own; returns its cost.

    Args:
        folder: The project.
        assets: Their names.
        which: Options that name batches.
        memory: DuckDB's memory limit.
    """
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(folder / "data" / "dagster"),
        "ML_ASSETS_MEMORY_LIMIT": memory,
        "ML_ASSETS_STATIC_PAGES": "0",
    }
    steps = " or ".join(f'key:"{NAME}/{name}"' for name in assets)
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", f"{MODULE}.definitions", "--select"]
    return measured([*command, steps, *which], folder, environment)


def setting() -> dict[str, str]:
    """The machine, the versions and the command, as every table says them."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    libraries = ", ".join(f"{name} {version(name)}" for name in ("dagster", "duckdb", "scikit-learn", "evidently"))
    return {
        "machine": f"{cpu_model()}, {os.cpu_count()} cores, {memory_gib:.1f} GiB, load {os.getloadavg()[0]:.1f}",
        "versions": f"python {platform.python_version()}, {libraries}",
        "command": "python -m " + " ".join(["benchmarks.scale", *sys.argv[1:]]),
    }


def save(file: Path, name: str, found: dict[str, Any]) -> None:
    """Keep a table's figures in a JSON file, beside those of the other tables."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept[name] = {**setting(), **found}
    file.write_text(json.dumps(kept, indent=1) + "\n")
