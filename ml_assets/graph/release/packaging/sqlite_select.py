"""The features SELECT as one for SQLite, which computes a row at a time, without starting DuckDB's machinery for it.

Only what is known to mean the same is translated, from DuckDB's own syntax tree and with the kind of every value
(number, text, time, boolean) in view; all else is refused, and DuckDB computes the features. A gate compares the two
on the rows of the training set afterwards (`server/parity.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_assets.lake.sql_guard import syntax_tree
from ml_assets.ml.sql_functions import (
    BOOLEAN,
    CASTS,
    FUNCTIONS,
    INTEGER,
    NUMBER,
    SAME,
    TEXT,
    TIME,
    VARIADIC,
    Signature,
    sql_name,
)

Node = dict[str, Any]
Kinds = dict[str, str]  # column -> kind of its values
NULL = ""
WORDS = {"string": TEXT, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN, "date": TIME, "timestamp": TIME}
# DuckDB's types of lookups and references whose values SQLite can hold.
TYPES = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), INTEGER),
    **dict.fromkeys(("FLOAT", "DOUBLE"), NUMBER),
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), TIME),
    "VARCHAR": TEXT,
    "BOOLEAN": BOOLEAN,
}
COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS NOT",
    "COMPARE_NOT_DISTINCT_FROM": "IS",
}
SAME_TIME = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


class Untranslatable(Exception):
    """A part of the SELECT that is not known to mean the same on SQLite; the text names it."""


@dataclass(frozen=True)
class Expression:
    """A translated expression.

    Args:
        text: On SQLite.
        kind: Of its value; empty for NULL alone.
        column: Relation and column, where it is that column unchanged.
    """

    text: str
    kind: str
    column: tuple[str, str] | None = None


@dataclass
class Scope:
    """What names mean in one query.

    Args:
        relations: Name -> its columns, in order.
        tables: Name of a relation that is a table -> that table.
        aliases: Of the SELECT's own list.
        merged: Columns of USING.
    """

    relations: dict[str, Kinds] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, Expression] = field(default_factory=dict)
    merged: set[str] = field(default_factory=set)

    def find(self, names: list[str]) -> Expression:
        """A column, or an expression of the SELECT's list by its alias.

        Raises:
            Untranslatable: It may mean several things, or none that is known.
        """
        *qualifier, name = (part.lower() for part in names)
        found = [
            (relation, column)
            for relation, columns in self.relations.items()
            for column in columns
            if column.lower() == name and (not qualifier or [relation] == qualifier)
        ]
        if not found and not qualifier and name in self.aliases:
            return self.aliases[name]
        if not found or (len(found) > 1 and name not in self.merged):
            raise Untranslatable(f"{'.'.join(names)} may mean several things, or none that is known")
        relation, column = found[0]
        return Expression(f"{quoted(relation)}.{quoted(column)}", self.relations[relation][column], found[0])


@dataclass
class SqliteSelect:
    """The features SELECT for SQLite.

    Args:
        text: With a parameter for each column of a request, in order; its columns are the features in their order.
        indexes: Table -> columns by which rows are found in it.
    """

    text: str
    indexes: dict[str, list[list[str]]]


def quoted(name: str) -> str:
    """An identifier. SQLite takes one in double quotes for a text, where it knows no such column."""
    return "`" + name.replace("`", "``") + "`"


def translate(
    sql: str,
    batch: str,
    columns: Mapping[str, str],
    features: Mapping[str, str],
    tables: Mapping[str, Mapping[str, str]],
) -> SqliteSelect:
    """Translate a SELECT that is row by row.

    Args:
        sql: The SELECT.
        batch: What the column `batch` says.
        columns: Column of a request -> type word.
        features: Feature -> number | category.
        tables: Lookup or reference -> column -> DuckDB's type.

    Raises:
        Untranslatable: It is not known to mean the same on SQLite.
    """
    return _Translation(batch, columns, tables).of(syntax_tree(sql)["statements"][0]["node"], features)


class _Translation:
    def __init__(self, batch: str, columns: Mapping[str, str], tables: Mapping[str, Mapping[str, str]]) -> None:
        self._types = tables
        parameters = [f"?{number} AS {quoted(name)}" for number, name in enumerate(columns, start=1)]
        request = ", ".join(["1 AS `row_id`", f"{_literal(batch)} AS `batch`", *parameters])
        kinds = {"row_id": INTEGER, "batch": TEXT} | {name: WORDS[word] for name, word in columns.items()}
        self._queries = {"batch": (f"SELECT {request}", kinds)}
        self._indexes: dict[str, list[list[str]]] = {}

    def of(self, node: Node, features: Mapping[str, str]) -> SqliteSelect:
        _, kinds = made = self._query(node, self._queries)
        names = {name.lower(): name for name in kinds}
        listed = []
        for feature, kind in features.items():
            name = names[feature.lower()]
            if kind != "number" and kinds[name] not in (TEXT, NULL):
                raise Untranslatable(f"the category {feature} is no text")
            if kind == "number" and kinds[name] not in (NUMBER, INTEGER, BOOLEAN, NULL):
                raise Untranslatable(f"the number {feature} is a {kinds[name]}")
            listed.append(f"CAST({quoted(name)} AS REAL)" if kind == "number" else quoted(name))
        return SqliteSelect(f"SELECT {', '.join(listed)} FROM ({made[0]})", self._indexes)

    def _query(self, node: Node, queries: Mapping[str, tuple[str, Kinds]]) -> tuple[str, Kinds]:
        """A query and the kinds of its columns. CTEs stand where they are read: `batch` is read once."""
        queries = dict(queries)
        if node["type"] != "SELECT_NODE":
            raise Untranslatable(f"a {node['type']}")
        for entry in node["cte_map"]["map"]:
            if entry["value"]["aliases"] or "query" not in entry["value"]:
                raise Untranslatable(f"the columns of the CTE {entry['key']} have other names")
            queries[entry["key"].lower()] = self._query(entry["value"]["query"]["node"], queries)
        self._plain(node)
        scope = Scope()
        source = self._from(node["from_table"], scope, queries)
        listed: dict[str, Expression] = {}
        for item in node["select_list"]:
            for name, made in self._item(item, scope):
                if name.lower() in (known.lower() for known in listed):
                    raise Untranslatable(f"two columns are called {name}")
                listed[name] = made
                scope.aliases.setdefault(name.lower(), made)
        text = "SELECT " + ", ".join(f"{made.text} AS {quoted(name)}" for name, made in listed.items()) + source
        if node["where_clause"]:
            text += f" WHERE {self._expression(node['where_clause'], scope).text}"
        return text, {name: made.kind for name, made in listed.items()}

    def _plain(self, node: Node) -> None:
        for clause in ("group_expressions", "group_sets", "having", "qualify", "sample"):
            if node[clause]:
                raise Untranslatable(f"a {clause.partition('_')[0]} clause")
        if any(modifier["type"] != "ORDER_MODIFIER" for modifier in node["modifiers"]):
            raise Untranslatable("DISTINCT or LIMIT")

    def _item(self, item: Node, scope: Scope) -> list[tuple[str, Expression]]:
        if item["class"] != "STAR":
            made = self._expression(item, scope)
            return [(item["alias"] or (made.column[1] if made.column else "unnamed"), made)]
        if item["columns"] or item.get("expr") or item.get("rename_list"):
            raise Untranslatable("COLUMNS() or RENAME")
        left_out = {name.lower() for name in item["exclude_list"]}
        left_out |= {one["column"].lower() for one in item.get("qualified_exclude_list", [])}
        new = {entry["key"].lower(): self._expression(entry["value"], scope) for entry in item["replace_list"]}
        chosen = [item["relation_name"].lower()] if item["relation_name"] else list(scope.relations)
        found: dict[str, Expression] = {}
        for relation in chosen:
            for column in scope.relations[relation]:
                is_merged = column.lower() in scope.merged and column.lower() in (name.lower() for name in found)
                if column.lower() not in left_out and not is_merged:
                    if column in found:
                        raise Untranslatable(f"two columns are called {column}")
                    found[column] = new.get(column.lower()) or scope.find([relation, column])
        return list(found.items())

    def _from(self, node: Node, scope: Scope, queries: Mapping[str, tuple[str, Kinds]]) -> str:
        if node["type"] == "EMPTY":
            return ""
        return " FROM " + self._relation(node, scope, queries)

    def _relation(self, node: Node, scope: Scope, queries: Mapping[str, tuple[str, Kinds]]) -> str:
        if node["type"] == "JOIN":
            return self._join(node, scope, queries)
        if node["type"] not in ("BASE_TABLE", "SUBQUERY") or node["column_name_alias"] or node["sample"]:
            raise Untranslatable(f"a {node['type']} with other names or a sample in FROM")
        table = node.get("table_name", "")
        alias = (node["alias"] or table).lower() or f"subquery {len(scope.relations)}"
        if alias in scope.relations:
            raise Untranslatable("two relations of one name")
        if node["type"] == "SUBQUERY":
            text, kinds = self._query(node["subquery"]["node"], queries)
        elif table.lower() in queries:
            text, kinds = queries[table.lower()]
        else:
            name = next(name for name in self._types if name.lower() == table.lower())
            scope.relations[alias], scope.tables[alias] = self._columns(name), name
            return f"{quoted(name)} AS {quoted(alias)}"
        scope.relations[alias] = kinds
        return f"({text}) AS {quoted(alias)}"

    def _columns(self, table: str) -> Kinds:
        """Columns of a table; reading one that SQLite cannot hold is refused where it is named (`_expression`)."""
        return {name: TYPES.get(kind, kind) for name, kind in self._types[table].items()}

    def _join(self, node: Node, scope: Scope, queries: Mapping[str, tuple[str, Kinds]]) -> str:
        if node["join_type"] not in ("INNER", "LEFT") or node["ref_type"] not in ("REGULAR", "CROSS"):
            raise Untranslatable(f"a {node['join_type']} join ({node['ref_type']})")
        left = self._relation(node["left"], scope, queries)
        known = list(scope.relations)
        if node["right"]["type"] == "JOIN":
            raise Untranslatable("a join in parentheses")
        right = self._relation(node["right"], scope, queries)
        new = next(name for name in scope.relations if name not in known)
        conditions = [self._using(name, known, new, scope) for name in node["using_columns"]]
        if node.get("condition"):
            conditions.append(self._expression(node["condition"], scope).text)
            self._index(node["condition"], new, scope)
        elif new in scope.tables and node["using_columns"]:
            self._indexes.setdefault(scope.tables[new], []).append(list(node["using_columns"]))
        word = "LEFT JOIN" if node["join_type"] == "LEFT" else "JOIN"
        return f"{left} {word} {right} ON {' AND '.join(conditions) or '1'}"

    def _using(self, name: str, known: list[str], new: str, scope: Scope) -> str:
        left = next((one for one in known if name.lower() in map(str.lower, scope.relations[one])), None)
        if left is None:
            raise Untranslatable(f"USING ({name})")
        scope.merged.add(name.lower())
        sides = _alike(*(scope.find([one, name]) for one in (left, new)))
        return f"{sides[0].text} = {sides[1].text}"

    def _index(self, condition: Node, new: str, scope: Scope) -> None:
        """Rows of a table are found by the columns that are equal to something."""
        parts = condition["children"] if condition["type"] == "CONJUNCTION_AND" else [condition]
        equal = [part for part in parts if part["type"] == "COMPARE_EQUAL"]
        sides = [self._expression(part[side], scope).column for part in equal for side in ("left", "right")]
        columns = [side[1] for side in sides if side is not None and side[0] == new]
        if columns and new in scope.tables:
            self._indexes.setdefault(scope.tables[new], []).append(list(dict.fromkeys(columns)))

    def _expression(self, node: Node, scope: Scope) -> Expression:
        handler = getattr(self, f"_{node['class'].lower()}", None)
        if handler is None:
            raise Untranslatable(f"a {node['class']}")
        made: Expression = handler(node, scope)
        if made.kind not in (NUMBER, INTEGER, TEXT, TIME, BOOLEAN, NULL):
            raise Untranslatable(f"a value of type {made.kind}")
        return made

    def _column_ref(self, node: Node, scope: Scope) -> Expression:
        return scope.find(node["column_names"])

    def _constant(self, node: Node, _: Scope) -> Expression:
        value, kind = node["value"], node["value"]["type"]["id"]
        if value["is_null"]:
            return Expression("NULL", NULL)
        if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"):
            return Expression(str(value["value"]), INTEGER)
        if kind == "DECIMAL" and isinstance(value["value"], int):
            return Expression(repr(value["value"] / 10 ** value["type"]["type_info"]["scale"]), NUMBER)
        if kind == "DOUBLE" and isinstance(value["value"], float):
            return Expression(repr(value["value"]), NUMBER)
        if kind == "VARCHAR":
            return Expression(_literal(value["value"]), TEXT)
        raise Untranslatable(f"a constant of type {kind}")

    def _cast(self, node: Node, scope: Scope) -> Expression:
        target, child = node["cast_type"]["id"], node["child"]
        if target == "BOOLEAN" and child["class"] == "CONSTANT" and child["value"].get("value") in ("t", "f"):
            return Expression(str(int(child["value"]["value"] == "t")), BOOLEAN)
        made = self._expression(child, scope)
        is_time = target in (*SAME_TIME, "DATE")
        if (made.kind == TIME and target in SAME_TIME) or (made.kind == TEXT and target == "VARCHAR"):
            return made
        if is_time and made.kind == TEXT:
            made = _called("cast TEXT AS TIME", CASTS["TEXT AS TIME"], [made])
            target = "DATE" if target == "DATE" else "TIMESTAMP"
            if target == "TIMESTAMP":
                return made
        if node["try_cast"] or target not in CASTS:
            raise Untranslatable(f"a cast of a {made.kind or 'NULL'} to {target}")
        return _called(f"cast {target}", CASTS[target], [made])

    def _function(self, node: Node, scope: Scope) -> Expression:
        name, children = node["function_name"].lower(), [self._expression(child, scope) for child in node["children"]]
        if node["distinct"] or node["filter"] or node["order_bys"]["orders"]:
            raise Untranslatable(f"{name}() with a filter or an order")
        if name == "nullif" and len(children) == 2:
            return Expression(f"nullif({', '.join(one.text for one in _alike(*children))})", children[0].kind)
        if name in VARIADIC and all(child.kind in (NUMBER, INTEGER, NULL) for child in children):
            children = _alike(*children)
            return Expression(f"{sql_name(name)}({', '.join(child.text for child in children)})", _kind(children))
        if (name, len(children)) not in FUNCTIONS:
            raise Untranslatable(f"{name}() with {len(children)} arguments")
        return _called(name, FUNCTIONS[name, len(children)], children)

    def _comparison(self, node: Node, scope: Scope) -> Expression:
        left, right = _alike(self._expression(node["left"], scope), self._expression(node["right"], scope))
        return Expression(f"({left.text} {COMPARISONS[node['type']]} {right.text})", BOOLEAN)

    def _conjunction(self, node: Node, scope: Scope) -> Expression:
        parts = [_boolean(self._expression(child, scope)) for child in node["children"]]
        word = node["type"].removeprefix("CONJUNCTION_")
        return Expression(f"({f' {word} '.join(parts)})", BOOLEAN)

    def _between(self, node: Node, scope: Scope) -> Expression:
        parts = _alike(*(self._expression(node[part], scope) for part in ("input", "lower", "upper")))
        return Expression("({} BETWEEN {} AND {})".format(*(part.text for part in parts)), BOOLEAN)

    def _case(self, node: Node, scope: Scope) -> Expression:
        chosen = [self._expression(check["then_expr"], scope) for check in node["case_checks"]]
        *chosen, otherwise = _alike(*chosen, self._expression(node["else_expr"], scope))
        conditions = [_boolean(self._expression(check["when_expr"], scope)) for check in node["case_checks"]]
        branches = [f"WHEN {when} THEN {then.text}" for when, then in zip(conditions, chosen, strict=True)]
        return Expression(f"CASE {' '.join(branches)} ELSE {otherwise.text} END", _kind([*chosen, otherwise]))

    def _operator(self, node: Node, scope: Scope) -> Expression:
        parts = [self._expression(child, scope) for child in node["children"]]
        kind = node["type"]
        if kind == "OPERATOR_COALESCE" or kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            parts = _alike(*parts)
        texts = [part.text for part in parts]
        if kind == "OPERATOR_NOT":
            return Expression(f"(NOT {_boolean(parts[0])})", BOOLEAN)
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            return Expression(f"({texts[0]} IS {'NOT ' * ('NOT' in kind)}NULL)", BOOLEAN)
        if kind == "OPERATOR_COALESCE":
            return Expression(f"coalesce({', '.join(texts)}, NULL)", _kind(parts))
        if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            return Expression(f"({texts[0]} {'NOT ' * ('NOT' in kind)}IN ({', '.join(texts[1:])}))", BOOLEAN)
        raise Untranslatable(f"a {kind}")


def _called(name: str, signature: Signature, given: list[Expression]) -> Expression:
    """A call of a function of ours, whose arguments have the kinds that it takes."""
    wanted, kind, _ = signature
    for expected, one in zip(wanted, given, strict=True):
        is_number = one.kind == INTEGER and NUMBER in expected
        if one.kind not in (*expected.split(" or "), NULL) and not is_number:
            raise Untranslatable(f"{name} of a {one.kind}")
    if kind == SAME:
        # The last argument of round() is how it rounds, and no number that it computes with.
        kind = INTEGER if all(one.kind == INTEGER for one in given[: 1 if name == "round" else None]) else NUMBER
    return Expression(f"{sql_name(name)}({', '.join(one.text for one in given)})", kind)


def _boolean(expression: Expression) -> str:
    if expression.kind not in (BOOLEAN, NULL):
        raise Untranslatable(f"a {expression.kind} as a condition")
    return expression.text


def _alike(*expressions: Expression) -> list[Expression]:
    """Expressions that DuckDB compares, or chooses among, as one kind: integers as numbers where one is a number.

    Raises:
        Untranslatable: DuckDB casts them in a way that SQLite does not know.
    """
    kinds = {expression.kind for expression in expressions} - {NULL}
    if kinds == {INTEGER, NUMBER}:
        return [Expression(f"CAST({one.text} AS REAL)", NUMBER) if one.kind == INTEGER else one for one in expressions]
    if len(kinds) > 1:
        raise Untranslatable(f"a comparison of a {' with a '.join(sorted(kinds))}")
    return list(expressions)


def _kind(expressions: list[Expression]) -> str:
    return next((expression.kind for expression in expressions if expression.kind != NULL), NULL)


def _literal(text: str) -> str:
    if "\0" in text:
        raise Untranslatable("a text with a NUL")
    return "'" + text.replace("'", "''") + "'"
