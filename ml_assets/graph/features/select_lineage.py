"""Which columns of its views each column of a SELECT is computed from, told by DuckDB's syntax tree.

A column is computed from every column that its expression mentions: arguments, windows, conditions of CASE,
subqueries with what chooses their rows. Joins, filters and groups of the query itself do not count. Where the tree
cannot tell (a PIVOT, `COLUMNS()`, a star over columns that are not known), a column is left out: a missing arrow, never
a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_assets.lake.sql_guard import syntax_tree

Node = dict[str, Any]
Origins = frozenset[tuple[str, str]]  # (view, column)
NONE: Origins = frozenset()
QUERY_CLAUSES = ("where_clause", "having", "qualify")
CHOOSES_ROWS = frozenset({"SEMI", "ANTI"})  # joins whose right side has no columns afterwards
EXPANDS = frozenset({"unnest", "unlist"})  # in a SELECT's list, several columns where its argument is a struct
UNNAMED = "\0"  # begins the key of a column that DuckDB finds a name for


class Unknown(Exception):
    """The tree cannot tell what an expression is computed from."""


@dataclass
class Relation:
    """A view, CTE or subquery of a FROM clause.

    Args:
        columns: Name -> what it is computed from, None where that is unknown; in order.
        complete: Are these all columns, in this order?
        view: Its name where it is a view whose columns are not known.
    """

    columns: dict[str, Origins | None] = field(default_factory=dict)
    complete: bool = False
    view: str | None = None

    def find(self, name: str) -> str | None:
        """A column as it is written here; upper and lower case are the same."""
        return next((column for column in self.columns if column.lower() == name.lower()), None)

    @property
    def certain(self) -> bool:
        """Are the names of all columns known?"""
        return self.complete and not any(name.startswith(UNNAMED) for name in self.columns)

    def origins(self, name: str) -> Origins:
        """What a column that the relation must have is computed from."""
        column = self.find(name)
        if column is None and self.view:
            return frozenset({(self.view, name)})
        return _known(self.columns[column] if column is not None else None)

    def renamed(self, new: list[str]) -> Relation:
        """With other names for its first columns, as by `AS b(x, y)`."""
        if not new:
            return self
        names = [*new, *list(self.columns)[len(new) :]]
        if not self.complete or len({name.lower() for name in names}) != len(self.columns):
            return Relation()
        return Relation(dict(zip(names, self.columns.values(), strict=True)), True)


@dataclass
class LineageScope:
    """What names mean in one query: the relations of its FROM clause, then those around it."""

    relations: list[tuple[str, Relation]] = field(default_factory=list)
    merged: dict[str, Origins | None] = field(default_factory=dict)  # of USING, lower case
    aliases: dict[str, Origins | None] = field(default_factory=dict)  # of the SELECT's own list, lower case
    conditions: list[Node] = field(default_factory=list)
    outer: LineageScope | None = None

    def relation(self, alias: str) -> Relation | None:
        """A relation of this scope."""
        return next((relation for name, relation in self.relations if name.lower() == alias.lower()), None)

    def spelled(self, names: list[str]) -> str:
        """The name of the column that a reference gives: as in its relation, in upper or lower case."""
        own = self.relation(names[-2]) if len(names) > 1 else None
        relations = [own] if own else [relation for _, relation in self.relations]
        return next((found for relation in relations if (found := relation.find(names[-1]))), names[-1])

    def resolve(self, names: list[str]) -> Origins:
        """What a column reference, such as `b.income` or `income`, is computed from.

        Raises:
            Unknown: It may mean several things, or none that is known.
        """
        found = self._find(names)
        if found is None:
            raise Unknown
        return found

    def owns(self, name: str) -> bool:
        """May a name be a column here, or around?"""
        try:
            return self._find([name]) is not None
        except Unknown:
            return True

    def _find(self, names: list[str]) -> Origins | None:
        """As `resolve`; None where no column can be meant."""
        relation = self.relation(names[0]) if len(names) > 1 else None
        if relation and (relation.view or relation.find(names[1]) is not None or not relation.certain):
            return relation.origins(names[1])
        first = names[0].lower()
        if first in self.merged:
            return _known(self.merged[first])
        having = [relation for _, relation in self.relations if relation.find(first) is not None]
        if having:
            return _known(having[0].origins(first) if len(having) == 1 else None)
        if not all(relation.certain for _, relation in self.relations):
            raise Unknown
        around = self.outer._find(names) if self.outer else None
        if first not in self.aliases:
            return around
        return _known(self.aliases[first] if around is None and len(names) == 1 else None)


def select_lineage(sql: str, views: Mapping[str, Iterable[str] | None]) -> dict[str, Origins]:
    """Column of the SELECT's result -> the columns of the views that it is computed from.

    Args:
        sql: A SELECT that has been checked.
        views: View -> its columns, None where they are not known.

    Returns:
        Without the columns of which the tree cannot tell; those of constants have no origins.
    """
    relations = {name.lower(): _view(name, columns) for name, columns in views.items()}
    tree = syntax_tree(sql)
    if tree["error"] or len(tree["statements"]) != 1:
        return {}
    try:
        made = _query(tree["statements"][0]["node"], relations, None)
    except RecursionError:
        return {}
    return {
        name: origins for name, origins in made.columns.items() if origins is not None and not name.startswith(UNNAMED)
    }


def _known(origins: Origins | None) -> Origins:
    if origins is None:
        raise Unknown
    return origins


def _view(name: str, columns: Iterable[str] | None) -> Relation:
    if columns is None:
        return Relation(view=name)
    return Relation({column: frozenset({(name, column)}) for column in columns}, True)


def _query(node: Node, ctes: Mapping[str, Relation], outer: LineageScope | None) -> Relation:
    """The result of a query, whose FROM clauses may name these relations."""
    inside = dict(ctes)
    for entry in node.get("cte_map", {}).get("map", []):
        value = entry["value"]
        inside[entry["key"].lower()] = _query(value["query"]["node"], inside, outer).renamed(value["aliases"])
    if node["type"] == "SELECT_NODE":
        return _select(node, inside, outer)[0]
    if node["type"] == "SET_OPERATION_NODE":
        return _set_operation(node, _query(node["left"], inside, outer), _query(node["right"], inside, outer))
    return Relation()


def _set_operation(node: Node, left: Relation, right: Relation) -> Relation:
    if node["setop_type"] in ("EXCEPT", "INTERSECT"):
        return left
    if not left.complete or not right.complete:
        return Relation()
    if node["setop_type"] == "UNION_BY_NAME":
        names = [*left.columns, *(name for name in right.columns if left.find(name) is None)]
        sides = [(_side(left, name), _side(right, name)) for name in names]
    else:
        names, sides = list(left.columns), list(zip(left.columns.values(), right.columns.values(), strict=False))
    return Relation({name: _union(side) for name, side in zip(names, sides, strict=False)}, True)


def _side(relation: Relation, name: str) -> Origins | None:
    column = relation.find(name)
    return NONE if column is None else relation.columns[column]


def _union(parts: Iterable[Origins | None]) -> Origins | None:
    found = NONE
    for part in parts:
        if part is None:
            return None
        found |= part
    return found


def _select(node: Node, ctes: Mapping[str, Relation], outer: LineageScope | None) -> tuple[Relation, LineageScope]:
    scope = _from(node["from_table"], ctes, outer)
    made, repeated = Relation(complete=True), set()
    for item in node["select_list"]:
        found = _item(item, scope, ctes)
        if found is None:  # nobody knows how many columns, nor which names are left for those after it
            return Relation(made.columns), scope
        for name, origins in found:
            if name and made.find(name) is not None:
                repeated.add(name.lower())
                name = ""
            made.columns[name or f"{UNNAMED}{len(made.columns)}"] = origins
            scope.aliases.setdefault(name.lower(), origins)
    for name in made.columns:  # DuckDB calls the second x `x_1`, or so
        if re.sub(r"_\d+$", "", name.lower()) in repeated - {name.lower()}:
            made.columns[name] = None
    return made, scope


def _item(item: Node, scope: LineageScope, ctes: Mapping[str, Relation]) -> list[tuple[str, Origins | None]] | None:
    """The columns that an item of a SELECT's list gives, "" for a name of DuckDB's; None where nobody can tell."""
    if item["class"] == "STAR":
        return _star(item, scope, ctes)
    if any(node.get("class") == "STAR" or node.get("function_name") in EXPANDS for node in _parts(item)):
        return None
    name = item["alias"] or (scope.spelled(item["column_names"]) if item["class"] == "COLUMN_REF" else "")
    return [(name, _origins(item, scope, ctes))]


def _parts(node: Any) -> Iterator[Node]:
    """The nodes of an expression, without those of its subqueries."""
    if isinstance(node, list):
        for part in node:
            yield from _parts(part)
    if isinstance(node, dict):
        yield node
        for key, part in node.items():
            if key != "subquery":
                yield from _parts(part)


def _star(star: Node, scope: LineageScope, ctes: Mapping[str, Relation]) -> list[tuple[str, Origins | None]] | None:
    if star["columns"] or star.get("expr"):
        return None
    given = _all_columns(scope, star["relation_name"])
    qualified = star.get("qualified_exclude_list") or any(one["key"]["table"] for one in star.get("rename_list", []))
    if given is None or (qualified and len(scope.relations) > 1):
        return None
    left_out = {name.lower() for name in star["exclude_list"]}
    left_out |= {one["column"].lower() for one in star.get("qualified_exclude_list", [])}
    new = {entry["key"].lower(): _origins(entry["value"], scope, ctes) for entry in star["replace_list"]}
    names = {entry["key"]["column"].lower(): entry["value"] for entry in star.get("rename_list", [])}
    return [
        (names.get(name.lower(), "" if name.startswith(UNNAMED) else name), new.get(name.lower(), origins))
        for name, origins in given
        if name.lower() not in left_out
    ]


def _all_columns(scope: LineageScope, alias: str) -> list[tuple[str, Origins | None]] | None:
    """The columns of one relation, or of all; a column of USING once. None where they are not known."""
    if alias:
        relation = scope.relation(alias)
        return list(relation.columns.items()) if relation and relation.complete else None
    found, seen = [], set()
    for _, relation in scope.relations:
        if not relation.complete:
            return None
        for name, origins in relation.columns.items():
            if name.lower() in scope.merged:
                if name.lower() in seen:
                    continue
                seen.add(name.lower())
                origins = scope.merged[name.lower()]
            found.append((name, origins))
    return found


def _from(node: Node, ctes: Mapping[str, Relation], outer: LineageScope | None) -> LineageScope:
    """The scope of a FROM clause."""
    if node["type"] == "EMPTY":
        return LineageScope(outer=outer)
    if node["type"] == "JOIN":
        left = _from(node["left"], ctes, outer)
        right = _from(node["right"], ctes, left)
        return _join(node, left, right, outer)
    name, relation = node["alias"], Relation()
    if node["type"] == "BASE_TABLE":
        name = name or node["table_name"]
        relation = ctes.get(node["table_name"].lower(), relation)
    elif node["type"] == "SUBQUERY":
        relation = _query(node["subquery"]["node"], ctes, outer)
    return LineageScope([(name, relation.renamed(node.get("column_name_alias", [])))], outer=outer)


def _join(node: Node, left: LineageScope, right: LineageScope, outer: LineageScope | None) -> LineageScope:
    right.outer = None
    using = [name.lower() for name in node["using_columns"]]
    if node["ref_type"] == "NATURAL":
        if not all(relation.certain for _, relation in (*left.relations, *right.relations)):
            return LineageScope([(name, Relation()) for name, _ in (*left.relations, *right.relations)], outer=outer)
        using = [name for name in _names(left) if name in _names(right)]
    merged = {name: _merged(name, left, right, node["join_type"]) for name in using}
    conditions = _conditions(node, left, right)
    if node["join_type"] in CHOOSES_ROWS:
        return LineageScope(left.relations, left.merged, conditions=conditions, outer=outer)
    merged = {**right.merged, **left.merged, **merged}
    return LineageScope([*left.relations, *right.relations], merged, conditions=conditions, outer=outer)


def _conditions(node: Node, left: LineageScope, right: LineageScope) -> list[Node]:
    own = [node["condition"]] if node.get("condition") else []
    return [*left.conditions, *right.conditions, *own]


def _names(scope: LineageScope) -> list[str]:
    return [name.lower() for _, relation in scope.relations for name in relation.columns]


def _merged(name: str, left: LineageScope, right: LineageScope, join_type: str) -> Origins | None:
    """A column of USING: of the side that keeps its rows, of both in a FULL join."""
    sides = {"RIGHT": (right,), "FULL": (left, right), "OUTER": (left, right)}.get(join_type, (left,))
    try:
        return _union(side.resolve([name]) for side in sides)
    except Unknown:
        return None


def _origins(expression: Node, scope: LineageScope, ctes: Mapping[str, Relation]) -> Origins | None:
    """What an expression is computed from; None where the tree cannot tell."""
    try:
        return _mentioned(expression, scope, ctes, frozenset())
    except Unknown:
        return None


def _mentioned(node: Any, scope: LineageScope, ctes: Mapping[str, Relation], parameters: frozenset[str]) -> Origins:
    """The columns that a part of an expression mentions, where the parameters of lambdas are no columns."""
    if isinstance(node, list):
        return _all(_mentioned(part, scope, ctes, parameters) for part in node)
    if not isinstance(node, dict):
        return NONE
    kind = node.get("class")
    if kind in ("STAR", "POSITIONAL_REFERENCE"):
        raise Unknown
    if kind == "COLUMN_REF":
        return NONE if node["column_names"][0].lower() in parameters else scope.resolve(node["column_names"])
    if kind == "LAMBDA":
        own = {part["column_names"][0].lower() for part in _parts(node["lhs"]) if part.get("class") == "COLUMN_REF"}
        if any(scope.owns(name) for name in own):  # `a -> '$.b'` of JSON has the tree of a lambda
            raise Unknown
        return _mentioned(node["expr"], scope, ctes, parameters | own)
    if kind == "SUBQUERY":
        inner = _of_subquery(node, scope, ctes)
        return inner | _mentioned(node.get("child"), scope, ctes, parameters)
    return _all(_mentioned(part, scope, ctes, parameters) for part in node.values())


def _all(parts: Iterable[Origins]) -> Origins:
    return frozenset().union(*parts)


def _of_subquery(node: Node, scope: LineageScope, ctes: Mapping[str, Relation]) -> Origins:
    """All that a subquery mentions: what it gives, unless only its rows matter, and what chooses its rows."""
    query = node["subquery"]["node"]
    if query["type"] != "SELECT_NODE" or query["cte_map"]["map"]:
        raise Unknown
    made, inner = _select(query, ctes, scope)
    clauses = [*(query[clause] for clause in QUERY_CLAUSES), *inner.conditions]
    chosen_by = _mentioned(clauses, inner, ctes, frozenset())
    if "EXISTS" in node["subquery_type"]:
        return chosen_by
    if not made.complete:
        raise Unknown
    return chosen_by | _all(_known(origins) for origins in made.columns.values())
