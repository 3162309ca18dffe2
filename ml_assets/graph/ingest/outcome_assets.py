"""outcomes as a Dagster asset, where the YAML names them."""

import time
from typing import Any

import dagster as dg

from ml_assets.escaping import without_secrets
from ml_assets.graph import declare
from ml_assets.graph.code_version import code_version
from ml_assets.graph.ingest import outcomes
from ml_assets.pages import addresses
from ml_assets.reporting.markdown import markdown_table
from ml_assets.resources import LakeResource
from ml_assets.sources.formats import SQL_TYPES
from ml_assets.spec import Outcomes, PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import data
from ml_assets.tables import outcomes as late

STAGE = "ingest"


def outcome_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The asset of late outcomes; none where the YAML names no `outcomes`."""
    return [] if spec.outcomes is None else [_outcomes(spec, spec.outcomes)]


def outcomes_version(spec: PipelineSpec) -> str:
    """Code version of the asset."""
    return code_version([outcomes], spec.outcomes, spec.key, spec.columns, spec.source.missing)


def _outcomes(spec: PipelineSpec, source: Outcomes) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, late.OUTCOMES)
    types = {c.name: SQL_TYPES[c.type] for c in spec.columns if c.outcome or c.name in spec.key}
    columns, described = late.OUTCOMES.types | types, late.OUTCOMES.descriptions | data.descriptions(spec)

    @dg.asset(
        key=key,
        description=f"Outcomes from `{without_secrets(source.path)}` that came later than their rows, by "
        f"{', '.join(spec.key)}. Of several for a key, the newest value counts.",
        metadata={"dagster/column_schema": declare.column_schema(columns, described), "pattern": source.pattern},
        **declare.common(spec, STAGE, outcomes_version(spec), {"duckdb"}),
    )
    def outcomes_asset(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        started, store = time.monotonic(), lake.open()
        with user_errors(pipeline=spec.name):
            taken = outcomes.take(store, spec, source, lake.paths, declare.commit(context, key))
            waiting = late.unmatched(store, spec.name, late.late(store, spec))
        for arrival in taken.rejected:
            context.log.warning(f"{arrival.path} is {arrival.status}:\n{arrival.error}")
        shown = [
            {"file": one.path.rpartition("/")[2], "batch": one.batch, "bytes": one.size_bytes, "status": one.status}
            for one in taken.files[-50:]
        ]
        return dg.MaterializeResult(
            metadata=declare.shown(
                {
                    **declare.written_metadata(taken.written, time.monotonic() - started),
                    "files_taken": len(taken.new),
                    "files_refused": sum(one.status == "refused" for one in taken.files),
                    "keys_without_row": waiting,
                    "files": dg.MetadataValue.md(markdown_table(shown)),
                },
                addresses.batches(spec.name),
            ),
            data_version=dg.DataVersion(taken.written.data_version),
        )

    return outcomes_asset
