"""What the columns of all rows hold, in order of the rows: statistics of parts, in few statements for all columns.

The rows have the keys of `store.statistics` that suggestions are made from, and `whole`: the values are all there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from ml_assets.lake.sql import identifier

PARTS = 4  # at least: what the first rows say is held against the later ones
MOST_PARTS = 24
MOST_VALUES = 60  # different values that are listed
EXACT_CELLS = 30_000_000  # rows times columns up to which different values are counted exactly
AT_ONCE = 50
SAMPLE = 40


def profile(
    con: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str]
) -> tuple[list[dict[str, Any]], dict[str, int], bool]:
    """Statistics of each part for each column; column -> different values in all rows; whether these are exact.

    Args:
        con: Connection.
        relation: Table of all rows, with row_id and batch.
        columns: Column name -> SQL type.
    """
    _cut(con, relation)
    rows = int(con.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])
    exact = rows * len(columns) <= EXACT_CELLS
    found: list[dict[str, Any]] = []
    distinct: dict[str, int] = {}
    names = list(columns)
    for start in range(0, len(names), AT_ONCE):
        part = names[start : start + AT_ONCE]
        distinct |= _distinct(con, relation, part, exact)
        found += _of_columns(con, part, columns, distinct)
    con.execute("DROP VIEW parts; DROP TABLE parts_")
    return found, distinct, exact


def _cut(con: duckdb.DuckDBPyConnection, relation: str) -> None:
    """The view `parts`: all rows with the number of their part, from the first batch to the last."""
    (batches,) = con.execute(f"SELECT count(DISTINCT batch) FROM {relation}").fetchall()[0]
    a_batch = -(-PARTS // batches)
    con.execute(
        f"""CREATE TEMP TABLE parts_ AS SELECT row_id AS __id, batch AS __batch,
            CASE WHEN {batches} > {MOST_PARTS} THEN (__rank - 1) * {MOST_PARTS} // {batches}
            ELSE __rank * {a_batch} + ntile({a_batch}) OVER (PARTITION BY batch ORDER BY row_id) END AS __part
        FROM (SELECT row_id, batch, dense_rank() OVER (ORDER BY batch) AS __rank FROM {relation})"""
    )
    con.execute(f"CREATE TEMP VIEW parts AS SELECT r.*, p.__part FROM {relation} r JOIN parts_ p ON p.__id = r.row_id")


def _distinct(con: duckdb.DuckDBPyConnection, relation: str, names: Sequence[str], exact: bool) -> dict[str, int]:
    count = "count(DISTINCT {})" if exact else "approx_count_distinct({})"
    counted = ", ".join(count.format(identifier(name)) for name in names)
    return dict(zip(names, con.execute(f"SELECT {counted} FROM {relation}").fetchall()[0], strict=True))


def _of_columns(
    con: duckdb.DuckDBPyConnection, names: Sequence[str], columns: Mapping[str, str], distinct: Mapping[str, int]
) -> list[dict[str, Any]]:
    few = [name for name in names if distinct[name] <= MOST_VALUES]
    ends = (f"count({c}), min({c})::VARCHAR, max({c})::VARCHAR" for c in (identifier(name) for name in names))
    counted = (f"histogram({identifier(name)}::VARCHAR)" for name in few)
    cells = ", ".join([*ends, *counted])
    sql = f"SELECT __part, min(batch), max(batch), count(*), {cells} FROM parts GROUP BY 1 ORDER BY 1"
    samples = _samples(con, [name for name in names if name not in few and columns[name] == "VARCHAR"])
    found = []
    for _, first, last, rows, *of_part in con.execute(sql).fetchall():
        values = dict(zip(few, of_part[3 * len(names) :], strict=True))
        for number, name in enumerate(names):
            count, low, high = of_part[3 * number : 3 * number + 3]
            row = {"column_name": name, "sql_type": columns[name], "batch": first if first == last else None}
            row |= {"row_count": rows, "null_count": rows - count, "distinct_count": distinct[name]}
            row |= {"min_value": low, "max_value": high, "whole": name in values}
            row |= {"sampled_rows": rows if name in values else 0}
            counts = values.get(name) or dict.fromkeys(samples.get(name, ()), 1)
            found.append({**row, "top_values": [{"value": v, "count": n} for v, n in counts.items()]})
    return found


def _samples(con: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, list[str]]:
    """Column -> some of its texts."""
    if not names:
        return {}
    listed = ", ".join(f"list(DISTINCT {c}) FILTER ({c} IS NOT NULL)" for c in map(identifier, names))
    (cells,) = con.execute(f"SELECT {listed} FROM (FROM parts LIMIT {SAMPLE})").fetchall()
    return {name: values or [] for name, values in zip(names, cells, strict=True)}
