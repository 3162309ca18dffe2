"""arrivals, raw_data, validated_data and quarantine as Dagster assets."""

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from ml_assets.errors import MLAssetsError, SourceError
from ml_assets.escaping import without_secrets
from ml_assets.graph import declare
from ml_assets.graph.batches import Result, each_batch
from ml_assets.graph.code_version import code_version
from ml_assets.graph.ingest import arrivals as scanned
from ml_assets.graph.ingest import expectations, files, reading, validation
from ml_assets.lake.lake import Commit, Lake
from ml_assets.pages import addresses
from ml_assets.reporting.markdown import markdown_table
from ml_assets.resources import LakeResource
from ml_assets.sources.formats import SQL_TYPES
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import arrivals as arrived
from ml_assets.tables import data, ingest_errors, online_batches, statistics
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.data import QUARANTINE, RAW_DATA, VALIDATED_DATA

STAGE = "ingest"


def ingest_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline."""
    return [_arrivals(spec), _raw_data(spec), _validated(spec)]


def _arrivals(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, ARRIVALS)
    version = code_version([scanned], spec.source, spec.columns, spec.tolerate)

    @dg.asset(
        key=key,
        description=f"Every file seen in `{without_secrets(spec.source.path)}`, and the batches that can be ingested. "
        "Materializing it registers the batches as partitions.",
        metadata={
            "dagster/column_schema": declare.column_schema(ARRIVALS.types, ARRIVALS.descriptions),
            "pattern": spec.source.pattern,
        },
        **declare.common(spec, STAGE, version, {"duckdb"}),
    )
    def arrivals(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        started = time.monotonic()
        with user_errors(pipeline=spec.name):
            store = lake.open()
            with store.one_snapshot():
                earlier, read_at = arrived.known(store, spec.name), store.snapshot()
            found = scanned.scan_source(spec, files.place_of(spec, lake.paths), earlier)
            ingest_errors.record(
                store, spec.name, scanned.failed(scanned.newly_rejected(found, earlier)), declare.commit(context, key)
            )
            written = arrived.write(store, spec.name, found, earlier, read_at, declare.commit(context, key))
        batches = sorted(arrived.ready_batches(found))
        declare.register_batches(spec, context.instance, batches)
        declare.limit_ingest_pool(spec, context.instance)
        for arrival in (arrival for arrival in found if arrival.status in scanned.REJECTED):
            context.log.warning(f"{arrival.path} is {arrival.status}:\n{arrival.error}")
        return dg.MaterializeResult(
            metadata=declare.shown(
                {
                    **declare.written_metadata(written, time.monotonic() - started),
                    "batches": len(batches),
                    "files_not_ready": sum(arrival.status != "ready" for arrival in found),
                    "files": dg.MetadataValue.md(
                        markdown_table(
                            [
                                {
                                    "batch": a.batch,
                                    "file": a.path.rpartition("/")[2],
                                    "bytes": a.size_bytes,
                                    "status": a.status,
                                }
                                for a in found[-50:]
                            ]
                        )
                    ),
                },
                addresses.batches(spec.name),
            ),
            data_version=dg.DataVersion(written.data_version),
        )

    return arrivals


def _raw_data(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, RAW_DATA)
    # Not the rules: another `min` makes no row of raw_data another one.
    declared = [(column.name, column.type, column.missing) for column in spec.columns]
    handling = (spec.tolerate.missing_columns, spec.tolerate.new_columns)
    version = code_version([reading, files], declared, spec.source.missing, *handling)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, ARRIVALS)],
        description="The rows of a batch's files, typed as declared, with row_id, source file and its SHA-256.",
        metadata={"dagster/column_schema": _declared_schema(spec)},
        freshness_policy=_freshness(spec),
        **declare.common(spec, STAGE, version, {"duckdb", "parquet"}, by_batch=True),
    )
    def raw_data(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store, place = lake.open(), files.place_of(spec, lake.paths)

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            if data.is_online_batch(batch):
                return {key: _from_log(store, spec, batch, declare.commit(context, key, batch))}
            here = declare.commit(context, key, batch)
            with store.one_snapshot():
                listed = arrived.files_of(store, spec.name, spec.source.path, batch)
                superseded = scanned.superseded(store, spec, place, batch)
            delivery = files.deliver(place, listed)
            made = reading.write_batch(store, spec, batch, delivery, superseded, here)
            ingest_errors.record(store, spec.name, made.bad, here)
            for arrival in listed:
                place.discard(arrival.path, arrival.version)
            metadata = {"files": ", ".join(delivery.names[:20]), "files_read": len(listed) - len(made.bad)}
            if made.events:
                metadata["schema_events"] = dg.MetadataValue.md(markdown_table([asdict(e) for e in made.events]))
            return {key: Result(made.written, metadata)}

        yield from each_batch(context, store, [key], work)

    return raw_data


def _from_log(store: Lake, spec: PipelineSpec, batch: str, commit: Commit) -> Result:
    """The rows of logged requests whose outcome is known, and how many of all requests are logged."""
    if not spec.online_key or not online_batches.open_rows(store, spec, batch):
        raise SourceError(
            "No logged request of the batch can be learned from: its outcome is known, and no other batch has its key.",
            fix="See serving.log in defs.yaml; `ml-assets status` says what other batches have.",
        )
    put = RAW_DATA.put(spec.name, online_batches.ROWS, batch, data.descriptions(spec))
    (written,) = store.replace([put], commit)
    return Result(
        written, {"files": "the prediction log", "sampled": spec.serving.log.sample if spec.serving.log else 0}
    )


def _freshness(spec: PipelineSpec) -> dg.FreshnessPolicy | None:
    days = spec.expect.max_silence_days
    return None if days is None else dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=days))


def _validated(spec: PipelineSpec) -> dg.AssetsDefinition:
    kept, held = declare.asset_key(spec, VALIDATED_DATA), declare.asset_key(spec, QUARANTINE)
    version = code_version(
        [validation, expectations],
        *(spec.columns, spec.key, spec.key_batches, spec.rules, spec.tolerate, spec.expect, spec.references),
    )
    shared = declare.common(spec, STAGE, version, set(), by_batch=True)
    arguments = {name: shared.pop(name) for name in ("partitions_def", "backfill_policy")}
    raw = declare.asset_key(spec, RAW_DATA)
    looks_back = {declare.LOOKS_BACK: {kept.to_user_string(): spec.key_batches}} if spec.key_batches else {}

    @dg.multi_asset(
        name=f"{spec.name}__validate",
        specs=[
            dg.AssetSpec(
                kept,
                deps=[raw],
                description=f"Rows that keep every one of {len(validation.rules(spec))} rules.",
                metadata={"dagster/column_schema": _declared_schema(spec), **looks_back},
                **{**shared, "kinds": {"duckdb", "parquet"}},
            ),
            dg.AssetSpec(
                held,
                deps=[raw],
                description="Rows that break a rule, each with the list of `reasons`.",
                metadata=looks_back,
                **{**shared, "kinds": {"duckdb", "parquet"}},
            ),
        ],
        can_subset=True,  # `+flights/features` selects one of the two; both tables are written in any case
        **arguments,
        pool=declare.ingest_pool(spec),
    )
    def validate(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store = lake.open()
        with user_errors(pipeline=spec.name):
            validation.open_references(store, spec, lake.paths)

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            with store.one_snapshot():
                checked, described_columns = validation.check_batch(store, spec, batch), data.descriptions(spec)
                read_at = store.snapshot()
            puts = [
                VALIDATED_DATA.put(spec.name, "_valid_batch", batch, described_columns),
                QUARANTINE.put(spec.name, "_broken_batch", batch, described_columns),
            ]
            try:
                validation.refuse_if_intolerable(spec, checked)
                if not data.is_online_batch(batch):
                    expectations.refuse_if_unmet(spec, expectations.unmet(store, spec, batch))
            except MLAssetsError:
                store.replace(puts[1:], declare.commit(context, held, batch))
                raise
            described = describe_batch(store, spec, batch)
            puts.append(statistics.put(store, spec.name, described, batch))
            valid, bad, _ = store.replace(puts, declare.commit(context, kept, batch, read_at=read_at))
            reasons = markdown_table([{"rule": b.rule, "rows": b.rows, "row ids": b.examples} for b in checked.broken])
            return {
                kept: Result(
                    valid,
                    {
                        "share_quarantined": checked.quarantined / checked.rows,
                        "statistics": dg.MetadataValue.md(markdown_table([_shown(row) for row in described])),
                    },
                ),
                held: Result(bad, {"reasons": dg.MetadataValue.md(reasons)}),
            }

        yield from each_batch(context, store, [kept, held], work)

    return validate


def describe_batch(lake: Lake, spec: PipelineSpec, batch: str) -> list[dict[str, Any]]:
    """Statistics of the declared columns over the valid rows of the batch in work."""
    types = {column.name: SQL_TYPES[column.type] for column in spec.columns}
    return [{"batch": batch, **row} for row in statistics.column_statistics(lake.con, "_valid_batch", types)]


def _shown(row: Mapping[str, Any]) -> dict[str, object]:
    """A row of statistics as the UI shows it."""
    quantiles = dict(zip(statistics.PROBABILITIES, row["quantiles"] or [], strict=False))
    top = (row["top_values"] or [{}])[0].get("value")
    return {
        "column": row["column_name"],
        "nulls": row["null_count"],
        "distinct": row["distinct_count"],
        "min": row["min_value"],
        "5 %": quantiles.get(0.05),
        "median": quantiles.get(0.5),
        "95 %": quantiles.get(0.95),
        "max": row["max_value"],
        "most frequent": top,
    }


def _declared_schema(spec: PipelineSpec) -> dg.TableSchema:
    types = {c.name: SQL_TYPES[c.type] for c in spec.columns}
    described = VALIDATED_DATA.descriptions | data.descriptions(spec)
    return declare.column_schema({**VALIDATED_DATA.types, **types}, described)
