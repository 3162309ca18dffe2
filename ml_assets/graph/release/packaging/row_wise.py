"""Does a row's feature depend on that row alone? Told by the syntax tree of the features SELECT.

Then rows of several requests may be computed together, or one by one, and each gets the same features. The answer is
conservative: whatever is not known to be row by row is not. `row_id` counts as another row's matter, because it is the
row's place in its request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ml_assets.lake.database import scratch
from ml_assets.lake.sql import literal
from ml_assets.lake.sql_guard import syntax_tree

Node = dict[str, Any]
BATCH, ROW_ID = "batch", "row_id"
# Clauses of a SELECT that make a row of several, or choose among rows by each other.
MIXES_ROWS = ("group_expressions", "group_sets", "having", "qualify", "sample")
EXPRESSIONS = frozenset(
    {"COLUMN_REF", "CONSTANT", "FUNCTION", "OPERATOR", "COMPARISON", "CONJUNCTION", "CASE", "CAST", "BETWEEN"}
    | {"SUBQUERY", "COLLATE", "LAMBDA"}
)


class MixesRows(Exception):
    """A row's features may depend on other rows."""


def is_row_wise(sql: str) -> bool:
    """Does each row of the SELECT's result depend on one row of `batch` alone?"""
    tree = syntax_tree(sql)
    if tree["error"] or len(tree["statements"]) != 1:
        return False
    try:
        return _query(tree["statements"][0]["node"], {BATCH: 1}) == 1
    except MixesRows:
        return False


def _query(node: Node, reads: Mapping[str, int]) -> int:
    """How often a query reads `batch`, where these names do so many times.

    Raises:
        MixesRows: It reads `batch`, and not row by row, or more than once.
    """
    reads = dict(reads)
    for entry in node.get("cte_map", {}).get("map", []):
        made = _query(entry["value"]["query"]["node"], reads) if "query" in entry["value"] else _count(entry, reads)
        _refuse(bool(made and entry["value"]["aliases"]))  # they may give row_id another name
        reads[entry["key"].lower()] = made
    count = _count({**node, "cte_map": None}, reads)
    if count:
        _refuse(node["type"] != "SELECT_NODE" or count > 1 or _relation(node["from_table"], reads) != 1)
        _refuse(any(node.get(clause) for clause in MIXES_ROWS))
        _refuse(node["aggregate_handling"] != "STANDARD_HANDLING")
        _refuse(any(modifier["type"] != "ORDER_MODIFIER" for modifier in node["modifiers"]))
        aliases = frozenset(_carriers(node["from_table"], reads))
        _list(node["select_list"], aliases)
        orders = [order["expression"] for modifier in node["modifiers"] for order in modifier["orders"]]
        _expressions([one for one in orders if not _is_row_id(one)], aliases)
        _expressions(node["where_clause"], aliases)
        _conditions(node["from_table"], aliases, reads)
    return count


def _refuse(condition: bool) -> None:
    if condition:
        raise MixesRows


def _count(part: Any, reads: Mapping[str, int]) -> int:
    """How often a part of the tree names what reads `batch`; queries inside see their own CTEs, too."""
    if isinstance(part, list):
        return sum(_count(inner, reads) for inner in part)
    if not isinstance(part, dict):
        return 0
    if part.get("type") == "BASE_TABLE":
        return reads.get(part["table_name"].lower(), 0)
    if (part.get("cte_map") or {}).get("map"):
        return _query(part, reads)
    return sum(_count(inner, reads) for inner in part.values())


def _relation(node: Node, reads: Mapping[str, int]) -> int:
    """How often a FROM clause reads `batch`, where it keeps its rows apart."""
    if not _count(node, reads):
        return 0
    if node["type"] == "JOIN":
        left, right = _relation(node["left"], reads), _relation(node["right"], reads)
        kept = ("INNER", "LEFT") if left else ("INNER", "RIGHT")
        _refuse(node["join_type"] not in kept or node["ref_type"] not in ("REGULAR", "CROSS", "ASOF"))
        _refuse(node["ref_type"] == "ASOF" and not left)  # a row of the left side finds one of the right
        _refuse(any(name.lower() == ROW_ID for name in node["using_columns"]))
        return left + right
    _refuse(node["type"] not in ("BASE_TABLE", "SUBQUERY") or bool(node["column_name_alias"] or node["sample"]))
    return _query(node["subquery"]["node"], reads) if node["type"] == "SUBQUERY" else _count(node, reads)


