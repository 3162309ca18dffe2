"""The rows of the batches: as they came, as they passed the rules or broke them, and what is computed from them.

Their other columns are those of the YAML and of its SELECTs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ml_assets.lake.lake import Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables.table import Column, Table

BATCH = Column("batch", "VARCHAR", "The batch.")
ROW_ID = Column("row_id", "BIGINT", "Number of the row in its batch.")
SOURCE = (
    Column("source_file", "VARCHAR", "The file that the row came in."),
    Column("source_sha256", "VARCHAR", "SHA-256 of that file's bytes."),
)
DECLARED = "each column of the YAML; with `tolerate.new_columns: keep` also those that no line declares, as text"

RAW_DATA = Table(
    "raw_data",
    "A row of a batch's files, typed as declared.",
    (
        BATCH,
        ROW_ID,
        *SOURCE,
        Column("unreadable", "VARCHAR[]", "Declared columns whose value could not be read as their type."),
    ),
    written_by="asset raw_data",
    key=("batch", "row_id"),
    further=DECLARED,
)
VALIDATED_DATA = Table(
    "validated_data",
    "A row that keeps every rule.",
    (BATCH, ROW_ID, *SOURCE),
    written_by="asset validated_data",
    key=("batch", "row_id"),
    further=DECLARED,
)
QUARANTINE = Table(
    "quarantine",
    "A row that breaks a rule.",
    (
        BATCH,
        ROW_ID,
        *SOURCE,
        Column("reasons", "VARCHAR[]", "The rules that it breaks, each with the value that was found."),
    ),
    written_by="asset quarantine",
    key=("batch", "row_id"),
    further=DECLARED,
)
FEATURES = Table(
    "features",
    "The features of a validated row.",
    (BATCH, ROW_ID),
    written_by="asset features",
    key=("batch", "row_id"),
    further="each column of the features' SELECT",
)
LOOKUP = Table(
    "lookup_NAME",
    "An aggregate of the batches before a batch, one row for each key of the lookup.",
    (BATCH,),
    written_by="asset lookup_NAME",
    key=("batch",),
    further="each column of the lookup's SELECT, its key among them",
)
PREFIX = LOOKUP.name.removesuffix("NAME")


def lookup(name: str) -> Table:
    """The table of a lookup."""
    return LOOKUP.named(PREFIX + name)


def lookups(lake: Lake, pipeline: str) -> list[str]:
    """Names of the tables of a pipeline's lookups, those that the YAML no longer names included."""
    schemas_and_names = (name.partition(".") for name in lake.tables())
    return [name for schema, _, name in schemas_and_names if schema == pipeline and name.startswith(PREFIX)]


def descriptions(spec: PipelineSpec) -> dict[str, str]:
    """Declared column -> what it means and its unit, as the YAML says."""
    found = {c.name: " ".join(filter(None, [c.description, c.unit and f"[{c.unit}]"])) for c in spec.columns}
    return {name: text for name, text in found.items() if text}


def source_hashes(lake: Lake, pipeline: str) -> dict[str, set[str]]:
    """Batch -> SHA-256 of the files whose rows raw_data holds."""
    return lake.values_by_batch(RAW_DATA.of(pipeline), "source_sha256")


def validated_batches(lake: Lake, pipeline: str, before: str | None = None, limit: int | None = None) -> list[str]:
    """Batches with validated rows, in order: at most the last `limit` of those before a batch."""
    found = [name for name in lake.batches(VALIDATED_DATA.of(pipeline)) if before is None or name < before]
    return found if limit is None else found[-limit:]


def reasons(lake: Lake, pipeline: str, batches: Sequence[str] | None = None) -> list[dict[str, object]]:
    """Rules that rows of the quarantine break: reason, rows; most rows first."""
    return QUARANTINE.query(
        lake,
        pipeline,
        """SELECT split_part(reason, ': ', 1) AS reason, count(*) AS rows
        FROM (SELECT unnest(reasons) AS reason FROM {t} WHERE $batches IS NULL OR list_contains($batches, batch))
        GROUP BY 1 ORDER BY 2 DESC""",
        {"batches": None if batches is None else list(batches)},
    )
