"""Checks of the release stage."""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg

from ml_assets.errors import ModelError
from ml_assets.graph import declare
from ml_assets.graph.checks import Verdict, blocking_check
from ml_assets.graph.release.evaluation import leakage
from ml_assets.graph.release.promotion import gates
from ml_assets.graph.run_model import model_of_run
from ml_assets.ml import bundle, manifest
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import decisions, evaluations, releases, training_sets, versions
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.evaluations import EVALUATIONS
from ml_assets.tables.releases import RELEASES


def release_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    checks = (_evaluation_check, _leak_check, _release_check, _gate_checks, _champion_check)
    return [check(spec) for check in checks]


def _evaluation_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    description = "No test row was in the rows that the judged model was fitted or tuned on."

    @blocking_check(declare.asset_key(spec, EVALUATIONS), description)
    def test_rows_are_unseen(run_id: str, lake: LakeResource) -> Verdict:
        with lake.open().one_snapshot() as store:
            pin, model = model_of_run(store, spec.name, run_id)
            seen = training_sets.rows_in_two_parts(store, spec.name, pin)
        fitted = ", ".join(model.train_batches)
        if spec.split.by == "batch":
            seen += len({*pin.batches["test"]} & {*model.train_batches})
        return Verdict(seen == 0, {"seen": seen, "test_rows": pin.rows["test"], "fitted_on": fitted})

    return test_rows_are_unseen


def _leak_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=declare.asset_key(spec, EVALUATIONS),
        name="no_leak_is_suspected",
        description="No sign of target leakage. It only warns: the gate `leakage` refuses versions.",
    )
    def no_leak_is_suspected(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        with user_errors(pipeline=spec.name), lake.open().one_snapshot() as store:
            _, model = model_of_run(store, spec.name, context.op_execution_context.run.run_id)
            found = evaluations.findings(store, spec.name, model.version)
        suspects = leakage.suspects(spec, found)
        alone = sorted((f for f in found if f.scope == "single" and f.value == f.value), key=lambda f: -f.value)
        same = next((f.value for f in found if f.scope == "identical"), None)
        return dg.AssetCheckResult(
            passed=not suspects,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(suspects) or None,
            metadata={
                "version": model.version,
                "suspects": len(suspects),
                "strongest_feature": f"{alone[0].slice}: {alone[0].metric} {alone[0].value:.4g}" if alone else "none",
                **({} if same is None else {"test_rows_among_train_rows": same}),
            },
        )

    return no_leak_is_suspected


def _gate_checks(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    """A check for each gate of the YAML, read from the decision: a refusal is an outcome, and no run fails for it."""
    key = declare.asset_key(spec, DECISIONS)
    demanded = {f"gate_{gate.gate.replace('.', '_')}": gate for gate in gates.judge(gates.Evidence(spec))}

    @dg.multi_asset_check(
        name=f"{spec.name}__gates",
        specs=[
            dg.AssetCheckSpec(name, asset=key, description=f"The version decided on: {gate.limit}.")
            for name, gate in demanded.items()
        ],
    )
    def gates_of_the_yaml(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        with user_errors(pipeline=spec.name), lake.open().one_snapshot() as store:
            _, model = model_of_run(store, spec.name, context.op_execution_context.run.run_id)
            made = decisions.newest_of(store, spec.name, model.version)
        judged = {gate.gate: gate for gate in made.gates} if made else {}
        for name, gate in demanded.items():
            undecided = replace(gate, detail=f"not judged yet: materialize {spec.name}/champion")
            yield _gate_result(key, name, judged.get(gate.gate, undecided), model.version)

    return gates_of_the_yaml


def _gate_result(key: dg.AssetKey, name: str, gate: decisions.Gate, version: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=gate.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=gate.detail if gate.passed else gate.shortfall(),
        metadata={"version": version, "limit": gate.limit, "detail": gate.detail}
        | ({} if gate.found is None else {"found": gate.found}),
    )


def _release_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @blocking_check(declare.asset_key(spec, RELEASES), "The release's files are those that were packed.")
    def release_is_sound(run_id: str, lake: LakeResource) -> Verdict:
        with lake.open().one_snapshot() as store:
            _, model = model_of_run(store, spec.name, run_id)
            release = releases.newest(store, spec.name, model.version)
        if release is None:
            return Verdict(False, description=f"version {model.version} was never packed")
        try:
            manifest.verify(lake.paths.artifacts.releases.fetch(release.folder), release.sha256, "release")
        except ModelError as error:
            return Verdict(False, description=str(error))
        return Verdict(True, {"version": model.version, "size_bytes": release.size_bytes})

    return release_is_sound


def _champion_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    description = "The bundles of the champion's models, the judged and the served one, are complete and unchanged."

    @blocking_check(declare.asset_key(spec, DECISIONS), description)
    def champion_is_sound(_run_id: str, lake: LakeResource) -> Verdict:
        with lake.open().one_snapshot() as store:
            model = versions.alias(store, spec.name, "champion")
            served = releases.models(store, spec.name, model) if model else ()
        if model is None:
            return Verdict(True, {"champion": "none"}, "no version has passed the gates yet")
        try:
            for one in served:
                bundle.verify(lake.paths.artifacts.bundles.fetch(one.bundle), one.bundle_sha256)
        except ModelError as error:
            return Verdict(False, description=str(error))
        return Verdict(True, {"champion": model.version})

    return champion_is_sound