def _carriers(node: Node, reads: Mapping[str, int]) -> Iterator[str]:
    """Names of the relations of a FROM clause that have rows of `batch`: alone, such a name is the whole row."""
    if node["type"] == "JOIN":
        yield from _carriers(node["left"], reads)
        yield from _carriers(node["right"], reads)
    elif _count(node, reads):
        yield (node["alias"] or node.get("table_name", "")).lower()


def _conditions(node: Node, aliases: frozenset[str], reads: Mapping[str, int]) -> None:
    if node["type"] == "JOIN":
        _expressions(node.get("condition"), aliases)
        _conditions(node["left"], aliases, reads)
        _conditions(node["right"], aliases, reads)
    elif not _count(node, reads):  # a subquery may name columns of those to its left, row_id among them
        _lateral(node, aliases)


def _lateral(part: Any, aliases: frozenset[str]) -> None:
    """A relation beside `batch` may be anything, but not made of row_id or of whole rows."""
    if isinstance(part, list):
        for inner in part:
            _lateral(inner, aliases)
    elif isinstance(part, dict):
        if part.get("class") == "COLUMN_REF":
            _column(part, aliases)
        for inner in part.values():
            _lateral(inner, aliases)


def _list(items: list[Node], aliases: frozenset[str]) -> None:
    """The SELECT's list: row_id once, under its own name, stars, and expressions over one row."""
    ids = 0
    for item in items:
        if item["class"] == "STAR":
            _refuse(bool(item["columns"] or item.get("expr") or item.get("rename_list")))
            _expressions([entry["value"] for entry in item["replace_list"]], aliases)
            has_id = item["relation_name"].lower() in (*aliases, "")
            ids += has_id and ROW_ID not in (name.lower() for name in item["exclude_list"])
        elif _is_row_id(item):
            ids += 1
        else:
            _expressions(item, aliases)
            _refuse(item["alias"].lower() == ROW_ID)
    _refuse(ids > 1)  # DuckDB calls the second one row_id_1


def _is_row_id(item: Node) -> bool:
    return (
        item["class"] == "COLUMN_REF"
        and item["column_names"][-1].lower() == ROW_ID
        and item["alias"].lower() in ("", ROW_ID)
    )


def _column(node: Node, aliases: frozenset[str]) -> None:
    names = [name.lower() for name in node["column_names"]]
    _refuse(ROW_ID in names or "rowid" in names or (names[0] in aliases and len(names) == 1))


def _expressions(part: Any, aliases: frozenset[str]) -> None:
    """Refuse expressions that are not over one row: aggregates, windows, what is no constant function, row_id."""
    if isinstance(part, list):
        for inner in part:
            _expressions(inner, aliases)
    if not isinstance(part, dict):
        return
    kind = part.get("class")
    # "type" alone: parts of queries, orders and types of casts; with "class" it is an expression.
    _refuse(kind is not None and kind not in EXPRESSIONS and not _is_inner_star(part))
    if kind == "COLUMN_REF":
        _column(part, aliases)
    if kind == "FUNCTION":
        # An aggregate in a subquery over columns of the outer query aggregates the outer query's rows.
        _refuse(not _is_constant(part["function_name"].lower()))
    for key, inner in part.items():
        if key not in ("value", "cast_type"):
            _expressions(inner, aliases)


def _is_inner_star(part: Node) -> bool:
    """`SELECT *` of a subquery, as in EXISTS."""
    return part["class"] == "STAR" and not part["columns"] and not part.get("expr")


@cache
def _is_constant(function: str) -> bool:
    """Is a function of DuckDB, in all its variants, one of its arguments alone?"""
    found = scratch().execute(
        "SELECT DISTINCT function_type, stability, macro_definition FROM duckdb_functions() "
        f"WHERE lower(function_name) = {literal(function)}"
    )
    variants = found.fetchall()
    return bool(variants) and all(
        (kind == "scalar" and stability == "CONSISTENT")
        or (kind == "macro" and _is_constant_macro(definition, function))
        for kind, stability, definition in variants
    )


def _is_constant_macro(definition: str, name: str) -> bool:
    ((text,),) = scratch().execute(f"SELECT json_serialize_sql({literal('SELECT ' + definition)})").fetchall()
    tree = json.loads(text)
    calls = [part["function_name"].lower() for part in _nodes(tree) if part.get("class") == "FUNCTION"]
    shapes = {part["class"] for part in _nodes(tree) if "class" in part}
    return not tree["error"] and shapes <= EXPRESSIONS and all(call != name and _is_constant(call) for call in calls)


def _nodes(part: Any) -> Iterator[Node]:
    if isinstance(part, list):
        for inner in part:
            yield from _nodes(inner)
    elif isinstance(part, dict):
        yield part
        for inner in part.values():
            yield from _nodes(inner)
