"""Casts of a lookup's or reference's column in the condition of a join, computed once instead of at each request.

`JOIN weather w ON CAST(w.time_hour AS TIMESTAMP) = b.time_hour` casts every row of weather for each request, and hides
from DuckDB which of them can be skipped. A column with the cast values has the same rows join.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from typing import Any

import duckdb

from ml_assets.lake.sql import identifier, literal

Node = dict[str, Any]


def with_stored_casts(con: duckdb.DuckDBPyConnection, sql: str, tables: Collection[str]) -> str:
    """Add columns to tables for the casts in a SELECT's joins; returns the SELECT that reads them.

    It is left as it is where a star or a whole row might show the columns, or a name may mean two relations.

    Args:
        con: It has the tables, and may still change them.
        sql: One SELECT.
        tables: Names of the tables.
    """
    tree = json.loads(con.execute(f"SELECT json_serialize_sql({literal(sql)})").fetchall()[0][0])
    every = list(_nodes(tree))
    named = _named(every, {name.lower(): name for name in tables})
    if tree["error"] or any(node.get("class") == "STAR" or _is_row(node, named) for node in every):
        return sql
    joins = [node["condition"] for node in every if node.get("type") == "JOIN" and node["condition"]]
    found = False
    for node in (node for condition in joins for node in _nodes(condition)):
        table = _cast_table(node, named)
        if table is not None:
            # A value that cannot be cast is an error of the requests that join it, if any does.
            with contextlib.suppress(duckdb.Error):
                column = _stored(con, table, node)
                alias = node["child"]["column_names"][0]
                node.update({**node.pop("child"), "column_names": [alias, column]})
                found = True
    if not found:
        return sql
    return str(con.execute(f"SELECT json_deserialize_sql({literal(json.dumps(tree))}::JSON)").fetchall()[0][0])


def _nodes(part: Any) -> Iterator[Node]:
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _nodes(inner)


def _named(every: Collection[Node], tables: dict[str, str]) -> dict[str, str | None]:
    """Name of a relation, lower case -> its table; None where it is, or may be, something else."""
    found: dict[str, str | None] = {}
    for node in every:
        if "alias" in node and "sample" in node and node.get("type") != "JOIN":
            is_table = node["type"] == "BASE_TABLE"
            name = str(node["alias"] or (node["table_name"] if is_table else "")).lower()
            table = tables.get(node["table_name"].lower()) if is_table and not node["column_name_alias"] else None
            found[name] = table if name not in found else None
    ctes = [entry["key"].lower() for node in every for entry in node.get("cte_map", {}).get("map", [])]
    return found | dict.fromkeys(ctes)


def _is_row(node: Node, named: Collection[str]) -> bool:
    """Is it a relation's name as a value: all its columns?"""
    names = node.get("column_names", ())
    return node.get("class") == "COLUMN_REF" and len(names) == 1 and names[0].lower() in named


def _cast_table(node: Node, named: dict[str, str | None]) -> str | None:
    """The table of which a node casts a column; None where it does something else."""
    child = node.get("child")
    if node.get("class") != "CAST" or node["try_cast"] or node["cast_type"]["type_info"] or child is None:
        return None
    if child.get("class") != "COLUMN_REF" or len(child["column_names"]) != 2:
        return None
    return named.get(child["column_names"][0].lower())


def _stored(con: duckdb.DuckDBPyConnection, table: str, cast: Node) -> str:
    """The column of a table with its cast values; made where it is not there yet."""
    column, type_ = cast["child"]["column_names"][1], cast["cast_type"]["id"]
    name = f"{column} as {type_}"
    there = {row[0] for row in con.execute(f"DESCRIBE {identifier(table)}").fetchall()}
    if name not in there:
        value = f"CAST({identifier(column)} AS {type_}) AS {identifier(name)}"
        con.execute(f"CREATE OR REPLACE TABLE {identifier(table)} AS SELECT *, {value} FROM {identifier(table)}")
    return name
