"""The features of an earlier version on batches of today: by its own SELECTs, out of its bundle, over the same rows.

So a champion whose features were removed, renamed or rewritten is still judged beside the version that would replace
it. Lookups are computed anew from the batches before each batch; references are today's, or those in its release where
the YAML names them no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import FeatureError
from ml_assets.graph.features import select
from ml_assets.graph.features.function import Function, is_function
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier, literal
from ml_assets.ml.bundle import Schema
from ml_assets.sources.formats import SQL_TYPES
from ml_assets.sources.references import load_references
from ml_assets.spec import Lookup, PipelineSpec
from ml_assets.tables import outcomes
from ml_assets.tables.data import VALIDATED_DATA, validated_batches
from ml_assets.tables.training_sets import Pin

if TYPE_CHECKING:
    import pandas as pd

RECIPE = "features.json"  # in a bundle, beside its SELECTs


@dataclass(frozen=True)
class Earlier:
    """A version whose features are wanted.

    Args:
        version: Its number.
        bundle: Folder of its bundle.
        release: Folder of its release, which may not exist.
        schema: Schema of its bundle.
        target: SQL of the label that its lookups saw.
    """

    version: str
    bundle: Path
    release: Path
    schema: Schema
    target: str


def recipe_text(spec: PipelineSpec) -> str:
    """What a bundle must keep of the YAML so that its features can be made again."""
    lookups = {name: lookup.model_dump() for name, lookup in spec.lookups.items()}
    return json.dumps({"features": spec.features, "lookups": lookups, "references": list(spec.references)}, indent=1)


def sources(spec: PipelineSpec, texts: Mapping[str, str], function: Function | None) -> dict[str, str]:
    """File name -> text of all that a bundle keeps of how its features are made."""
    return {**texts, **(function.sources if function else {}), RECIPE: recipe_text(spec)}


def same_features(one: Path, other: Path) -> bool:
    """Do two bundles hold the same SELECTs, Python files and recipe? An earlier ml_assets wrote no recipe."""
    left, right = (_texts(folder) for folder in (one, other))
    if RECIPE not in left or RECIPE not in right:
        left.pop(RECIPE, None)
        right.pop(RECIPE, None)
    return left == right


def has_features(folder: Path, texts: Mapping[str, str]) -> bool:
    """Does a bundle hold just these SELECTs, Python files and this recipe?"""
    return _texts(folder) == texts


def _texts(folder: Path) -> dict[str, str]:
    kept = [file for file in folder.iterdir() if file.suffix in (".sql", ".py") or file.name == RECIPE]
    return {file.name: file.read_text(encoding="utf-8") for file in kept}


def features_of(
    lake: Lake, paths: Paths, spec: PipelineSpec, of: Earlier, pin: Pin, batches: Sequence[str]
) -> pd.DataFrame:
    """batch, row_id and the version's features of batches, as their rows are at the pin's snapshot.

    Raises:
        FeatureError: They cannot be made: a column is gone, a SELECT fails, or a Python function made them.
        SourceError: A reference cannot be read.
    """
    import pandas as pd

    recipe, texts = _recipe(spec, of), _texts(of.bundle)
    columns = _request(lake, spec, of, pin, batches)
    _load_references(lake, paths, spec, of, recipe["references"])
    lookups = {name: Lookup(**values) for name, values in recipe["lookups"].items()}
    made = []
    for batch in batches:
        lake.con.execute("SET VARIABLE batch = ?", [batch])
        for name, lookup in lookups.items():
            _open_lookup(lake, spec, of, pin, batch, name, lookup, texts[lookup.sql])
        lake.con.execute(
            f"""CREATE OR REPLACE TEMP VIEW batch AS SELECT {columns} FROM {_validated(spec, pin)}
            WHERE batch = getvariable('batch')"""
        )
        file = recipe["features"]
        views = ["batch", *lookups, *recipe["references"]]
        select.run_select(lake, texts[file], "earlier_rows", file, views, hidden=())
        select.check_rows(lake, "earlier_rows", file)
        made.append(lake.con.execute(f"SELECT {_wanted(lake, of)} FROM earlier_rows").df())
    return pd.concat(made, ignore_index=True)


def _recipe(spec: PipelineSpec, of: Earlier) -> dict[str, Any]:
    """That of the bundle; of a bundle from before there were recipes, today's, as far as it has the SELECTs."""
    file = of.bundle / RECIPE
    recipe: dict[str, Any] = json.loads(file.read_text() if file.exists() else recipe_text(spec))
    if is_function(recipe["features"]):
        raise _impossible(of, "its features were made by a Python function, whose code is not run again")
    needed = [recipe["features"], *(lookup["sql"] for lookup in recipe["lookups"].values())]
    gone = [name for name in needed if not (of.bundle / name).exists()]
    if gone:
        raise _impossible(of, f"its bundle does not say how {gone[0]} was used")
    return recipe


