"""What a look of the new-data sensor costs in a folder of many files: `python -m benchmarks.scan [--files 10000]`."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import dagster as dg

from ml_assets.graph.ingest.sensors import new_data_sensor
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec

GOAL_S = 1.0
LOOKS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    files = parser.parse_args().files
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        root = Path(folder)
        for number in range(files):
            (root / f"sales_{number:06}.csv").write_text(f"sale,price\n{number},1.5\n")
        sensor = new_data_sensor(spec(root), Paths(root, root / "data"), "sales_ingest", [])
        cursor, looks = None, []
        while len(looks) < LOOKS:
            started = time.perf_counter()
            result = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
            seconds = time.perf_counter() - started
            if getattr(result, "run_requests", None):
                print(f"a check of new files         {seconds:6.2f} s")
                for request in result.dynamic_partitions_requests or []:
                    instance.add_dynamic_partitions("sales_batches", list(request.partition_keys))
            else:
                looks.append(seconds)
                print(f"a check of {files:,} known files {seconds:6.2f} s")
            cursor = getattr(result, "cursor", None) or cursor
    met = statistics.median(looks) <= GOAL_S
    print(f"goal: at most {GOAL_S:g} s in the median; {'met' if met else 'NOT met'}")
    return 0 if met else 1


def spec(root: Path) -> PipelineSpec:
    """A pipeline of two columns."""
    return PipelineSpec.model_validate(
        {
            "name": "sales",
            "source": {"path": str(root), "pattern": r"sales_(?P<batch>\d+)\.csv", "settle_seconds": 0},
            "columns": [{"name": "sale", "type": "integer"}, {"name": "price", "type": "number"}],
            "target": {"name": "dear", "sql": "price > 1", "kind": "binary"},
            "features": "features.sql",
            "candidates": {"linear": {"estimator": "sklearn.linear_model.LogisticRegression"}},
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
