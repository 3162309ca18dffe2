"""A backfill by several worker processes at once, on PostgreSQL and S3: is every row there once, and how fast is it?

    python -m benchmarks.backfill [--batches 1000] [--rows 1000] [--chunk 25] [--workers 1 2 4]

Each number of workers ingests the same files into a lake of its own. A worker takes every so-manieth chunk of batches,
each as one run of Dagster over a range of partitions, from the file to the features. Dagster's records are on the same
PostgreSQL server. Exits with 1 where rows are lost or doubled.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from ml_assets.home import DRIVER, ENV_DATABASE, OURS, STORAGE
from ml_assets.lake.lake import Lake
from ml_assets.launcher import open_instance
from ml_assets.resources import ENV_STATIC
from ml_assets_tests import postgres, s3
from ml_assets_tests.conftest import SPEC, Project, failure_text, loans

TABLES = ("raw_data", "features")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Result:
    """What came of a number of workers.

    Args:
        workers: Processes at once.
        seconds: From the word to begin to the end of the last one; their start does not count.
        cpu_s: CPU time of all of them meanwhile, without that of the servers.
        batches: That were ingested.
        rows: That the files have.
        lost: Of the rows of the files, those that a table lacks.
        doubled: Rows that a table has more than once.
    """

    workers: int
    seconds: float
    cpu_s: float
    batches: int
    rows: int
    lost: int
    doubled: int

    @property
    def is_whole(self) -> bool:
        return self.lost == self.doubled == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backfill")
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=25)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # Dagster marks backfill policies and checks per partition as young
    print(f"{options.batches} batches of {options.rows:,} rows, {options.chunk} in a run; {os.cpu_count()} cores")
    print("Parquet files on S3, the catalog and Dagster's records on PostgreSQL")
    print(f"{'workers':>8}{'seconds':>10}{'batches/s':>12}{'rows/s':>12}{'CPU s/batch':>13}", end="")
    print(f"{'lost':>8}{'doubled':>9}{'load':>7}", flush=True)
    found = []
    with servers() as (database, environment):
        for number in options.workers:
            one = measured(number, options.batches, options.rows, options.chunk, database, environment)
            found.append(one)
            rates = f"{one.batches / one.seconds:12.2f}{one.rows / one.seconds:12,.0f}{one.cpu_s / one.batches:13.2f}"
            print(f"{one.workers:8}{one.seconds:10.1f}{rates}{one.lost:8}{one.doubled:9}", end="")
            print(f"{os.getloadavg()[0]:7.1f}", flush=True)
    return 0 if all(one.is_whole for one in found) else 1


@contextlib.contextmanager
def servers() -> Iterator[tuple[postgres.Server, dict[str, str]]]:
    """A PostgreSQL server, and the environment that reaches an S3 server beside it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres.server() as database,
        s3.running(Path(folder) / "s3", "ml-assets") as objects,
    ):
        yield database, objects.environment()


def measured(
    workers: int, batches: int, rows: int, chunk: int, server: postgres.Server, environment: Mapping[str, str]
) -> Result:
    """Ingest all batches by so many processes into a new lake, whose catalog is an empty database of the server."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, catalog, records = Path(name).resolve(), server.database(), server.database()
        place = {
            "ML_ASSETS_CATALOG": catalog,
            "ML_ASSETS_LAKE_DATA": f"s3://ml-assets/{catalog.rpartition('/')[2]}",
            ENV_DATABASE: records.replace("postgresql://", DRIVER),
            ENV_STATIC: "0",
        }
        for key, value in {**environment, **place}.items():
            stack.callback(_restore, key, os.environ.get(key))
            os.environ[key] = value
        project = project_in(folder, stack.enter_context(instance_in(folder)))
        for batch in range(1, batches + 1):
            project.write(batch, loans(batch, rows))
        if not project.arrive().success:
            raise RuntimeError("The files have not been registered.")
        names = project.instance.get_dynamic_partitions("loans_batches")  # a range is one of their order
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.backfill", "--work", str(folder)]
        pipe = subprocess.PIPE
        started = []
        for number in range(workers):
            chunks = [names[first : first + chunk] for first in range(0, batches, chunk)][number::workers]
            process = subprocess.Popen([*command, json.dumps(chunks)], stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
            started.append(stack.enter_context(process))
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        begun = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
        ends = [process.wait() for process in started]
        if any(ends):
            raise RuntimeError("A worker has failed.")
        seconds = time.perf_counter() - begun
        cpu_s = sum(float(process.stdout.read()) for process in started if process.stdout is not None)
        return Result(workers, seconds, cpu_s, batches, rows * batches, *faults(project, rows * batches))


def instance_in(folder: Path) -> dg.DagsterInstance:
    """Dagster's instance of the project, as `ml-assets home` would make it."""
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(OURS.read_text() + STORAGE)
    return open_instance(home)


def declared() -> tuple[dict[str, Any], dict[str, str]]:
    """The pipeline of the backfill and its SQL files: rows, rules and features, no lookup."""
    spec = copy.deepcopy(SPEC)
    del spec["lookups"]
    return spec, {"features.sql": "SELECT row_id, income, region, hour(signed) AS signed_hour FROM batch"}


def project_in(folder: Path, instance: dg.DagsterInstance) -> Project:
    """The project of the backfill."""
    return Project(folder, instance, *declared())


def work(folder: Path, chunks: Sequence[Sequence[str]]) -> None:
    """One worker: says that it is ready, waits for the end of its input, and ingests its chunks."""
    warnings.simplefilter("ignore")
    with instance_in(folder) as instance:
        _ingest(project_in(folder, instance), chunks)


def _ingest(project: Project, chunks: Sequence[Sequence[str]]) -> None:
    job = project.defs().resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey(["loans", name]) for name in ("raw_data", "validated_data", "quarantine", "features")]
    print("ready", flush=True)
    sys.stdin.read()
    begun = time.process_time()
    for chunk in chunks:
        ends = {"start": chunk[0], "end": chunk[-1]}
        tags = {f"dagster/asset_partition_range_{end}": batch for end, batch in ends.items()}
        result = job.execute_in_process(
            instance=project.instance, asset_selection=keys, tags=tags, run_config=QUIET, raise_on_error=False
        )
        if not result.success:
            raise RuntimeError(failure_text(result))
    print(time.process_time() - begun, flush=True)


def faults(project: Project, expected: int) -> tuple[int, int]:
    """Rows lost and rows doubled, over all tables; a row is a batch and a row id."""
    lost = doubled = 0
    with Lake.of(project.paths, read_only=True) as lake:
        for table in TABLES:
            sql = f"SELECT count(*) AS n, count(DISTINCT (batch, row_id)) AS different FROM lake.loans.{table}"
            (row,) = lake.rows(sql)
            held = 0
            if table == "features":
                (kept,) = lake.rows("SELECT count(*) AS n FROM lake.loans.quarantine")
                held = int(kept["n"])
            lost += expected - held - int(row["different"])
            doubled += int(row["n"]) - int(row["different"])
    return lost, doubled


def _restore(name: str, value: str | None) -> None:
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        sys.exit(main())
