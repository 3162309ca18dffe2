"""Releases of a SELECT alone, with lookups and references, for the engines that compute features."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, replace
from pathlib import Path

import duckdb

from ml_assets.graph.release.packaging.sqlite_select import translate
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import SQLITE_SELECT, ServingFacts, source_line

COLUMNS = {"k": "string", "n": "integer", "x": "number", "ok": "boolean", "day": "date", "at": "timestamp"}
NULLABLE = ["k", "x", "at"]
ROWS = {
    "k": ["a", "b", None, "zz", "a"],
    "n": [1, -2, 3, 4, 2**40],
    "x": [0.5, None, -1.25, 0.0, 1e10],
    "ok": [True, False, True, False, True],
    "day": [dt.date(2013, 1, 6), dt.date(2024, 2, 29), dt.date(1999, 12, 31), dt.date(2013, 7, 4), dt.date(1970, 1, 1)],
    "at": [dt.datetime(2013, 1, 6, 5), None, dt.datetime(2013, 1, 6, 6, 30, 0, 500), dt.datetime(2020, 1, 1), None],
}
LOOKUP = "SELECT * FROM (VALUES ('a', 1.5::DOUBLE, 3), ('b', NULL, 4), (NULL, 9, 9)) t(k, share, seen)"
REFERENCE = """SELECT * FROM (VALUES (TIMESTAMPTZ '2013-01-06 05:00:00+00', 'a', 40.5::DOUBLE, true, DATE '2013-01-01'),
    (TIMESTAMPTZ '2013-01-06 06:00:00+00', 'a', 41.5, false, NULL)) t("hour", k, temp, dry, since)"""


def release_of(
    folder: Path, sql: str, features: dict[str, str], reference: str = REFERENCE
) -> tuple[ServingFacts, Schema]:
    """A folder with what features are computed from, and what a release says about it."""
    for place in ("bundle", "lookups", "references"):
        (folder / place).mkdir(parents=True)
    (folder / "bundle" / "features.sql").write_text(sql)
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"COPY ({LOOKUP}) TO '{folder}/lookups/history.parquet'")
        con.execute(f"COPY ({reference}) TO '{folder}/references/weather.parquet'")
    schema = Schema("binary", "late", COLUMNS, features, [], 0.5, "a.B", NULLABLE)
    (folder / "bundle" / "schema.json").write_text(json.dumps(asdict(schema)))
    return ServingFacts(
        "p", "1.0.0", "7", "features.sql", None, [], {"history": ["k"]}, ["weather"], row_wise=True
    ), schema


def types(folder: Path) -> dict[str, dict[str, str]]:
    """Lookup or reference -> column -> DuckDB's type."""
    files = [*folder.glob("lookups/*.parquet"), *folder.glob("references/*.parquet")]
    return {
        file.stem: {row[0]: row[1] for row in duckdb.execute(f"DESCRIBE FROM '{file}'").fetchall()} for file in files
    }


def for_sqlite(folder: Path, facts: ServingFacts, schema: Schema) -> ServingFacts:
    """The facts with SQLite as the engine, its SELECT written."""
    sql = (folder / "bundle" / "features.sql").read_text()
    made = translate(sql, facts.batch, schema.columns, schema.features, types(folder))
    (folder / SQLITE_SELECT).write_text(f"{source_line(sql)}\n{made.text}")
    return replace(facts, features_engine="sqlite", indexes=made.indexes)
