"""The ingest steps as bare DuckDB statements into a lake of the same format: no orchestrator, and nothing of ml_assets.

    python benchmarks/plain_ingest.py FILE PIPELINE OUT MEMORY

FILE is a Parquet file, PIPELINE the folder of defs.yaml and its SQL, OUT an empty folder, MEMORY DuckDB's memory limit.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_ducklake
import duckdb_extension_sqlite_scanner
import yaml

SQL_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
BATCH = "001"


def main(file: Path, pipeline: Path, out: Path, memory: str) -> None:
    spec = yaml.safe_load((pipeline / "defs.yaml").read_text())["attributes"]
    con = duckdb.connect()
    con.execute(f"SET memory_limit = '{memory}'; SET temp_directory = '{out / 'tmp'}'; SET TimeZone = 'UTC'")
    for package in (duckdb_extension_ducklake, duckdb_extension_sqlite_scanner):
        (extension,) = Path(package.__file__).parent.rglob("*.duckdb_extension")
        con.execute(f"LOAD '{extension}'")
    con.execute(f"ATTACH 'ducklake:sqlite:{out / 'catalog.sqlite'}' AS lake (DATA_PATH '{out / 'data'}')")
    con.execute("CALL lake.set_option('data_inlining_row_limit', 0); CREATE SCHEMA lake.sales")
    sha256 = hashlib.sha256()
    with file.open("rb") as bytes_:
        while chunk := bytes_.read(1 << 20):
            sha256.update(chunk)
    put(con, "raw_data", typed(spec, file, sha256.hexdigest()))
    con.execute(
        f"""CREATE TEMP TABLE broken AS SELECT row_id, reasons FROM
        (SELECT row_id, {reasons(spec)} AS reasons FROM lake.sales.raw_data) WHERE len(reasons) > 0"""
    )
    put(con, "validated_data", "FROM lake.sales.raw_data ANTI JOIN broken USING (row_id)")
    con.execute("CREATE TABLE lake.sales.statistics AS SELECT * FROM (SUMMARIZE lake.sales.validated_data)")
    put(con, "quarantine", "SELECT * FROM lake.sales.raw_data JOIN broken USING (row_id)")
    rows, held = con.execute(
        "SELECT (SELECT count(*) FROM lake.sales.raw_data), (SELECT count(*) FROM broken)"
    ).fetchall()[0]
    if held > rows * spec["tolerate"]["quarantined"]:
        raise ValueError(f"{held} of {rows} rows break a rule")
    make_features(con, spec, pipeline)


def put(con: duckdb.DuckDBPyConnection, asset_name: str, sql: str) -> None:
    """A table of the lake, partitioned by batch, in one transaction."""
    con.execute("BEGIN")
    con.execute(f"CREATE TABLE lake.sales.{asset_name} AS SELECT * FROM ({sql}) LIMIT 0")
    con.execute(f"ALTER TABLE lake.sales.{asset_name} SET PARTITIONED BY (batch)")
    con.execute(f"INSERT INTO lake.sales.{asset_name} {sql}")
    con.execute("COMMIT")


def typed(spec: dict[str, Any], file: Path, sha256: str) -> str:
    """SELECT of the file's columns in their types."""
    values = {column["name"]: f"CAST({column['name']} AS {SQL_TYPES[column['type']]})" for column in spec["columns"]}
    values |= {c["name"]: f"nullif({values[c['name']]}, 'nan')" for c in spec["columns"] if c["type"] == "number"}
    columns = ", ".join(f"{value} AS {name}" for name, value in values.items())
    return f"""SELECT '{BATCH}' AS batch, row_number() OVER () AS row_id, {columns},
        '{file.name}' AS source_file, '{sha256}' AS source_sha256 FROM read_parquet('{file}')"""


def reasons(spec: dict[str, Any]) -> str:
    """SQL list of the names of the rules that a row breaks; as in a CHECK, NULL passes."""
    rules = {**spec["rules"], "key": f"row_number() OVER (PARTITION BY {', '.join(spec['key'])} ORDER BY row_id) = 1"}
    for column in spec["columns"]:
        name = column["name"]
        if not column.get("nullable"):
            rules[f"{name}.not_null"] = f"{name} IS NOT NULL"
        if "min" in column:
            rules[f"{name}.min"] = f"{name} >= {column['min']}"
        if "max" in column:
            rules[f"{name}.max"] = f"{name} <= {column['max']}"
        if "regex" in column:
            rules[f"{name}.regex"] = f"regexp_full_match({name}, '{column['regex']}')"
    cases = ", ".join(f"CASE WHEN ({sql}) IS FALSE THEN '{name}' END" for name, sql in rules.items())
    return f"list_filter([{cases}], lambda x: x IS NOT NULL)"


def make_features(con: duckdb.DuckDBPyConnection, spec: dict[str, Any], pipeline: Path) -> None:
    """The lookup over earlier batches, of which there are none, and the features SELECT."""
    outcomes = ", ".join(column["name"] for column in spec["columns"] if column.get("outcome"))
    target = f"{spec['target']['sql']} AS {spec['target']['name']}"
    con.execute(
        f"CREATE TEMP VIEW history AS SELECT *, {target} FROM lake.sales.validated_data WHERE batch < '{BATCH}'"
    )
    for name, lookup in spec["lookups"].items():
        con.execute(f"CREATE TEMP TABLE {name} AS {(pipeline / lookup['sql']).read_text()}")
        put(con, f"lookup_{name}", f"SELECT '{BATCH}' AS batch, * FROM {name}")
    con.execute(f"CREATE TEMP VIEW batch AS SELECT * EXCLUDE ({outcomes}) FROM lake.sales.validated_data")
    put(con, "features", f"SELECT '{BATCH}' AS batch, * FROM ({(pipeline / spec['features']).read_text()})")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