def _request(lake: Lake, spec: PipelineSpec, of: Earlier, pin: Pin, batches: Sequence[str]) -> str:
    """The columns of the view `batch`, with the types that the version knew."""
    there = {name.lower(): name for name in lake.columns(f"(FROM {_validated(spec, pin)})")}
    gone = [name for name in of.schema.columns if name.lower() not in there]
    declared = {column.name for column in spec.columns}
    unsure = [name for name in of.schema.columns if name not in declared and name not in gone]
    if unsure:  # the column of an earlier YAML stays in the table, empty in the batches that came since
        counts = lake.con.execute(
            f"""SELECT {", ".join(f"count({identifier(name)})" for name in unsure)} FROM {_validated(spec, pin)}
            WHERE batch IN (SELECT unnest(?))""",
            [list(batches)],
        ).fetchall()[0]
        gone += [name for name, filled in zip(unsure, counts, strict=True) if not filled]
    if gone:
        raise _impossible(of, f"it needs the column {gone[0]!r}, which the rows do not have any more")
    casts = (f"{identifier(n)}::{SQL_TYPES[kind]} AS {identifier(n)}" for n, kind in of.schema.columns.items())
    return ", ".join(["batch", "row_id", *casts])


def _load_references(lake: Lake, paths: Paths, spec: PipelineSpec, of: Earlier, names: Sequence[str]) -> None:
    load_references(lake, spec, paths, [name for name in names if name in spec.references])
    for name in names:
        file = of.release / "references" / f"{name}.parquet"
        if name not in spec.references:
            if not file.exists():
                raise _impossible(of, f"it needs the reference {name!r}, which neither YAML nor release has any more")
            lake.con.execute(
                f"CREATE OR REPLACE TEMP TABLE {identifier(name)} AS FROM read_parquet({literal(str(file))})"
            )


def _open_lookup(
    lake: Lake, spec: PipelineSpec, of: Earlier, pin: Pin, batch: str, name: str, lookup: Lookup, sql: str
) -> None:
    """Compute a lookup for a batch from the batches before it, as the pin's snapshot knows them, and name a view so."""
    earlier = validated_batches(lake, spec.name, batch, lookup.batches)
    lake.con.execute("SET VARIABLE history_first = ?", [earlier[0] if earlier else ""])
    lake.con.execute("SET VARIABLE history_last = ?", [earlier[-1] if earlier else ""])
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP VIEW history AS SELECT *, ({of.target}\n) AS {identifier(of.schema.target)}
        FROM {outcomes.known_sql(spec.name, pin.late, pin.snapshot_id)}
        WHERE batch BETWEEN getvariable('history_first') AND getvariable('history_last')"""
    )
    into = f"earlier_{name}"
    select.run_select(lake, sql, into, lookup.sql, ["history"], hidden=())
    select.check_key(lake, into, lookup.key, lookup.sql)
    lake.con.execute(
        f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS SELECT * EXCLUDE (batch) FROM {identifier(into)}"
    )


def _wanted(lake: Lake, of: Earlier) -> str:
    features: Mapping[str, str] = of.schema.features
    missing = sorted(set(features) - set(lake.columns("earlier_rows")))
    if missing:
        raise _impossible(of, f"its SELECT does not give {missing[0]!r} over today's columns")
    return ", ".join(["batch", "row_id", *_casts(features)])


def _casts(features: Mapping[str, str]) -> Iterator[str]:
    for name, kind in features.items():
        yield f"{identifier(name)}::DOUBLE AS {identifier(name)}" if kind == "number" else identifier(name)


def _validated(spec: PipelineSpec, pin: Pin) -> str:
    return VALIDATED_DATA.sql(spec.name, pin.snapshot_id)


def _impossible(of: Earlier, why: str) -> FeatureError:
    return FeatureError(f"Version {of.version} cannot be asked about these rows: {why}.")
