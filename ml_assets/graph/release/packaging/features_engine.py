"""What computes the features of a release's requests: SQLite where it gives the same, DuckDB otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ml_assets.graph.release.packaging.row_wise import is_row_wise
from ml_assets.graph.release.packaging.sqlite_select import Untranslatable, translate
from ml_assets.lake.data_files import MOST_FILES
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier, identifiers, literal
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import SQLITE_SELECT, ServingFacts, source_line
from ml_assets.spec import PipelineSpec
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.training_sets import Pin

COMPARED_ROWS = 50_000
COMPARED_BATCHES = 20  # at least, where there are so many


class Parity(Protocol):
    """Compares a release's two engines, as `server/parity.py` does."""

    def __call__(
        self, folder: Path, facts: ServingFacts, schema: Schema, rows: dict[str, list[Any]], count: int
    ) -> str:
        """Why SQLite must not compute the features; empty where it computes the same."""


def choose(
    lake: Lake, spec: PipelineSpec, pin: Pin, folder: Path, facts: ServingFacts, schema: Schema, parity: Parity
) -> ServingFacts:
    """The facts with the engine, and its SELECT in the release where that is SQLite.

    Args:
        lake: The lake.
        spec: The pipeline.
        pin: The training set, whose rows are computed by both.
        folder: The release, with its bundle, lookups and references.
        facts: What it says so far.
        schema: The bundle's schema.
        parity: Compares the engines.
    """
    if facts.sql is None:
        return replace(facts, features_why="a Python function computes them")
    sql = (folder / "bundle" / facts.sql).read_text(encoding="utf-8")
    if not is_row_wise(sql):
        return replace(facts, features_why="the SELECT is not known to compute each row by itself")
    try:
        translated = translate(sql, facts.batch, schema.columns, schema.features, _types(lake, folder, facts))
    except Untranslatable as error:
        return replace(facts, row_wise=True, features_why=f"not known to be the same on SQLite: {error}")
    (folder / SQLITE_SELECT).write_text(f"{source_line(sql)}\n{translated.text}\n", encoding="utf-8")
    chosen = replace(facts, row_wise=True, features_engine="sqlite", indexes=translated.indexes)
    rows = _rows(lake, spec, pin, schema)
    why = parity(folder, chosen, schema, rows, len(next(iter(rows.values()))))
    if not why:
        return chosen
    (folder / SQLITE_SELECT).unlink()
    return replace(facts, row_wise=True, features_why=why)


def _types(lake: Lake, folder: Path, facts: ServingFacts) -> dict[str, dict[str, str]]:
    """Lookup or reference -> column -> DuckDB's type."""
    files = {name: folder / "lookups" / f"{name}.parquet" for name in facts.lookups}
    files |= {name: folder / "references" / f"{name}.parquet" for name in facts.references}
    return {
        name: {
            column: kind
            for column, kind, *_ in lake.con.execute(f"DESCRIBE FROM read_parquet({literal(str(file))})").fetchall()
        }
        for name, file in files.items()
    }


def _spread(batches: list[str], most: int) -> list[str]:
    """At most `most` of the batches, evenly spread, the first and the last among them."""
    last = min(most, len(batches)) - 1
    return [batches[n * (len(batches) - 1) // max(last, 1)] for n in range(last + 1)]


def _rows(lake: Lake, spec: PipelineSpec, pin: Pin, schema: Schema) -> dict[str, list[Any]]:
    """Up to 50,000 rows of the training set's batches that a request can hold; the same ones each time.

    They are neighbours in each of some batches, first ones of the first and last ones of the last: few parts of few
    files are read, however many rows there are.
    """
    columns = list(schema.columns)
    numbers = [name for name, word in schema.columns.items() if word == "number"]
    finite = " AND ".join([f"coalesce(isfinite({identifier(name)}), true)" for name in numbers] or ["true"])
    named = VALIDATED_DATA.of(spec.name)
    there = lake.rows_by_batch(named, pin.snapshot_id)
    batches = [batch for batch in pin.all_batches if there.get(batch)]
    needed = COMPARED_ROWS * len(batches) // max(sum(there[batch] for batch in batches), 1) + 1
    chosen = _spread(batches, min(max(needed, COMPARED_BATCHES), MOST_FILES))
    each = COMPARED_ROWS // max(len(chosen), 1)
    rows = []
    for number, batch in enumerate(chosen):
        first = max(there[batch] - each, 0) * number // max(len(chosen) - 1, 1)
        rows += lake.fetch(
            f"""SELECT {identifiers(columns)} FROM {lake.relation(named, [batch], pin.snapshot_id)}
            WHERE row_id > ? AND {finite} ORDER BY row_id LIMIT ?""",
            [first, each],
            name=named,
        )
    return (
        dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)) if rows else {name: [] for name in columns}
    )
