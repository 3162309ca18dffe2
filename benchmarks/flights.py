"""The flights job against a plain script of the same work: wall time, CPU time and peak memory, in turn.

    python -m benchmarks.flights [--rounds 3] [--keep FOLDER]

Each round makes a new project folder with an empty lake, runs the two commands that a user types, and then the script.
Making the folders, and checking that both did the same work, is outside the measured time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import cost
from benchmarks.cost import MOST_DISTURBED, Cost, in_other_process, measured
from benchmarks.skeleton import MATERIALIZE, MODULE, PACKAGE, keys, make

HERE = Path(__file__).parent
# All but the assets of logged requests, whose partitions are hours.
BESIDE = ["quarantine", "online_lookups", "predictions", "drift_report", "performance_report"]
SELECTED = f'+key:"flights/champion" or {keys("flights", BESIDE)}'
LIBRARIES = ("dagster", "duckdb", "scikit-learn", "evidently", "pandas")
GOAL = 1.5  # of the script's wall time
MOST_DIFFERENCE = 0.02  # of test ROC AUC


@dataclass(frozen=True)
class Round:
    """One round: the job's two commands, the script, and the facts that each left behind."""

    register: Cost
    run: Cost
    plain: Cost
    job_facts: dict[str, Any]
    plain_facts: dict[str, Any]

    @property
    def job(self) -> Cost:
        return self.register + self.run

    @property
    def is_calm(self) -> bool:
        """Did other processes leave the machine to both?"""
        return not any(cost.others_s > MOST_DISTURBED * cost.wall_s for cost in (self.job, self.plain))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flights", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that both are run (default: 3)")
    parser.add_argument("--months", type=int, default=12, help="months of the year, at least 8 (default: 12)")
    parser.add_argument("--keep", type=Path, help="work in this new folder and keep it, instead of a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flights-") as temporary:
        folder = options.keep or Path(temporary)
        data = in_other_process(prepare, folder.resolve() / "source", options.months)
        print_setting(data)
        rounds = []
        for number in range(1, options.rounds + 1):
            rounds.append(run_round(data, folder.resolve() / f"round_{number}"))
            print_round(number, rounds[-1])
    print_costs(rounds)
    return 0 if all(map(agree, rounds)) else 1


def prepare(folder: Path, months: int = 12) -> Path:
    """Write the files and the weather once. Returns the data folder that holds incoming/ and reference/."""
    from ml_assets.demo import BATCHES, write_months, write_reference
    from ml_assets.lake.paths import Paths

    paths = Paths(root=folder, data=folder / "data")
    write_reference(paths)
    write_months(paths, BATCHES[:months])
    return paths.data


def run_round(data: Path, folder: Path) -> Round:
    """Run the job in a new project, then the script, on copies of the same files."""
    project, out = folder / "project", folder / "plain"
    make_project(data, project)
    out.mkdir()
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(project / "data" / "dagster"),
        "ML_ASSETS_DATA": str(project / "data"),
        "OMP_WAIT_POLICY": "PASSIVE",  # the job sets it by itself; without it the script would pay for spinning threads
    }
    months = sorted(file.stem.removeprefix("flights_") for file in (data / "incoming" / "flights").iterdir())
    register = [*MATERIALIZE, 'key:"flights/arrivals"']
    run = [*MATERIALIZE, SELECTED, "--partition-range", f"{months[0]}...{months[-1]}"]
    script = [HERE / "plain_flights.py", data / "incoming" / "flights", data / "reference" / "weather.parquet"]
    plain = [sys.executable, *map(str, [*script, project / MODULE / "defs" / "flights", out])]
    return Round(
        register=measured(register, project, environment),
        run=measured(run, project, environment),
        plain=measured(plain, folder, environment),
        job_facts=in_other_process(job_facts, project / "data"),
        plain_facts=json.loads((out / "result.json").read_text()),
    )


