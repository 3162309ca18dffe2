"""The sensor that answers a drifted batch with one training, and the schedule that trains in any case."""

import dagster as dg

from ml_assets.graph import steps
from ml_assets.spec import PipelineSpec

INTERVAL_S = 5


def drift_sensor(spec: PipelineSpec, job: str) -> dg.SensorDefinition:
    """Watch the drift reports in the order of their writing; several drifted batches at once make one training.

    A plain sensor with its own cursor: an asset sensor sees only the latest event, and would miss a drifted batch
    that is followed by a calm one before the next tick.
    """
    watched = steps.asset_key(spec, "drift_report")

    @dg.sensor(
        name=f"{spec.name}_drift",
        job_name=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"A drifted batch starts one run of {job}.",
    )
    def drift(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        after = int(context.cursor) if context.cursor else None
        records = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=watched, after_storage_id=after), limit=1000, ascending=True
        ).records
        if not records:
            return dg.SkipReason("no drift report since the last look")
        newest = str(records[-1].storage_id)
        events = [record.asset_materialization for record in records if record.asset_materialization]
        drifted = sorted(
            {e.partition for e in events if e.partition and "drifted" in e.metadata and e.metadata["drifted"].value}
        )
        batches = len(context.instance.get_dynamic_partitions(f"{spec.name}_batches"))
        reason = _reason_to_wait(spec, drifted, batches, len(events))
        if reason:
            context.log.info(reason)
            return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=newest)
        request = dg.RunRequest(
            run_key=f"drift-{newest}",
            tags={"ml_assets/retrain": "drift", "ml_assets/batches": ", ".join(drifted)},
        )
        return dg.SensorResult(run_requests=[request], cursor=newest)

    return drift


def _reason_to_wait(spec: PipelineSpec, drifted: list[str], batches: int, reports: int) -> str | None:
    if not drifted:
        return f"{reports} drift reports, none of them drifted"
    if "drift" not in spec.retrain.on:
        return f"{', '.join(drifted)} drifted; retrain.on does not name drift"
    if batches < spec.retrain.min_batches:
        return f"{', '.join(drifted)} drifted; {batches} batches are fewer than retrain.min_batches"
    return None


def retrain_schedule(spec: PipelineSpec, job: str) -> list[dg.ScheduleDefinition]:
    """The schedule of `retrain.cron`, if there is one."""
    if spec.retrain.cron is None:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"{spec.name}_retrain",
            job_name=job,
            cron_schedule=spec.retrain.cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            tags={"ml_assets/retrain": "cron"},
        )
    ]
