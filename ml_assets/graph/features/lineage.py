"""Which columns of a pipeline's tables are computed from which columns of others, as far as YAML and SELECTs tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ml_assets.graph.features.binding import OWN, Bound
from ml_assets.graph.features.select_lineage import Origins, select_lineage
from ml_assets.spec import PipelineSpec
from ml_assets.tables import data
from ml_assets.tables.data import FEATURES, QUARANTINE, RAW_DATA, VALIDATED_DATA
from ml_assets.tables.outcomes import OUTCOMES
from ml_assets.tables.predictions import PREDICTIONS

Lineage = dict[str, Origins]  # column -> the (asset name, column)s that it is computed from
OF_RAW_DATA = (*OWN, "source_file", "source_sha256")
OF_ALL_FEATURES = ("score", "decision", "probabilities")  # columns of predictions


def pipeline_lineage(spec: PipelineSpec, texts: Mapping[str, str], bound: Bound) -> dict[str, Lineage]:
    """Asset name -> the lineage of its table's columns, without the columns of which nothing is known.

    Args:
        spec: The pipeline.
        texts: File name -> text of its SQL files, which have been checked.
        bound: What their check has found.
    """
    validated = [*OF_RAW_DATA, *(column.name for column in spec.columns)]
    same = {column: frozenset({(RAW_DATA.name, column)}) for column in validated}
    found = {VALIDATED_DATA.name: same, QUARANTINE.name: same}
    for name, lookup in spec.lookups.items():
        found[data.lookup(name).name] = _of_lookup(spec, texts[lookup.sql], validated)
    if spec.features in texts:
        found[FEATURES.name] = _of_features(spec, texts[spec.features], bound)
    if bound.features is not None:
        found[PREDICTIONS.name] = _of_predictions(bound.features)
    return {name: {c: origins for c, origins in lineage.items() if origins} for name, lineage in found.items()}


def _of_lookup(spec: PipelineSpec, sql: str, validated: list[str]) -> Lineage:
    """`history` is validated data, late outcomes filled in, and the target."""
    columns = [column.name for column in spec.columns]
    target = select_lineage(f"SELECT ({spec.target.sql}\n) AS target FROM row_", {"row_": columns}).get("target")
    given: dict[tuple[str, str], Origins] = {("history", column): _known(spec, column) for column in validated}
    if target is not None:
        given["history", spec.target.name] = _through({origin: _known(spec, origin[1]) for origin in target}, target)
    found = select_lineage(sql, {"history": [*validated, spec.target.name]})
    return {column: _through(given, origins) for column, origins in found.items() if origins <= given.keys()}


def _known(spec: PipelineSpec, column: str) -> Origins:
    """A validated column as lookups see it: an outcome may have come later."""
    late = {(OUTCOMES.name, column)} if spec.outcomes and column in spec.outcome_columns else set()
    return frozenset({(VALIDATED_DATA.name, column), *late})


def _of_features(spec: PipelineSpec, sql: str, bound: Bound) -> Lineage:
    """A reference is no asset, so what comes from it has no origin here."""
    asset_of = {"batch": VALIDATED_DATA.name, **{name: data.lookup(name).name for name in spec.lookups}}
    found = select_lineage(sql, bound.views)
    return {
        column: frozenset((asset_of[view], name) for view, name in origins if view in asset_of)
        for column, origins in found.items()
        if bound.features is None or column in bound.features
    }


def _of_predictions(features: Iterable[str]) -> Lineage:
    origins = frozenset((FEATURES.name, column) for column in features if column not in OWN)
    return {
        **{column: frozenset({(FEATURES.name, column)}) for column in OWN},
        **dict.fromkeys(OF_ALL_FEATURES, origins),
    }


def _through(given: Mapping[tuple[str, str], Origins], origins: Origins) -> Origins:
    return frozenset().union(*(given[origin] for origin in origins))
