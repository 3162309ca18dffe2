"""The sensor that makes batches of logged requests whose outcomes came back."""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from ml_assets.graph import sensing
from ml_assets.graph.sensing import Found, Tick
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec
from ml_assets.tables import online_batches

INTERVAL_S = 3600
SETTLED = dt.timedelta(minutes=10)  # after midnight, the log's last hour has been read


def online_batch_sensor(
    spec: PipelineSpec, paths: Paths, job: str, assets: Sequence[dg.AssetKey]
) -> list[dg.SensorDefinition]:
    """Make at most one batch a day, once there are enough rows; none where logged requests are no training data.

    It remembers the last day of the batch that it requested. If that run is lost, the next day's batch has its rows.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The ingest job.
        assets: What of the job is made; what was asked is predicted and measured already.
    """
    if not spec.online_key:
        return []
    needed = max(1, spec.retrain.min_rows)

    def check(tick: Tick) -> Found:
        today = (dt.datetime.now(dt.UTC) - SETTLED).date()
        yesterday, last = (today - dt.timedelta(days=1)).isoformat(), tick.remembered() or ""
        if last >= yesterday:
            return Found(reason=f"the last batch reaches to {last}; there is one a day at most")
        tick.snapshot()
        with tick.lake() as lake:
            found = online_batches.pending(lake, spec, today)
        if found is None or found.rows < needed:
            rows = found.rows if found else 0
            return Found(reason=f"{rows} of {needed} logged rows with an outcome (retrain.min_rows)")
        batches, new = tick.neighbours([found.batch])
        runs = [sensing.run(sensing.short_hash(some), {}, batches=some, assets=assets) for some in batches]
        return Found(runs, memory=yesterday, new_batches=new)

    description = f"Starts a run of {job} when enough logged requests have an outcome: they become training data."
    return [sensing.sensor(spec, paths, "online_batches", check, description, INTERVAL_S, job_name=job)]