def without_refusals(file: Path) -> None:
    """Judge every gate, and refuse nothing: the script has no gates, and both shall score the same rows.

    Trained on all months at once, December is the test, and the demo's limit of calibration refuses the version.
    """
    document = yaml.safe_load(file.read_text())
    gates = document["attributes"]["gates"]
    gates["calibration"] = {"max_error": 1}
    gates["overfit"], gates["sensitivity"]["max_flips"], gates["fairness"]["max_gap"] = {"max_gap": 1}, 1, 1
    gates["metrics"], gates["slices"]["min"], gates["costs"] = {}, 0, {"max_loss": 1e9}
    gates["serving"] = {"p95_ms": 1e6, "rss_mib": 1e6}
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def make_project(data: Path, project: Path) -> None:
    """A project of its own: pyproject.toml, our definitions.py, the flights pipeline, the files, an empty lake."""
    shutil.copytree(PACKAGE / "defs" / "flights", project / MODULE / "defs" / "flights")
    without_refusals(project / MODULE / "defs" / "flights" / "defs.yaml")
    make(project)
    for name in ("incoming", "reference"):
        shutil.copytree(data / name, project / "data" / name, dirs_exist_ok=True)


def job_facts(data: Path) -> dict[str, Any]:
    """What the job left in the lake, in the words of the script's result.json."""
    from ml_assets.lake.lake import Lake
    from ml_assets.tables.versions import need_alias

    with Lake(data / "lake", read_only=True) as lake:
        sql = "SELECT value FROM lake.flights.evaluation_report WHERE scope = 'test' AND metric = 'roc_auc'"
        return {
            "validated_rows": lake.count("flights.validated_data"),
            "quarantined_rows": lake.count("flights.quarantine"),
            "scored_rows": lake.count("flights.predictions"),
            "drift_reports": len(list((data / "reports").glob("flights/drift/*.html"))),
            "trials": lake.count("flights.trials"),
            "champion": need_alias(lake, "flights", "champion").candidate,
            "test_roc_auc": lake.con.execute(sql).fetchall()[0][0],
        }


def agree(one: Round) -> bool:
    """Did both do the same work? Equal counts and champion, and a test ROC AUC within 0.02."""
    job, plain = dict(one.job_facts), dict(one.plain_facts)
    difference = abs(job.pop("test_roc_auc") - plain.pop("test_roc_auc"))
    return job == plain and difference <= MOST_DIFFERENCE


def print_setting(data: Path) -> None:
    """Machine, versions, command and data."""
    files = list((data / "incoming" / "flights").iterdir())
    size_mib = sum(file.stat().st_size for file in files) / 1024**2
    cost.print_setting("flights", LIBRARIES)
    print(f"data      {len(files)} files, {size_mib:.1f} MiB", flush=True)


def print_round(number: int, one: Round) -> None:
    """Wall times of a round, and how far other processes disturbed it."""
    others = f"other processes used {one.job.others_s:.1f} and {one.plain.others_s:.1f} s of CPU time"
    verdict = "" if one.is_calm else ": DISTURBED"
    print(f"round {number}   job {one.job.wall_s:.1f} s, plain {one.plain.wall_s:.1f} s; {others}{verdict}", flush=True)


def print_costs(rounds: list[Round]) -> None:
    """Minimum and median of each cost, and the ratio of job to script; disturbed rounds count only if all were."""
    all_agree, last = all(map(agree, rounds)), rounds[-1]
    rounds = [one for one in rounds if one.is_calm] or rounds
    print(f"\n{'':24}{'job':>10}{'plain':>10}{'ratio':>8}{'run alone':>12}{'ratio':>8}")
    for label, field in (("wall time, s", "wall_s"), ("CPU time, s", "cpu_s"), ("peak memory, MiB", "peak_mib")):
        for name, summary in (("min", min), ("median", statistics.median)):
            job, run, plain = (
                summary(getattr(getattr(one, part), field) for one in rounds) for part in ("job", "run", "plain")
            )
            print(f"{label:17}{name:7}{job:10.1f}{plain:10.1f}{job / plain:8.2f}{run:12.1f}{run / plain:8.2f}")
    ratio = statistics.median(one.job.wall_s for one in rounds) / statistics.median(one.plain.wall_s for one in rounds)
    print(f"\ngoal: at most {GOAL} times the script's wall time; {'met' if ratio <= GOAL else 'NOT met'}: {ratio:.2f}")
    print("\nwhat both did" + " " * 11 + f"{'job':>10}{'plain':>10}")
    for name, value in last.job_facts.items():
        print(f"{name:24}{_text(value):>10}{_text(last.plain_facts[name]):>10}")
    print("the same work" if all_agree else "NOT the same work: the ratio says nothing")


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    sys.exit(main())
