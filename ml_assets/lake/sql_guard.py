"""What SQL of the YAML may reach: the relations that it is given, and nothing else.

Two checks, each enough for most attacks: the syntax tree, with DuckDB's own scopes of CTEs, names every relation and
function; then the statement is bound in a database that holds empty relations of the given names and types, and can
reach no file, no other catalog, no Python variable. What passes means the same beside the lake as it means there.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb

from ml_assets.errors import FeatureError, SpecError, did_you_mean
from ml_assets.lake.database import scratch
from ml_assets.lake.sql import identifier, literal

Node = dict[str, Any]
SAFE_TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series"})
# Parts of a FROM clause, and queries: what has the key `sample` in DuckDB's tree.
SAFE_RELATIONS = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT"})
QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
# They read or change the session or the catalog, so they give something else in training, on the server, another day.
SESSION_FUNCTIONS = frozenset(
    {"getvariable", "getenv", "nextval", "currval", "setseed", "sleep_ms", "stats", "write_log", "version"}
    | {"session_user", "user", "txid_current", "in_search_path", "obj_description", "shobj_description"}
    | {"col_description", "get_block_size"}
    | {f"current_{what}" for what in ("setting", "database", "catalog", "schema", "schemas", "query", "query_id")}
    | {f"current_{what}" for what in ("user", "role", "connection_id", "transaction_id")}
)
SESSION_PREFIXES = ("pg_", "has_", "inet_", "duckdb_", "pragma_")
HARMLESS = frozenset({"pg_typeof", "pg_size_pretty"})


def check_select(sql: str, allowed: Iterable[str], file: str) -> None:
    """Refuse text that is not one SELECT over the allowed relations, told by its syntax tree.

    Raises:
        FeatureError: A syntax error, another kind of statement, or a relation or function that it may not use.
    """
    tree = syntax_tree(sql)
    if tree["error"]:
        raise FeatureError(
            f"{file} is not a SELECT that can be parsed.",
            found=tree["error_message"],
            where={"file": file, "line": _line(sql, tree)},
        )
    if len(tree["statements"]) != 1:
        raise FeatureError(f"{file} must hold one SELECT.", found=f"{len(tree['statements'])} statements")
    names = {name.lower(): name for name in allowed}
    for node, ctes in nodes(tree):
        rule, fix = _forbidden(node, ctes | set(names), list(names.values()))
        if rule:
            raise FeatureError(f"{file} {rule}", where={"file": file, "line": _line(sql, node)}, fix=fix)
    if syntax_tree(embedded(sql))["error"]:
        raise FeatureError(
            f"{file} has text after the end of its SELECT.", where={"file": file}, fix="Remove the last `;`."
        )


def check_expression(sql: str, place: str) -> None:
    """Refuse text that is not one expression over one row: no relation, file, or state of the session.

    Raises:
        SpecError: It is something else.
    """
    tree = syntax_tree(f"SELECT {sql}\n")
    statements = tree.get("statements", [])
    found = statements[0]["node"] if len(statements) == 1 else {}
    if found.get("from_table", {}).get("type") != "EMPTY" or len(found["select_list"]) != 1 or _clauses(found):
        raise no_expression(place, sql, tree.get("error_message", ""))
    for node, _ in nodes(tree):
        if node.get("class") == "STAR" and node.get("columns"):
            raise no_expression(place, sql, "COLUMNS() may name columns that are not declared")
        if node.get("type") == "BASE_TABLE":
            raise no_expression(place, sql, f"it reads the table {_name(node)!r}")
        rule, _ = _forbidden(node, set(), [])
        if rule:
            raise no_expression(place, sql, f"it {rule}")


def _clauses(node: Node) -> bool:
    """Has a SELECT more than its list?"""
    clauses = ("where_clause", "having", "qualify", "sample", "modifiers", "group_expressions")
    return any(node[clause] for clause in clauses) or bool(node["cte_map"]["map"])


def no_expression(place: str, sql: str, found: str) -> SpecError:
    """The error of a rule or target that is something else."""
    return SpecError(
        f"{place} is not a SQL expression over the declared columns.",
        found=f"{sql!r}" + (f": {found}" if found else ""),
        where={"key": place},
        fix="It is DuckDB SQL over one row, such as: arr_delay > 15",
    )


def bind(sql: str, relations: Mapping[str, Mapping[str, str]]) -> dict[str, str] | None:
    """Bind a SELECT over these relations (name -> column -> SQL type), without running it.

    Returns:
        Column name -> SQL type of its result; None where it needs an extension of DuckDB that is not built in.

    Raises:
        duckdb.Error: It cannot be bound.
    """
    with sealed() as con:
        for name, columns in relations.items():
            listed = ", ".join(f"{identifier(column)} {sql_type}" for column, sql_type in columns.items())
            con.execute(f"CREATE TEMP TABLE {identifier(name)} ({listed})")
        try:
            return {row[0]: row[1] for row in con.execute(f"DESCRIBE {embedded(sql)}").fetchall()}
        except duckdb.Error as error:
            if re.search(r"exists in the \w+ extension|the required extension", str(error)):
                return None
            raise


@dataclass(frozen=True)
class SelectProblem:
    """What DuckDB says of a SELECT that stands in another one (`embedded`).

    Args:
        message: Its first line.
        line: Line of the SELECT.
        column: The column that it names.
        near: The nearest valid name that it knows.
    """

    message: str
    line: int | None
    column: str | None
    near: str | None

    @classmethod
    def of(cls, error: duckdb.Error) -> SelectProblem:
        """The parts of DuckDB's text."""
        text = str(error)
        message = text.partition("\n")[0]
        column = re.search(r'[Cc]olumn (?:named )?"([^"]+)"', message)
        words = re.search(r"(?:Candidate bindings: :?|Candidate tables:|Did you mean) ?(.*)", text)
        near = re.findall(r'"([^"]+)"', words[1]) if words else []
        if column:  # DuckDB lists what is least far away, be it far
            near = difflib.get_close_matches(column[1], near, n=1)
        line = re.search(r"^LINE (\d+):", text, re.MULTILINE)
        return cls(message, max(int(line[1]) - 1, 1) if line else None, column and column[1], near[0] if near else None)

    def __str__(self) -> str:
        return self.message + (f"; did you mean {self.near!r}?" if self.near else "")


