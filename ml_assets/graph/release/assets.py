"""evaluation_report, release_candidate and champion as Dagster assets."""

from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.code_version import code_version, training_version
from ml_assets.graph.release.evaluation import evaluate
from ml_assets.graph.release.evaluation.evaluate import Finding
from ml_assets.graph.release.evaluation.publish import plotted, publish
from ml_assets.graph.release.packaging import packing, proving, refitting
from ml_assets.graph.release.promotion import decision
from ml_assets.graph.step_errors import user_errors
from ml_assets.lake.lake import Rows
from ml_assets.reporting.evaluation_plots import evaluation_picture, shown
from ml_assets.reporting.markdown import markdown_table
from ml_assets.reporting.searches import search_figures
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.tables import training_sets, versions
from ml_assets.tables.releases import RELEASES

STAGE = "release"
SCORER = "ml_assets.server.scorer"  # what a release answers is computed by it


def release_assets(
    spec: PipelineSpec, function: packing.FeaturesFunction | None, own_features: evaluate.EarlierFeatures
) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline.

    Args:
        spec: The pipeline.
        function: The features function, where features is not a SQL file.
        own_features: Makes a champion's features again, where they are not today's.
    """
    return [_evaluation_report(spec, own_features), _release_candidate(spec, function), _champion(spec)]


def _evaluation_report(spec: PipelineSpec, own_features: evaluate.EarlierFeatures) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, "evaluation_report")
    version = code_version([evaluate], spec.gates, spec.target, spec.tuning.metric, spec.costs, spec.key)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, "trained_model"), declare.asset_key(spec, "training_set")],
        description="The new version on test rows that no search has seen: metrics, money, slices, groups, robustness, "
        "signs of a leak, against baseline and champion; as rows, a page and a model card.",
        metadata={"dagster/column_schema": declare.column_schema(evaluate.COLUMNS)},
        **declare.common(spec, STAGE, version, {"evidently", "scikitlearn"}),
    )
    def evaluation_report(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store, paths = lake.open(), lake.paths
        with user_errors(pipeline=spec.name):
            pin = training_sets.newest(store, spec.name, context.run.run_id)
            model = versions.of_pin(store, spec.name, pin.pin_id)
            champion = versions.alias(store, spec.name, "champion")
            evaluated = evaluate.evaluate(store, paths, spec, pin, model, champion, own_features)
            pages = publish(paths, spec, model, pin, evaluated, search_figures(store, spec, pin))
            found = evaluate.as_rows(evaluated.found, model.version, pin.pin_id)
            rows = Rows(declare.table_of(key), evaluate.COLUMNS, found, key=("version",))
            store.append([rows], declare.commit(context, key))
        return dg.MaterializeResult(
            metadata={
                "version": model.version,
                "test_rows": len(evaluated.judged.labels),
                "metrics": dg.MetadataValue.md(_metrics_table(evaluated.found)),
                "slices": dg.MetadataValue.md(_slices_table(evaluated.found)),
                "picture": dg.MetadataValue.md(evaluation_picture(evaluated)),
                **declare.page_links(paths, pages.evaluation),
                "evidently_page": declare.page_links(paths, pages.evidently)["page"],
                "model_card": declare.page_links(paths, pages.card)["page"],
                **plotted(evaluated.found),
            },
        )

    return evaluation_report


def _metrics_table(found: list[Finding]) -> str:
    scopes = ("test", "train", "baseline", "champion", "gain_over_champion")
    return markdown_table(
        [
            {"scope": f.scope, "metric": f.metric, "value": f.value, "low": f.low, "high": f.high}
            for f in found
            if f.scope in scopes
        ]
    )


def _slices_table(found: list[Finding]) -> str:
    """The worst and the largest slices."""
    slices = [f for f in found if f.scope == "slice"]
    chosen, left_out = shown(slices, slices[0].metric) if slices else ([], 0)
    table = markdown_table([{"slice": f"{f.slice_by}={f.slice}", f.metric: f.value, "rows": f.rows} for f in chosen])
    return table + (f"\n\nand {left_out} more" if left_out else "")


def _release_candidate(spec: PipelineSpec, function: packing.FeaturesFunction | None) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, "release_candidate")
    logic = (packing, proving, refitting, SCORER)
    version = code_version(logic, spec.gates.serving, spec.training, spec.columns)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, "evaluation_report"), declare.asset_key(spec, "trained_model")],
        description="The version, fitted again on all labelled rows where its gates passed, packed with all that a "
        "server needs, started as a real process and asked.",
        metadata={"dagster/column_schema": declare.column_schema(RELEASES)},
        **declare.common(spec, STAGE, version, {"onnx", "python"}),
    )
    def release_candidate(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store, paths = lake.open(), lake.paths
        with user_errors(pipeline=spec.name), refitting.alone(paths, spec.name):
            pin = training_sets.newest(store, spec.name, context.run.run_id)
            model = versions.of_pin(store, spec.name, pin.pin_id)
            found = decision.findings(store, spec.name, model.version)
            choice = refitting.choose(store, paths, spec, pin, model, training_version(spec))
            packed = packing.pack(store, paths, spec, pin, model, found, function, choice.served)
            proof = None
            if spec.gates.serving is not None:
                proof = proving.prove(packed.folder, packed.golden, spec.target.kind != "regression")
            row = packing.as_row(packed, model.version, context.run.run_id)
            row |= {**choice.as_row(pin), **proving.as_row(proof)}
            store.append([Rows(declare.table_of(key), RELEASES, [row])], declare.commit(context, key))
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float | str)}
        return dg.MaterializeResult(
            metadata={
                **numbers,
                "folder": dg.MetadataValue.path(str(packed.folder)),
                "log": dg.MetadataValue.md(f"```\n{proof.log}\n```" if proof else "not started: gates.serving is null"),
            }
        )

    return release_candidate


def _champion(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, "champion")
    version = code_version([decision], spec.gates)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, "evaluation_report"), declare.asset_key(spec, "release_candidate")],
        description="The decision: which gates passed, why, by whom. It alone moves the champion alias.",
        metadata={"dagster/column_schema": declare.column_schema(decision.COLUMNS)},
        **declare.common(spec, STAGE, version, {"duckdb"}),
    )
    def champion(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store = lake.open()
        with user_errors(pipeline=spec.name):
            pin = training_sets.newest(store, spec.name, context.run.run_id)
            model = versions.of_pin(store, spec.name, pin.pin_id)
            made = decision.decide(store, spec, model, declare.commit(context, key))
            current = versions.alias(store, spec.name, "champion")
            score = decision.test_score(store, spec, model.version)
        context.log.info(f"version {made.version} {made.decision}, {score}: {made.why}")
        return dg.MaterializeResult(
            metadata={
                "decision": made.decision,
                "version": made.version,
                "why": made.why,
                "champion": current.version if current else "none",
                "previous_champion": made.previous_champion or "none",
                "gates_passed": sum(gate.passed for gate in made.gates),
                "gates_failed": sum(not gate.passed for gate in made.gates),
                "gates": dg.MetadataValue.md(markdown_table([gate.as_row() for gate in made.gates])),
            },
            data_version=dg.DataVersion(current.version if current else "none"),
        )

    return champion
