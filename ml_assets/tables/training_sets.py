"""Training sets as pins: the definition of a training set at one snapshot of the lake, never a copy of its rows.

A pin is the row that names the snapshot, the batches, the split and the label; reading
it gives the same rows in the same order for ever, as long as its snapshot is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets.errors import TrainingError
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.sql import identifier, identifiers
from ml_assets.ml.feature_types import LABEL as LABEL
from ml_assets.tables import outcomes
from ml_assets.tables.data import FEATURES
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import now, records, with_models

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

TRAINING_SETS = Table(
    "training_set",
    "A pin: the definition of a training set at one snapshot of the lake.",
    (
        Column("pin_id", "VARCHAR", "Hash of everything that decides its rows, labels and split."),
        Column("created_at", "TIMESTAMP", "When it was made, UTC."),
        Column("run_id", "VARCHAR", "Dagster run."),
        Column("snapshot_id", "BIGINT", "Snapshot of the lake that it reads."),
        Column("train_batches", "VARCHAR[]", "Batches with train rows."),
        Column("validation_batches", "VARCHAR[]", "Batches with validation rows."),
        Column("test_batches", "VARCHAR[]", "Batches with test rows."),
        Column("definition", "JSON", "All that is needed to read its rows again: features, target, split, seed."),
        Column("train_rows", "BIGINT", "Labelled rows that models are fitted on."),
        Column("validation_rows", "BIGINT", "Labelled rows that choose between candidates."),
        Column("test_rows", "BIGINT", "Labelled rows that the evaluation alone sees."),
    ),
    written_by="asset training_set",
    key=("pin_id",),
)
PARTS = ("train", "validation", "test")
READ_AT_ONCE = 20_000  # rows of several batches, beyond which a read of each by itself costs little
FITTED = ("train", "validation")  # what the judged model is fitted on


@dataclass(frozen=True)
class Pin:
    """A training set.

    Args:
        pin_id: Hash of everything that decides its rows, labels and split.
        snapshot_id: Snapshot of the lake that it reads.
        batches: Part (train, validation, test) -> batches. Other splits than by batch have all under each part.
        rows: Part -> number of labelled rows.
        features: Feature name -> number | category.
        target: SQL of the label.
        split: How rows are divided, as in the YAML.
        seed: Seed of a split by rows.
        late: Columns by which outcomes that came later are found, and those that they fill in (`tables/outcomes.py`);
            None where there were none.
        online: Columns by which a row of a logged request is the same as one of a file; None where it has none of
            the former.
        available: Labelled rows of its batches, where it is a sample of them; None where it has all.
        share: The share of them that the sample has, by a hash of each row and the seed.
    """

    pin_id: str
    snapshot_id: int
    batches: dict[str, list[str]]
    rows: dict[str, int]
    features: dict[str, str]
    target: str
    split: dict[str, Any]
    seed: int
    late: dict[str, list[str]] | None = None
    online: list[str] | None = None
    available: int | None = None
    share: float | None = None

    @property
    def all_batches(self) -> list[str]:
        return sorted({batch for part in self.batches.values() for batch in part})

    @property
    def sample(self) -> str:
        """What of its batches it has, in words; empty where it has all labelled rows."""
        if self.share is None or self.available is None:
            return ""
        return (
            f"a sample of {sum(self.rows.values()):,} of {self.available:,} labelled rows ({self.share:.2%} of each "
            f"batch, by a hash of the row with seed {self.seed}; training.max_rows sets its size)"
        )


def save(lake: Lake, pipeline: str, pin: Pin, commit: Commit) -> None:
    """Record a pin: one row, however often it is made."""
    row = {
        "pin_id": pin.pin_id,
        "created_at": now(),
        "run_id": commit.run_id,
        "snapshot_id": pin.snapshot_id,
        "definition": asdict(pin),
        **{f"{part}_batches": pin.batches[part] for part in PARTS},
        **{f"{part}_rows": pin.rows[part] for part in PARTS},
    }
    lake.append([TRAINING_SETS.rows(pipeline, [row])], commit)


def newest(lake: Lake, pipeline: str, run_id: str | None = None, pin_id: str | None = None) -> Pin:
    """The pin of this run, or that pin, else the newest one.

    Raises:
        TrainingError: There is none.
    """
    rows = TRAINING_SETS.query(
        lake,
        pipeline,
        """SELECT definition FROM {t} WHERE $pin_id IS NULL OR pin_id = $pin_id
        ORDER BY (run_id = coalesce($run_id, '')) DESC, created_at DESC LIMIT 1""",
        {"run_id": run_id, "pin_id": pin_id},
    )
    if not rows:
        raise TrainingError(
            "There is no training set yet.",
            where={"pipeline": pipeline},
            fix=f"Materialize {pipeline}/training_set, or run the job {pipeline}_train.",
        )
    return Pin(**json.loads(rows[0]["definition"]))


def newest_id(lake: Lake, pipeline: str) -> str | None:
    """The pin that was made last; None where there is none."""
    rows = TRAINING_SETS.query(lake, pipeline, "SELECT max_by(pin_id, created_at) AS pin_id FROM {t}")
    return rows[0]["pin_id"] if rows else None


def pinned(lake: Lake) -> dict[int, list[str]]:
    """Snapshot -> model versions of any pipeline that were trained on it; such a snapshot is never expired."""
    found: dict[int, set[str]] = {}
    for pipeline in with_models(lake):
        snapshot_of = {row["pin_id"]: row["snapshot_id"] for row in made(lake, pipeline)}
        for row in records(lake, pipeline):
            for snapshot in {row["snapshot_id"], snapshot_of.get(row["pin_id"], row["snapshot_id"])}:
                found.setdefault(int(snapshot), set()).add(f"{pipeline}@{row['version']}")
    return {snapshot: sorted(names) for snapshot, names in sorted(found.items())}


def made(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """Every pin without its definition: when and by which run it was made, its batches and rows."""
    return TRAINING_SETS.query(lake, pipeline, "SELECT * EXCLUDE (definition) FROM {t} ORDER BY created_at")


def rows_sql(pipeline: str, pin: Pin, extra: tuple[str, ...] = ()) -> str:
    """SELECT of the labelled rows with their part; `extra` columns come from validated_data.

    A label is what was known at the snapshot, late outcomes included.

    The part of a row depends on the row and the seed alone, so it can be told again at any time.
    """
    known = outcomes.known_sql(pipeline, pin.late, pin.snapshot_id, pin.online)
    label = f"SELECT batch, row_id, ({pin.target}\n) AS {LABEL}"
    group = pin.split.get("group")
    wanted = tuple(dict.fromkeys((*extra, *((group,) if group else ()))))
    if wanted:
        label += ", " + ", ".join(f"{identifier(name)} AS {identifier('slice_' + name)}" for name in wanted)
    return f"""
        SELECT f.batch, f.row_id, {_part_sql(pin)} AS part, l.{LABEL}, {identifiers(list(pin.features))}
            {"".join(f", l.{identifier('slice_' + name)}" for name in wanted)}
        FROM (SELECT * FROM {FEATURES.sql(pipeline, pin.snapshot_id)}) f
        JOIN ({label} FROM {known}) l USING (batch, row_id)
        WHERE l.{LABEL} IS NOT NULL AND f.batch IN (SELECT unnest($batches::VARCHAR[]))
            {"" if pin.share is None else f"AND {_draw('f.batch', 'f.row_id', purpose='sample')} < {pin.share!r}"}"""


def _part_sql(pin: Pin) -> str:
    """SQL expression for the part of a row."""
    by, validation, test = pin.split["by"], float(pin.split["validation"]), float(pin.split["test"])
    if by == "batch":
        return """CASE WHEN list_contains($test::VARCHAR[], f.batch) THEN 'test'
            WHEN list_contains($validation::VARCHAR[], f.batch) THEN 'validation' ELSE 'train' END"""
    draw = _draw("f.batch", "f.row_id")
    if by == "group":
        draw = _draw(f"l.{identifier('slice_' + str(pin.split['group']))}")
    if by == "stratified":
        draw = f"(percent_rank() OVER (PARTITION BY l.{LABEL} ORDER BY {draw}))"
    unseen = f"WHEN {draw} < {test!r} THEN 'test' WHEN {draw} < {test + validation!r} THEN 'validation'"
    return f"CASE {unseen} ELSE 'train' END"


def _draw(*of: str, purpose: str = "") -> str:
    """SQL of a number from 0 to 1 that depends on some columns, the seed and its purpose alone."""
    parts = [*of, "$seed", *([f"'{purpose}'"] if purpose else [])]
    return f"(md5_number_lower(concat_ws(chr(31), {', '.join(parts)}))::DOUBLE / 18446744073709551616)"


def parameters(pin: Pin) -> dict[str, Any]:
    """Values of the parameters in `rows_sql`."""
    values: dict[str, Any] = {"batches": pin.all_batches}
    if pin.split["by"] == "batch":
        values |= {"test": pin.batches["test"], "validation": pin.batches["validation"]}
    if pin.split["by"] != "batch" or pin.share is not None:
        values["seed"] = str(pin.seed)
    return values


def read(
    lake: Lake, pipeline: str, pin: Pin, parts: tuple[str, ...] = PARTS, extra: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Labelled rows of some parts: batch, row_id, part, label, the features, and `slice_<column>` for each extra.

    Numbers among the features are float64. Rows are ordered by batch and row_id, and read a few at a time: a sort of
    them all, and a second copy of every number, would take several times their memory.

    Raises:
        TrainingError: The pinned snapshot is gone.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    numbers = [name for name, kind in pin.features.items() if kind == "number"]
    block = np.empty((sum(pin.rows[part] for part in parts), len(numbers)), order="F")
    others, filled = [], 0
    for rows in _by_batch(lake, pipeline, pin, parts, extra):
        for place, name in enumerate(numbers):
            block[filled : filled + len(rows), place] = rows.column(name).to_numpy()
        filled += len(rows)
        # A copy: one column of DuckDB's keeps all columns of its rows in memory.
        others.append(rows.drop_columns(numbers).take(np.arange(len(rows))))
        del rows  # before the next batch is read
    frame: pd.DataFrame = pa.concat_tables(others).to_pandas(date_as_object=False)
    columns: dict[str, Any] = {str(name): frame[name] for name in frame}
    columns |= {name: block[:, place] for place, name in enumerate(numbers)}
    return pd.DataFrame(columns, copy=False)


def _by_batch(
    lake: Lake, pipeline: str, pin: Pin, parts: tuple[str, ...], extra: tuple[str, ...]
) -> Iterator[pa.Table]:
    """The rows of `read` as Arrow tables, in order; a stratified split is computed over all batches at once.

    Neighbours of few rows are read together: to find the rows of one batch costs as much as to read a thousand.
    """
    casts = [
        f"{identifier(name)}::DOUBLE AS {identifier(name)}" for name, kind in pin.features.items() if kind == "number"
    ]
    replaced = f" REPLACE ({', '.join(casts)})" if casts else ""
    sql = f"""SELECT *{replaced} FROM ({rows_sql(pipeline, pin, extra)})
        WHERE list_contains($parts, part) AND batch BETWEEN $first AND $last ORDER BY batch, row_id"""
    named = sorted({batch for part in parts for batch in pin.batches[part]})
    whole = pin.split["by"] == "stratified"
    try:
        for neighbours in [pin.all_batches] if whole else _neighbours(named, lake.rows_by_batch(FEATURES.of(pipeline))):
            # Without a name, the rows of a group are gone before the next one is read.
            values = {**parameters(pin), "parts": list(parts), "first": neighbours[0], "last": neighbours[-1]}
            yield _without_decimals(lake.con.execute(sql, values).to_arrow_table())
            lake.release_memory()
    except duckdb.InvalidInputException as error:
        raise TrainingError(
            f"Snapshot {pin.snapshot_id} of the training set cannot be read.",
            found=str(error).splitlines()[0],
            where={"pipeline": pipeline, "pin": pin.pin_id},
            fix=f"Materialize {pipeline}/training_set again.",
        ) from error


def _neighbours(batches: Sequence[str], rows: Mapping[str, int]) -> Iterator[list[str]]:
    """Batches in groups of neighbours with at most `READ_AT_ONCE` rows; a larger one alone, as one of unknown size."""
    group: list[str] = []
    total = 0
    for batch in batches:
        total += rows.get(batch, READ_AT_ONCE)
        if group and total > READ_AT_ONCE:
            yield group
            group, total = [], rows.get(batch, READ_AT_ONCE)
        group.append(batch)
    if group:
        yield group


def _without_decimals(rows: pa.Table) -> pa.Table:
    import pyarrow as pa

    for place, column in enumerate(rows.schema):
        if pa.types.is_decimal(column.type):
            rows = rows.set_column(place, column.name, rows.column(place).cast(pa.float64()))
    return rows


def seen(lake: Lake, pipeline: str, pin: Pin, rows: pd.DataFrame, parts: tuple[str, ...]) -> Array:
    """Which rows were in some parts of a pin, shape (n,); True where that cannot be told any more.

    A batch counts as a whole where the split is by batch, and where all parts are meant.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        pin: The pin.
        rows: Rows with `batch` and `row_id`, of any pin.
        parts: Parts of the pin.
    """
    named = {batch for part in parts for batch in pin.batches[part]}
    there: Array = rows["batch"].isin(named).to_numpy()
    if pin.split["by"] == "batch" or set(parts) == set(PARTS) or not there.any():
        return there
    sql = f"SELECT batch, row_id, true AS seen FROM ({rows_sql(pipeline, pin)}) WHERE list_contains($parts, part)"
    try:
        known = lake.con.execute(sql, {**parameters(pin), "parts": list(parts)}).df()
    except duckdb.Error:  # its snapshot has expired, or a column is gone
        return there
    found: Array = rows[["batch", "row_id"]].merge(known, how="left")["seen"].notna().to_numpy()
    return found


def rows_in_two_parts(lake: Lake, pipeline: str, pin: Pin) -> int:
    """Test rows that are also train or validation rows; 0 unless the split is broken."""
    (count,) = lake.con.execute(
        f"""WITH rows_ AS ({rows_sql(pipeline, pin)})
        SELECT count(*) FROM rows_ a JOIN rows_ b USING (batch, row_id) WHERE a.part = 'test' AND b.part != 'test'""",
        parameters(pin),
    ).fetchall()[0]
    return int(count)


def share_seen_before(lake: Lake, pipeline: str, pin: Pin) -> float:
    """Share of test rows that stand among train or validation rows, too: the same features and label."""
    same = f"hash({LABEL}, {identifiers(list(pin.features))})"
    (share,) = lake.con.execute(
        f"""WITH rows_ AS (SELECT part, {same} AS content FROM ({rows_sql(pipeline, pin)}))
        SELECT avg((content IN (SELECT content FROM rows_ WHERE part != 'test'))::INT)
        FROM rows_ WHERE part = 'test'""",
        parameters(pin),
    ).fetchall()[0]
    return float(share)
