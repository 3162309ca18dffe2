"""evaluation_report, release_candidate and champion as Dagster assets."""

from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.code_version import code_version, training_version
from ml_assets.graph.release.evaluation import evaluate
from ml_assets.graph.release.packaging import features_engine, pack, prove, refit
from ml_assets.graph.release.promotion import decide
from ml_assets.graph.run_model import model_of_run
from ml_assets.pages import addresses
from ml_assets.reporting.evaluation_files import plotted, refresh
from ml_assets.reporting.evaluation_plots import evaluation_plot, shown
from ml_assets.reporting.evaluation_publish import publish
from ml_assets.reporting.markdown import markdown_table
from ml_assets.reporting.searches import search_figures
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import evaluations, releases, versions
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.evaluations import EVALUATIONS, EvaluatedNumber
from ml_assets.tables.releases import RELEASES
from ml_assets.tables.training_sets import TRAINING_SETS
from ml_assets.tables.versions import VERSIONS

STAGE = "release"
SCORER = "ml_assets.server.scorer"  # what a release answers is computed by it
PARITY = "ml_assets.server.parity"  # and its features by the engine that this chooses


def release_assets(
    spec: PipelineSpec,
    function: pack.FeaturesFunction | None,
    own_features: evaluate.EarlierFeatures,
    parity: features_engine.Parity,
) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline.

    Args:
        spec: The pipeline.
        function: The features function, where features is not a SQL file.
        own_features: Recomputes a champion's features, where they are not today's.
        parity: Compares the engines that can compute the features of requests.
    """
    return [_evaluation_report(spec, own_features), _release_candidate(spec, function, parity), _champion(spec)]


def _evaluation_report(spec: PipelineSpec, own_features: evaluate.EarlierFeatures) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, EVALUATIONS)
    version = code_version([evaluate], spec.gates, spec.target, spec.tuning.metric, spec.costs, spec.key)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, VERSIONS), declare.asset_key(spec, TRAINING_SETS)],
        description="The new version on unseen test rows: metrics, costs, slices, fairness, robustness and leakage, "
        "compared with baseline and champion; as rows, an HTML report and a model card.",
        metadata={"dagster/column_schema": declare.column_schema(EVALUATIONS.types, EVALUATIONS.descriptions)},
        **declare.one_at_a_time(spec, STAGE, version, {"evidently", "scikitlearn"}),
    )
    def evaluation_report(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store, paths = lake.open(), lake.paths
        with user_errors(pipeline=spec.name):
            with store.one_snapshot():
                pin, model = model_of_run(store, spec.name, context.run.run_id)
                champion = versions.alias(store, spec.name, "champion")
            evaluated = evaluate.evaluate(store, paths, spec, pin, model, champion, own_features)
            reports = publish(paths, spec, model.version, evaluated, search_figures(store, spec, pin))
            here = declare.commit(context, key)
            evaluations.record(store, spec.name, evaluated.found, model.version, pin.pin_id, here)
            refresh(store, paths, spec.name, [model.version])
        return dg.MaterializeResult(
            metadata=declare.shown(
                {
                    "version": model.version,
                    "test_rows": len(evaluated.judged.labels),
                    "metrics": dg.MetadataValue.md(_metrics_table(evaluated.found)),
                    "slices": dg.MetadataValue.md(_slices_table(evaluated.found)),
                    "plot": dg.MetadataValue.md(evaluation_plot(evaluated)),
                    **declare.report_links(paths, reports.evaluation),
                    "evidently_report": declare.report_links(paths, reports.evidently)["report"],
                    "model_card": declare.report_links(paths, reports.card_page)["report"],
                    **plotted(evaluated.found),
                },
                addresses.version(spec.name, model.version),
            ),
        )

    return evaluation_report


def _metrics_table(found: list[EvaluatedNumber]) -> str:
    scopes = ("test", "train", "baseline", "champion", "gain_over_champion")
    return markdown_table(
        [
            {"scope": f.scope, "metric": f.metric, "value": f.value, "low": f.low, "high": f.high}
            for f in found
            if f.scope in scopes
        ]
    )


def _slices_table(found: list[EvaluatedNumber]) -> str:
    """The worst and the largest slices."""
    slices = [f for f in found if f.scope == "slice"]
    chosen, left_out = shown(slices, slices[0].metric) if slices else ([], 0)
    table = markdown_table([{"slice": f"{f.slice_by}={f.slice}", f.metric: f.value, "rows": f.rows} for f in chosen])
    return table + (f"\n\nand {left_out} more" if left_out else "")


def _release_candidate(
    spec: PipelineSpec, function: pack.FeaturesFunction | None, parity: features_engine.Parity
) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, RELEASES)
    logic = (pack, prove, refit, SCORER, PARITY)
    version = code_version(logic, spec.gates.serving, spec.training, spec.columns)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, EVALUATIONS), declare.asset_key(spec, VERSIONS)],
        description="The version packaged for serving, refit on all labelled rows where its gates passed, started as a "
        "real server and tested.",
        metadata={"dagster/column_schema": declare.column_schema(RELEASES.types, RELEASES.descriptions)},
        **declare.one_at_a_time(spec, STAGE, version, {"onnx", "python"}),
    )
    def release_candidate(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store, paths = lake.open(), lake.paths
        with user_errors(pipeline=spec.name), refit.alone(paths, spec.name):
            with store.one_snapshot():
                pin, model = model_of_run(store, spec.name, context.run.run_id)
                found = evaluations.findings(store, spec.name, model.version)
            choice = refit.choose(store, paths, spec, pin, model, training_version(spec))
            packed = pack.pack(store, paths, spec, pin, model, found, function, choice.served, parity)
            proof = None
            if spec.gates.serving is not None:
                proof = prove.prove(packed.folder, packed.golden, spec.target.kind != "regression")
            row = pack.as_row(packed, model.version, context.run.run_id)
            row |= {**choice.as_row(pin), **prove.as_row(proof)}
            releases.record(store, spec.name, row, declare.commit(context, key))
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float | str)}
        return dg.MaterializeResult(
            metadata=declare.shown(
                {
                    **numbers,
                    "folder": dg.MetadataValue.path(str(packed.folder)),
                    "log": dg.MetadataValue.md(
                        f"```\n{proof.log}\n```" if proof else "not started: gates.serving is null"
                    ),
                },
                addresses.version(spec.name, model.version),
            )
        )

    return release_candidate


def _champion(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, DECISIONS)
    version = code_version([decide], spec.gates)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, EVALUATIONS), declare.asset_key(spec, RELEASES)],
        description="The decision: which gates passed, why, by whom. It alone moves the champion alias.",
        metadata={"dagster/column_schema": declare.column_schema(DECISIONS.types, DECISIONS.descriptions)},
        **declare.one_at_a_time(spec, STAGE, version, {"duckdb"}),
    )
    def champion(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store = lake.open()
        with user_errors(pipeline=spec.name):
            with store.one_snapshot():  # until the decision is written
                _, model = model_of_run(store, spec.name, context.run.run_id)
                made = decide.decide(store, spec, model, declare.commit(context, key))
            refresh(store, lake.paths, spec.name, [made.version, made.previous_champion])
            with store.one_snapshot():
                current = versions.alias(store, spec.name, "champion")
                score = evaluations.test_score(store, spec, model.version)
        context.log.info(f"version {made.version} {made.decision}, {score}: {made.why}")
        return dg.MaterializeResult(
            metadata=declare.shown(
                {
                    "decision": made.decision,
                    "version": made.version,
                    "why": made.why,
                    "champion": current.version if current else "none",
                    "previous_champion": made.previous_champion or "none",
                    "gates_passed": sum(gate.passed for gate in made.gates),
                    "gates_failed": sum(not gate.passed for gate in made.gates),
                    "gates": dg.MetadataValue.md(markdown_table([gate.as_row() for gate in made.gates])),
                },
                addresses.version(spec.name, made.version),
            ),
            data_version=dg.DataVersion(current.version if current else "none"),
        )

    return champion
