"""The rows of the batches: as they came, as they passed the rules or broke them, and what is computed from them.

Their other columns are those of the YAML and of its SELECTs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier, identifiers
from ml_assets.spec import PipelineSpec
from ml_assets.tables.table import Column, Table

BATCH = Column("batch", "VARCHAR", "The batch.")
ROW_ID = Column("row_id", "BIGINT", "Number of the row in its batch.")
SOURCE = (
    Column(
        "source_file",
        "VARCHAR",
        "The file that the row came in.",
    ),
    Column("source_sha256", "VARCHAR", "SHA-256 of that file's bytes."),
)
ONLINE_NAME = re.compile(r".+ online \d{4}-\d{2}-\d{2}", re.DOTALL)
ONLINE_LIKE = "'% online ____-__-__'"  # the same for LIKE
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


def is_online_batch(batch: str) -> bool:
    """Is it a batch of logged requests (tables/online_batches.py), such as `2013-12 online 2026-11-20`?"""
    return ONLINE_NAME.fullmatch(batch) is not None


def of_files_sql(pipeline: str, snapshot: int | None = None) -> str:
    """Validated rows that came in files, as SQL that can follow FROM, as they are or were at a snapshot."""
    return f"(FROM {VALIDATED_DATA.sql(pipeline, snapshot)} WHERE batch NOT LIKE {ONLINE_LIKE})"


def with_online_sql(pipeline: str, key: Sequence[str], snapshot: int | None = None) -> str:
    """The same and the rows of batches of logged requests, those without whose key a file has brought since.

    Args:
        pipeline: Schema in the lake.
        key: The columns of `key` that a request has.
        snapshot: As they were at this snapshot.
    """
    of_files, same = of_files_sql(pipeline, snapshot), " AND ".join(f"f.{n} = o.{n}" for n in map(identifier, key))
    return f"""(FROM {of_files} UNION ALL BY NAME
        SELECT o.* FROM (FROM {VALIDATED_DATA.sql(pipeline, snapshot)} WHERE batch LIKE {ONLINE_LIKE}) o
        WHERE NOT EXISTS (SELECT 1 FROM {of_files} f WHERE {same}))"""


def validated_batches(lake: Lake, pipeline: str, before: str | None = None, limit: int | None = None) -> list[str]:
    """Batches of files with validated rows, in order: at most the last `limit` of those before a batch."""
    found = lake.batches(VALIDATED_DATA.of(pipeline), before, limit)
    if any(map(is_online_batch, found)):
        found = [name for name in lake.batches(VALIDATED_DATA.of(pipeline), before) if not is_online_batch(name)]
    return found if limit is None else found[-limit:]


def broken_rules(lake: Lake, pipeline: str, batches: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Rules that rows of the quarantine break: rule, rows, batches, first and last batch; most rows first."""
    return QUARANTINE.query(
        lake,
        pipeline,
        """SELECT split_part(reason, ': ', 1) AS rule, count(*) AS rows, count(DISTINCT batch) AS batches,
            min(batch) AS first, max(batch) AS last
        FROM (SELECT batch, unnest(reasons) AS reason FROM {t} WHERE $batches IS NULL OR list_contains($batches, batch))
        GROUP BY 1 ORDER BY 2 DESC, 1""",
        {"batches": None if batches is None else list(batches)},
    )


def quarantined(
    lake: Lake, pipeline: str, batches: Sequence[str], rule: str | None, columns: Collection[str], limit: int
) -> list[dict[str, Any]]:
    """The first rows of the quarantine, with the columns in question and the reasons.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        batches: Rows of these batches.
        rule: Only rows that break this rule.
        columns: Columns in question; those that the table does not have are left out.
        limit: Maximum number of rows.
    """
    there = lake.columns(QUARANTINE.sql(pipeline)) if lake.exists(QUARANTINE.of(pipeline)) else {}
    shown = ["batch", "row_id", "source_file", *(column for column in there if column in columns), "reasons"]
    return QUARANTINE.query(
        lake,
        pipeline,
        f"""SELECT {identifiers(shown)} FROM {{t}} WHERE list_contains($batches, batch)
        AND ($rule IS NULL OR len(list_filter(reasons, lambda r: split_part(r, ': ', 1) = $rule)) > 0)
        ORDER BY batch, row_id LIMIT $limit""",
        {"batches": list(batches), "rule": rule, "limit": limit},
    )
