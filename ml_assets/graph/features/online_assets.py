"""online_lookups as a Dagster asset, where the pipeline has lookups or references."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.code_version import code_version, parsed
from ml_assets.graph.features import online as logic
from ml_assets.graph.features.assets import STAGE
from ml_assets.reporting.markdown import markdown_table
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import online
from ml_assets.tables.data import VALIDATED_DATA, validated_batches
from ml_assets.tables.online import ONLINE_LOOKUPS
from ml_assets.tables.outcomes import OUTCOMES


def online_assets(spec: PipelineSpec, texts: Mapping[str, str]) -> list[dg.AssetsDefinition]:
    """The lookups and references for the server; none where the YAML names neither.

    Args:
        spec: The pipeline.
        texts: File name -> text of its SQL files.
    """
    return [_online_lookups(spec, texts)] if spec.lookups or spec.references else []


def _online_lookups(spec: PipelineSpec, texts: Mapping[str, str]) -> dg.AssetsDefinition:
    key, validated = declare.asset_key(spec, ONLINE_LOOKUPS), declare.asset_key(spec, VALIDATED_DATA)
    declared = [(column.name, column.type) for column in spec.columns]
    selects = {name: parsed(texts[lookup.sql]) for name, lookup in spec.lookups.items()}
    version = code_version([logic], spec.lookups, spec.references, declared, spec.target, selects)
    late = [declare.asset_key(spec, OUTCOMES)] if spec.outcomes and spec.lookups else []
    looks_back = max((lookup.batches for lookup in spec.lookups.values()), default=0)

    @dg.asset(
        key=key,
        deps=[validated, *late],
        description="Each lookup as the next batch will see it and each reference as it is now: what the server "
        "computes features with, so that a row gets online what it will get in its batch.",
        metadata={
            "dagster/column_schema": declare.column_schema(ONLINE_LOOKUPS.types, ONLINE_LOOKUPS.descriptions),
            declare.LOOKS_BACK: {validated.to_user_string(): looks_back},
        },
        output_required=False,  # outcomes may come before the first batch
        **declare.common(spec, STAGE, version, {"duckdb", "sql"}),
    )
    def online_lookups(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        started, store = time.monotonic(), lake.open()
        batches = validated_batches(store, spec.name)
        if not batches:
            context.log.warning("No batch has validated rows yet, so there is nothing for the server.")
            return
        newest = batches[-1]
        with user_errors(pipeline=spec.name):
            with store.one_snapshot():
                made = list(logic.make_online(store, lake.paths, spec, texts))
                read_at = store.snapshot()
            commit = declare.commit(context, key, note={"newest_batch": newest}, read_at=read_at)
            listed, *changed = online.write(store, spec.name, made, newest, commit)
        shown = [{"table": one.table, "rows": one.rows, "bytes": one.bytes} for one in changed]
        yield dg.MaterializeResult(
            metadata=declare.shown(
                {
                    **declare.written_metadata(listed, time.monotonic() - started),
                    "newest_batch": newest,
                    "tables_changed": len(changed),
                    "changed": dg.MetadataValue.md(markdown_table(shown) if shown else "nothing"),
                }
            ),
            data_version=dg.DataVersion(listed.data_version),
        )

    return online_lookups
