"""How an asset of any stage is declared, and what every materialization says: names, keys, commits, metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ml_assets.lake.lake import Commit, Written
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses
from ml_assets.spec import PipelineSpec
from ml_assets.tables.audit import READ_AT
from ml_assets.tables.table import Table
from ml_assets.tables.versions import user

Metadata = dict[str, Any]
# Metadata of an asset that reads batches before its own: asset key -> at most how many.
LOOKS_BACK = "looks_back"
UNITS = ("seconds", "_s", "_ms", "_mib")  # ends of the names of measurements
REJECTED_TAG = "ml_assets/rejected"  # of a run that only records files which are rejected: their names
# What can ask for a run -> Dagster's tag that names it.
TRIGGERED_BY = {"schedule": "dagster/schedule_name", "sensor": "dagster/sensor_name", "backfill": "dagster/backfill"}


def batches_of(spec: PipelineSpec) -> dg.DynamicPartitionsDefinition:
    """The partitions of a pipeline: one per batch."""
    return dg.DynamicPartitionsDefinition(name=f"{spec.name}_batches")


def register_batches(spec: PipelineSpec, instance: dg.DagsterInstance, batches: Sequence[str]) -> None:
    """Make partitions of batches that have none. Dagster's statement takes long for very many that have one."""
    registered = set(instance.get_dynamic_partitions(f"{spec.name}_batches"))
    if new := [batch for batch in batches if batch not in registered]:
        instance.add_dynamic_partitions(f"{spec.name}_batches", new)


def hours_of(spec: PipelineSpec) -> dg.DynamicPartitionsDefinition:
    """The partitions of what servers log: one per hour, UTC, that has records."""
    return dg.DynamicPartitionsDefinition(name=f"{spec.name}_hours")


def asset_key(spec: PipelineSpec, asset: Table | str) -> dg.AssetKey:
    """`[pipeline, name]` of an asset, or of the asset of a table."""
    return dg.AssetKey([spec.name, asset.name if isinstance(asset, Table) else asset])


def table_of(key: dg.AssetKey) -> str:
    """The lake's table of an asset."""
    return ".".join(key.path)


def common(
    spec: PipelineSpec, stage: str, code_version: str, kinds: set[str], by_batch: bool = False, by_hour: bool = False
) -> dict[str, Any]:
    """Arguments that every asset of a stage is declared with."""
    arguments: dict[str, Any] = {
        "group_name": f"{spec.name}_{stage}",
        "owners": spec.owners,
        "code_version": code_version,
        "kinds": kinds,
        "tags": {"ml_assets/pipeline": spec.name, "ml_assets/stage": stage},
        # `dagster asset materialize --partition-range` asks it of every selected asset, partitioned or not.
        "backfill_policy": dg.BackfillPolicy.single_run(),
    }
    if by_batch or by_hour:
        arguments["partitions_def"] = batches_of(spec) if by_batch else hours_of(spec)
    return arguments


def one_at_a_time(spec: PipelineSpec, stage: str, code_version: str, kinds: set[str]) -> dict[str, Any]:
    """The same, of an asset that one run of a pipeline at a time makes, on all machines of a Dagster instance.

    dagster.yaml limits a pool to one run, so that a run which was killed keeps no place in it. What is run from a
    terminal passes by it: the lake's own locks are around what must never happen twice.
    """
    return {**common(spec, stage, code_version, kinds), "pool": f"{spec.name}_train"}


def ingest_pool(spec: PipelineSpec) -> str | None:
    """The pool of what reads batches before its own, and of what it reads of them; None where nothing does.

    Ranges of a backfill are then runs one after the other, in the order in which Dagster queues them: from the first
    batch on. Where no asset of the pipeline looks back, they are at work side by side.
    """
    return f"{spec.name}_ingest" if spec.lookups or spec.key_batches else None


def limit_ingest_pool(spec: PipelineSpec, instance: dg.DagsterInstance) -> None:
    """Let Dagster know the pool before a run of it is queued: the queue limits it from the second time on."""
    pool, records = ingest_pool(spec), instance.event_log_storage
    if pool and pool not in records.get_concurrency_keys():  # Dagster's statement fails for a known one on PostgreSQL
        records.initialize_concurrency_limit_to_default(pool)


def commit(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    batch: str | None = None,
    note: Mapping[str, object] | None = None,
    read_at: int | None = None,
) -> Commit:
    """Who writes, for the snapshot's message, of which snapshot the rows were read, and what else there is to say."""
    version = context.assets_def.code_versions_by_key.get(key) or ""
    run = context.run
    read = {} if read_at is None else {READ_AT: read_at}
    return Commit(key.to_user_string(), run.run_id, version, batch, {**read, **(note or {})}, triggered_by(run.tags))


def triggered_by(tags: Mapping[str, str]) -> str:
    """Who or what requested a run, by its tags: a person, a sensor, a schedule, a backfill; else who runs this process.

    Dagster's open-source UI knows no persons, so a run that was launched there is its process's user's.
    """
    if "user" in tags:
        return tags["user"]
    for word, tag in TRIGGERED_BY.items():
        if tag in tags:
            return f"{word} {tags[tag]}"
    return user()


def written_metadata(written: Written, seconds: float, by_batch: bool = False) -> Metadata:
    """Facts of a write; the rows are those of the table, or of one batch of it."""
    return {
        "dagster/partition_row_count" if by_batch else "dagster/row_count": written.rows,
        "seconds": round(seconds, 3),
        "size_bytes": written.bytes,
        "snapshot": str(written.snapshot_id),
        "dagster/table_name": f"lake.{written.table}",
    }


def shown(metadata: Metadata, page: str | None = None) -> Metadata:
    """Metadata in the order in which people need it: links, scores, other facts, then texts and plots, columns last.

    Dagster draws every number over time. What stays one is a row count of Dagster's or a score: any float without a
    unit in its name. Counts and measurements become text.

    Args:
        metadata: Of a materialization.
        page: Address of the page about what was made (pages/addresses.py).
    """
    found = {name: _plotted_or_text(name, value) for name, value in metadata.items()}
    if page is not None:
        found = {"page": dg.MetadataValue.url(addresses.below_dagster(page)), **found}
    return dict(sorted(found.items(), key=lambda item: _rank(item[1])))


def _plotted_or_text(name: str, value: Any) -> Any:
    if name.startswith("dagster/") or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) and name.endswith(UNITS) else value


def _rank(value: Any) -> int:
    if isinstance(value, dg.UrlMetadataValue):
        return 0
    if isinstance(value, float):
        return 1
    if isinstance(value, dg.TableSchema | dg.TableSchemaMetadataValue):
        return 4
    return 3 if isinstance(value, dg.MarkdownMetadataValue | dg.JsonMetadataValue) else 2


def column_schema(types: Mapping[str, str], descriptions: Mapping[str, str] | None = None) -> dg.TableSchema:
    """Columns as Dagster shows them."""
    described = descriptions or {}
    return dg.TableSchema(
        columns=[dg.TableColumn(name, kind, description=described.get(name)) for name, kind in types.items()]
    )


def report_links(paths: Paths, name: str) -> Metadata:
    """Metadata that leads to a report of this name: where it is, and its address, which Dagster's server passes on."""
    return {
        "report": dg.MetadataValue.url(addresses.below_dagster(addresses.report(name))),
        "report_file": dg.MetadataValue.path(paths.artifacts.reports.link(name)),
    }
