"""What a write to the lake is made of: who writes, the rows for each table, and what it left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# Types that DuckLake would store as something else, and what they are stored as here. A value that does not fit
# raises; DuckLake itself would keep HUGEINT as DOUBLE and lose digits.
STORED_AS = {"HUGEINT": "BIGINT", "UHUGEINT": "BIGINT", "UBIGINT": "BIGINT", "TIMESTAMP_NS": "TIMESTAMP"}


@dataclass(frozen=True)
class Commit:
    """Who writes what, kept with the snapshot.

    Args:
        asset: Asset key such as `flights/features`.
        run_id: Dagster run.
        code_version: Code version of the asset.
        batch: Batch that is written, if it is one.
        note: What else there is to say, such as why an earlier state is restored.
        triggered_by: Who or what asked for the run.
    """

    asset: str
    run_id: str = ""
    code_version: str = ""
    batch: str | None = None
    note: Mapping[str, object] = field(default_factory=dict)
    triggered_by: str = ""


@dataclass(frozen=True)
class Put:
    """Rows for one table.

    Args:
        table: `schema.table`.
        source: A relation of the lake's connection that is computed already, such as a temporary table.
        batch: Replace the rows of this batch only; None replaces the whole table.
        append: Add the rows and replace nothing.
        divided_by: With `append`: a file of the table holds one value of this column, so that reading some is cheap.
        key: With `append`: rows of the table that agree with a new one in these columns are replaced.
        volatile: Columns that do not count for the data version, such as a time of writing.
        reshape: The table takes the columns of these rows: others are dropped, and a type may change in a way that
            loses earlier values. For tables that can be computed again; older snapshots keep everything.
        version: The data version, where something else than the rows tells their content; None hashes them.
        renamed: Column -> the name that it has in tables of an earlier version of ml_assets.
        description: What the table holds, and
        column_descriptions: what a column means: the comments that SQL clients show. They are written in the same
            snapshot where they differ from those that the lake has; an empty one leaves what is there.
    """

    table: str
    source: str
    batch: str | None = None
    append: bool = False
    divided_by: str = ""
    key: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()
    reshape: bool = False
    version: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    column_descriptions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """Rows made in Python, for a table that grows.

    Args:
        table: `schema.table`.
        types: Column name -> SQL type.
        rows: One mapping a row; a missing key is NULL. Dictionaries are stored as JSON.
        key: Columns that say what a row is about: what the table holds of it already is replaced, so that a step
            that runs again leaves one row, not two. Without a key every row is an event, and stays.
        renamed, description, column_descriptions: As in `Put`.
    """

    table: str
    types: Mapping[str, str]
    rows: Sequence[Mapping[str, object]]
    key: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    column_descriptions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What a write left in the lake.

    Args:
        table: `schema.table`.
        snapshot_id: The snapshot that the write made.
        rows: Rows written.
        bytes: Bytes of new Parquet files.
        data_version: Hash of schema and rows, whatever their order: equal content, equal version.
        retries: Times the transaction had to be redone.
    """

    table: str
    snapshot_id: int
    rows: int
    bytes: int
    data_version: str
    retries: int = 0


def stored_type(kind: str) -> str:
    """The SQL type as which the lake stores values of a type."""
    return "VARCHAR" if kind.startswith("ENUM") else STORED_AS.get(kind, kind)