def embedded(sql: str, head: str = "SELECT *") -> str:
    """The SELECT as a subquery of another, its first line as the second one of the whole."""
    return f"{head} FROM (\n{sql.rstrip().rstrip(';')}\n)"


def sealed() -> duckdb.DuckDBPyConnection:
    """A cursor on an empty database that reaches nothing outside; its temporary tables are its own."""
    return _sealed_database().cursor()


@cache
def _sealed_database() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(config={"python_enable_replacements": "false", "enable_external_access": "false"})
    con.execute("SET TimeZone = 'UTC'; SET lock_configuration = true")
    return con


def syntax_tree(sql: str) -> Node:
    """DuckDB's syntax tree of a SELECT, or its error."""
    # The text as a literal: a parameter makes DuckDB import pandas, and every load of a code location comes by here.
    ((text,),) = scratch().execute(f"SELECT json_serialize_sql({literal(sql)})").fetchall()
    try:
        tree: Node = json.loads(text)
    except RecursionError:
        return {"error": True, "error_message": "It is nested too deeply: split it into CTEs.", "statements": []}
    return tree


def nodes(tree: Any) -> Iterator[tuple[Node, frozenset[str]]]:
    """Every node of a tree, with the CTEs (lower case) that its names may mean.

    A CTE sees those before it in its WITH, and itself only where it is recursive.
    """
    waiting: list[tuple[Any, frozenset[str]]] = [(tree, frozenset())]
    while waiting:
        part, ctes = waiting.pop()
        if isinstance(part, list):
            waiting += [(inner, ctes) for inner in reversed(part)]
        if not isinstance(part, dict):
            continue
        inside = []
        for entry in part.get("cte_map", {}).get("map", []):
            inside.append((entry["value"], ctes))
            ctes |= {entry["key"].lower()}
        if part.get("type") in ("RECURSIVE_CTE_NODE", "CTE_NODE"):
            ctes |= {part["cte_name"].lower()}
        yield part, ctes
        inside += [(inner, ctes) for key, inner in part.items() if key != "cte_map"]
        waiting += reversed(inside)


def _forbidden(node: Node, names: Set[str], valid: list[str]) -> tuple[str, str | None]:
    """What a node may not do, and the next step; empty where it may."""
    kind = node.get("type")
    if "sample" in node and kind not in SAFE_RELATIONS | QUERIES:
        return f"uses {kind}, which it may not.", "Select from the views."
    if kind == "BASE_TABLE" and (_name(node).lower() not in names or _qualified(node) or node["at_clause"]):
        fix = "Declare it under lookups (earlier batches) or references (other files)."
        return f"reads the table {_name(node)!r}, which it may not see; {did_you_mean(_name(node), valid)}", fix
    if kind == "TABLE_FUNCTION":
        called = node["function"]
        if called["function_name"].lower() not in SAFE_TABLE_FUNCTIONS or called["schema"] or called["catalog"]:
            return f"calls {called['function_name']}(), which it may not.", "Declare the file under references."
    name = str(node.get("function_name", "")).lower()
    if name in SESSION_FUNCTIONS or (name.startswith(SESSION_PREFIXES) and name not in HARMLESS):
        return f"calls {name}(), which it may not.", "Compute features from the columns of the views alone."
    return "", None


def _qualified(node: Node) -> bool:
    return bool(node["catalog_name"] or node["schema_name"])


def _name(node: Node) -> str:
    return ".".join(filter(None, [node["catalog_name"], node["schema_name"], node["table_name"]]))


def _line(sql: str, node: Node) -> int | None:
    """The line of a node, or of a syntax error."""
    position, text = int(node.get("position") or node.get("query_location") or 0), sql.encode()
    return text[:position].count(b"\n") + 1 if position <= len(text) else None
