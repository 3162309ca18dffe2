"""Checks of the release stage."""

import dagster as dg

from ml_assets.errors import ModelError
from ml_assets.graph import steps
from ml_assets.graph.release import decision, gates
from ml_assets.ml import bundle, manifest
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.store import pins, registry, releases


def release_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    return [_evaluation_check(spec), _gates_check(spec), _release_check(spec), _champion_check(spec)]


def _evaluation_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=steps.asset_key(spec, "evaluation_report"),
        name="test_rows_are_unseen",
        blocking=True,
        description="No test row was in the rows that the version was fitted or tuned on.",
    )
    def test_rows_are_unseen(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        store = lake.open()
        pin = pins.newest(store, spec.name, context.op_execution_context.run.run_id)
        model = registry.of_pin(store, spec.name, pin.pin_id)
        fitted = ", ".join(model.train_batches)
        seen = pins.rows_in_two_parts(store, spec.name, pin)
        if spec.split.by == "batch":
            seen += len({*pin.batches["test"]} & {*model.train_batches})
        return dg.AssetCheckResult(
            passed=seen == 0, metadata={"seen": seen, "test_rows": pin.rows["test"], "fitted_on": fitted}
        )

    return test_rows_are_unseen


def _gates_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=steps.asset_key(spec, "evaluation_report"),
        name="gates_passed",
        description="The version meets every gate of the YAML. It only warns: the champion asset records the refusal.",
    )
    def gates_passed(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        store = lake.open()
        pin = pins.newest(store, spec.name, context.op_execution_context.run.run_id)
        model = registry.of_pin(store, spec.name, pin.pin_id)
        judged = gates.judge(spec, decision.findings(store, spec.name, model.version))
        failed = [gate.gate for gate in judged if not gate.passed]
        return dg.AssetCheckResult(
            passed=not failed,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"version {model.version} fails {', '.join(failed)}" if failed else None,
            metadata={
                "version": model.version,
                "passed": len(judged) - len(failed),
                "failed": ", ".join(failed) or "none",
                "gates": dg.MetadataValue.md(steps.markdown_table([gate.as_row() for gate in judged])),
            },
        )

    return gates_passed


def _release_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=steps.asset_key(spec, "release_candidate"),
        name="release_is_sound",
        blocking=True,
        description="The release's files are those that were packed.",
    )
    def release_is_sound(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        store = lake.open()
        pin = pins.newest(store, spec.name, context.op_execution_context.run.run_id)
        version = registry.of_pin(store, spec.name, pin.pin_id).version
        release = releases.newest(store, spec.name, version)
        if release is None:
            return dg.AssetCheckResult(passed=False, description=f"version {version} was never packed")
        try:
            manifest.verify(lake.paths.releases / release.folder, release.sha256, "release")
        except ModelError as error:
            return dg.AssetCheckResult(passed=False, description=str(error))
        return dg.AssetCheckResult(passed=True, metadata={"version": version, "size_bytes": release.size_bytes})

    return release_is_sound


def _champion_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=steps.asset_key(spec, "champion"),
        name="champion_is_sound",
        blocking=True,
        description="The champion's bundle is complete and unchanged since it was registered.",
    )
    def champion_is_sound(lake: LakeResource) -> dg.AssetCheckResult:
        store = lake.open()
        model = registry.alias(store, spec.name, "champion")
        if model is None:
            return dg.AssetCheckResult(
                passed=True, metadata={"champion": "none"}, description="no version has passed the gates yet"
            )
        try:
            bundle.verify(lake.paths.bundles / model.bundle, model.bundle_sha256)
        except ModelError as error:
            return dg.AssetCheckResult(passed=False, description=str(error))
        return dg.AssetCheckResult(passed=True, metadata={"champion": model.version})

    return champion_is_sound
