"""The gate between the engines: what SQLite would compute differently, it does not compute."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_assets.ml.release import SQLITE_SELECT, source_line
from ml_assets.server.parity import difference, hard_rows
from ml_assets_tests.server.made import NULLABLE, ROWS, for_sqlite, release_of

FEATURE = "SELECT row_id, n + coalesce(x, 1) AS f FROM batch"


def difference_of(folder: Path, sqlite: str) -> str:
    """What the gate says of another SELECT on SQLite than the translated one."""
    facts, schema = release_of(folder, FEATURE, {"f": "number"})
    facts = for_sqlite(folder, facts, schema)
    assert difference(folder, facts, schema, ROWS, 5) == ""
    (folder / SQLITE_SELECT).write_text(f"{source_line(FEATURE)}\n" + sqlite.replace("{all}", "?1, ?2, ?3, ?4, ?5, ?6"))
    return difference(folder, facts, schema, ROWS, 5)


ALL = "FROM (SELECT {all})"
ADDED = "duck_x2b(?2, coalesce(?3, 1.0))"


@pytest.mark.parametrize(
    ("sqlite", "why"),
    [
        (f"SELECT CAST({ADDED} * (1 + 1e-15) AS REAL) {ALL}", "f is "),
        (f"SELECT {ADDED} FROM (SELECT {{all}}) WHERE ?2 <> 3", "SQLite gives not one row where DuckDB answers"),
        (
            f"SELECT CAST(CASE WHEN ?2 = 9223372036854775807 THEN 0 ELSE {ADDED} END AS REAL) {ALL}",
            "f is 0.0 on SQLite",
        ),
        (f"SELECT CAST(CASE WHEN ?1 = 'no such key' THEN 0 ELSE {ADDED} END AS REAL) {ALL}", "k=no such key"),
        (f"SELECT CAST(coalesce({ADDED}, 0) AS REAL) - (?1 IS NULL AND ?3 IS NULL) {ALL}", "k=None"),
        (f"SELECT CASE WHEN {ADDED} = 0 THEN -0.0 ELSE CAST({ADDED} AS REAL) END {ALL}", "-0.0 on SQLite"),
        ("SELECT nothing FROM nowhere", "cannot be computed on SQLite"),
    ],
)
def test_another_answer_on_any_row_is_found(tmp_path: Path, sqlite: str, why: str) -> None:
    assert why in difference_of(tmp_path, sqlite)


def test_a_slow_select_is_left_to_duckdb(tmp_path: Path) -> None:
    facts, schema = release_of(
        tmp_path,
        "SELECT row_id, count AS f FROM batch LEFT JOIN weather ON weather.hour + 1 = n",
        {"f": "number"},
        'SELECT range AS "hour", 1 AS count FROM range(200000)',
    )
    assert "ms on SQLite" in difference(tmp_path, for_sqlite(tmp_path, facts, schema), schema, ROWS, 5)


def test_hard_rows_have_what_training_rows_have_not(tmp_path: Path) -> None:
    _, schema = release_of(tmp_path, FEATURE, {"f": "number"})
    rows = list(hard_rows(schema, ROWS))
    assert all(rows[0][name] == [None] for name in NULLABLE)
    assert {row["n"][0] for row in rows} >= {0, -1, 2**63 - 1, -(2**63)}
    assert "no such key" in {row["k"][0] for row in rows}
