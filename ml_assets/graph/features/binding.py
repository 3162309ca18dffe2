"""The SELECTs of a pipeline, bound at load against empty relations: the YAML declares every column and its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ml_assets.errors import FeatureError, did_you_mean
from ml_assets.graph.features.select import (
    check_key_columns,
    check_row_id,
    check_select,
    feature_types,
    visible_columns,
)
from ml_assets.lake import sql_guard
from ml_assets.lake.lake import stored_type
from ml_assets.lake.paths import Paths
from ml_assets.sources.formats import SQL_TYPES
from ml_assets.sources.references import reference_columns
from ml_assets.spec import Lookup, PipelineSpec

Columns = Mapping[str, str]
OWN = {"batch": "VARCHAR", "row_id": "BIGINT"}


@dataclass
class Bound:
    """What is known of a pipeline's SELECTs before a run.

    Args:
        views: What the features see: view -> its columns and their types, None where only a run can tell them.
        features: The columns of the features SELECT, None where only a run can tell them.
        notes: What only a run can tell, and why.
    """

    views: dict[str, Columns | None]
    features: Columns | None = None
    notes: list[str] = field(default_factory=list)


def check_selects(spec: PipelineSpec, texts: Mapping[str, str], paths: Paths, files_count: bool) -> Bound:
    """Refuse a lookup or features SELECT that can be known to fail, or to leak, in every run.

    Args:
        spec: The pipeline.
        texts: File name -> text of its SQL files.
        paths: Where relative paths of references start.
        files_count: Refuse what does not fit the references' files as they are now, too.

    Raises:
        FeatureError: One cannot be bound, or gives other columns than it must.
    """
    bound = Bound({"batch": _typed(spec, visible_columns(spec))})
    for name, lookup in spec.lookups.items():
        try:
            bound.views[name] = _lookup(spec, lookup, texts[lookup.sql], bound.notes)
        except FeatureError as error:
            raise error.at(key=f"lookups.{name}.sql") from None
    if spec.features in texts:
        bound.views |= {name: reference_columns(spec, paths, name) for name in spec.references}
        try:
            bound.features = _features(spec, texts[spec.features], bound.views, bound.notes, files_count)
        except FeatureError as error:
            raise error.at(key="features") from None
    return bound


def _typed(spec: PipelineSpec, names: list[str]) -> dict[str, str]:
    declared = {column.name: SQL_TYPES[column.type] for column in spec.columns}
    return {name: OWN.get(name) or declared[name] for name in names}


def _lookup(spec: PipelineSpec, lookup: Lookup, sql: str, notes: list[str]) -> Columns | None:
    """The columns of a lookup's table; None where only the run can tell them."""
    row = _typed(spec, [column.name for column in spec.columns])
    label = sql_guard.bind(f"SELECT ({spec.target.sql}\n) FROM row_", {"row_": row})
    if label is None:
        notes.append("target.sql: it needs an extension of DuckDB")
        return None
    own = {"source_file": "VARCHAR", "source_sha256": "VARCHAR"}
    history = {**OWN, **row, **own, spec.target.name: next(iter(label.values()))}
    try:
        found = check_select(sql, {"history": history}, lookup.sql, hidden=())
    except FeatureError as error:
        if not _may_be_kept(spec, error, history):
            raise
        notes.append(f"{lookup.sql}: it names {error.where['column']!r}, which is not declared")
        return None
    if found is None:
        notes.append(f"{lookup.sql}: it needs an extension of DuckDB")
        return None
    check_key_columns(found, lookup.key, lookup.sql)
    return {name: stored_type(kind) for name, kind in found.items() if name.lower() != "batch"}


def _may_be_kept(spec: PipelineSpec, error: FeatureError, history: Columns) -> bool:
    """May the unknown column of a lookup be one that files have and the YAML does not declare?"""
    name = error.where.get("column")
    unknown = name is not None and str(name).lower() not in {column.lower() for column in history}
    return unknown and spec.tolerate.new_columns == "keep" and did_you_mean(str(name), history).startswith("valid")


def _features(
    spec: PipelineSpec, sql: str, views: Mapping[str, Columns | None], notes: list[str], files_count: bool
) -> Columns | None:
    sql_guard.check_select(sql, views, spec.features)
    used = {
        str(node["table_name"]).lower()
        for node, _ in sql_guard.nodes(sql_guard.syntax_tree(sql))
        if "table_name" in node
    }
    missing = [name for name, columns in views.items() if columns is None and name in used]
    if missing:
        notes.append(f"{spec.features}: the columns of {', '.join(missing)} cannot be known before a run")
        return None
    known = {name: columns for name, columns in views.items() if columns is not None}
    hidden = [*spec.outcome_columns, spec.target.name]
    try:
        found = check_select(sql, known, spec.features, hidden)
        if found is None:
            notes.append(f"{spec.features}: it needs an extension of DuckDB")
            return None
        check_row_id(found, spec.features)
        feature_types(found, spec.features)
        return found
    except FeatureError as error:
        # A file that is being replaced must not take the whole pipeline down; its run will say so.
        if files_count or not used & set(spec.references) or error.where.get("column") in hidden:
            raise
        notes.append(f"with the references as they are now, {error}")
        return None
