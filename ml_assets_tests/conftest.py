"""Tiny pipelines that are really materialized, in process, on files that the tests write."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import gc
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pandas as pd
import pytest
import yaml

from ml_assets.component import build_pipeline
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets.spec import PipelineSpec
from ml_assets_tests import quick

# The tests start a hundred processes, each of which would compile the project anew; so would each run of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False  # while tests are collected, see below
# On small tables a second thread of OpenMP costs a third more and saves nothing, here and in what is started.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ML_ASSETS_STATIC_PAGES"] = "0"  # each run would start a process; its own tests say otherwise
# A customer pays a loan back late, or not: `income` and `region` tell, `late_days` is known only afterwards.
SPEC: dict[str, Any] = {
    "name": "loans",
    "owners": ["team:credit"],
    "source": {
        "path": "data/incoming/loans",
        "pattern": r"loans_(?P<batch>\d+)\.(parquet|csv|jsonl)",
        "settle_seconds": 0,
    },
    "references": {"regions": {"path": "data/reference/regions.csv"}},
    "columns": [
        {"name": "loan", "type": "integer", "min": 1},
        {"name": "income", "type": "number", "nullable": True, "min": 0},
        {"name": "region", "type": "string", "regex": "[A-Z]"},
        {"name": "signed", "type": "timestamp"},
        {"name": "late_days", "type": "number", "nullable": True, "outcome": True},
    ],
    "key": ["loan"],
    "rules": {"paid_or_open": "late_days IS NULL OR late_days >= 0"},
    "tolerate": {"quarantined": 0.2},
    "target": {"name": "late", "sql": "late_days > 10", "kind": "binary"},
    "lookups": {"region_history": {"key": ["region"], "sql": "region_history.sql", "batches": 2}},
    "features": "features.sql",
    "candidates": {
        "tree": {
            "estimator": "sklearn.tree.DecisionTreeClassifier",
            "params": {"min_samples_leaf": 10},
            "search": {"max_depth": {"low": 1, "high": 5}},
        },
        "linear": {"estimator": "sklearn.linear_model.LogisticRegression", "search": {"C": [0.1, 1.0]}},
    },
    "tuning": {"trials": 2, "folds": 2},
    # A server is started where a test is about servers; packing a release goes with every training.
    "gates": {
        "metrics": {"roc_auc": {"min": 0.6}},
        "slices": {"by": ["region"], "min": 0.3, "min_rows": 20},
        "serving": None,
    },
    "monitoring": {"sample": 1000},
}
SQL = {
    "features.sql": """
        SELECT b.row_id, b.income, b.region, hour(b.signed) AS signed_hour, r.unemployment, h.late_share
        FROM batch b
        LEFT JOIN regions r ON r.region = b.region
        LEFT JOIN region_history h ON h.region = b.region
    """,
    "region_history.sql": "SELECT region, avg(late::INT) AS late_share FROM history GROUP BY region",
}
REGIONS = "region,unemployment\nA,0.02\nB,0.05\nC,0.11\n"


def loans(batch: int, rows: int = 150, shift: float = 0.0) -> pd.DataFrame:
    """A batch of loans; `shift` moves every income, which is drift."""
    rng = np.random.default_rng(batch)
    region = rng.choice(["A", "B", "C"], rows)
    income = rng.normal(30, 8, rows).round(2).clip(1)
    risk = 1 / (1 + np.exp((income - 27 + 6 * (region == "A")) / 3))
    late = rng.random(rows) < risk
    return pd.DataFrame(
        {
            "loan": np.arange(1, rows + 1) + 1000 * batch,
            "income": income + shift,
            "region": region,
            "signed": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 72, rows), unit="h"),
            "late_days": np.where(late, rng.integers(11, 90, rows), rng.integers(0, 10, rows)).astype(float),
        }
    )


@dataclass
class Project:
    """A project folder with one pipeline, and a Dagster instance of its own."""

    root: Path
    instance: dg.DagsterInstance
    spec_dict: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SPEC))
    sql: dict[str, str] = field(default_factory=lambda: dict(SQL))
    sql_folder: Path | None = None
    _built: tuple[str, dg.Definitions] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.source.mkdir(parents=True, exist_ok=True)
        for name, text in (("pyproject.toml", ""), ("data/reference/regions.csv", REGIONS)):
            file = self.root / name
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)

    @property
    def spec(self) -> PipelineSpec:
        return PipelineSpec.model_validate(self.spec_dict)

    @property
    def paths(self) -> Paths:
        return Paths(self.root, self.root / "data")

    @property
    def source(self) -> Path:
        return self.root / self.spec_dict["source"]["path"]

    def write(self, batch: int, frame: pd.DataFrame | None = None, suffix: str = "parquet") -> Path:
        """Let a batch arrive."""
        frame = loans(batch) if frame is None else frame
        file = self.source / f"loans_{batch}.{suffix}"
        if suffix == "parquet":
            frame.to_parquet(file)
        elif suffix == "csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_json(file, orient="records", lines=True, date_format="iso")
        return file

    def defs(self) -> dg.Definitions:
        """The definitions; those that were built last where YAML and files beside it are the same."""
        folder = self.sql_folder or self.root / "sql"
        folder.mkdir(exist_ok=True)
        for name, text in self.sql.items():
            file, text = folder / name, textwrap.dedent(text)
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
        files = {str(file): file.read_text() for file in sorted(folder.iterdir()) if file.is_file()}
        made_from = json.dumps([self.spec_dict, files], default=repr)
        if self._built is None or self._built[0] != made_from:
            built = build_pipeline(self.spec, folder, self.paths)
            self._built = made_from, dg.Definitions.merge(built, dg.Definitions(executor=dg.in_process_executor))
        return self._built[1]

    def tick(self, name: str, cursor: str | None = None) -> Any:
        """Evaluate a sensor once."""
        sensor = next(sensor for sensor in self.defs().sensors or () if sensor.name == name)
        return sensor(dg.build_sensor_context(instance=self.instance, cursor=cursor))

    def materialize(
        self, *asset_names: str, batches: Sequence[str] = (), run_config: dict[str, Any] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Materialize assets, with their checks, in process; never raises for a failed step."""
        tags = (
            {"dagster/asset_partition_range_start": batches[0], "dagster/asset_partition_range_end": batches[-1]}
            if batches
            else {}
        )
        job = self.defs().resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            asset_selection=[dg.AssetKey([self.spec_dict["name"], asset_name]) for asset_name in asset_names],
            instance=self.instance,
            tags=tags,
            run_config=run_config,
            raise_on_error=False,
        )

    def arrive(self) -> dg.ExecuteInProcessResult:
        return self.materialize("arrivals")

    def ingest(self, *batches: str, until: str = "") -> dg.ExecuteInProcessResult:
        """arrivals, then everything up to features, or up to the asset `until`."""
        assert self.arrive().success
        lookups = [f"lookup_{name}" for name in self.spec.lookups]
        online = ["online_lookups"] if lookups or self.spec.references else []
        made = ("raw_data", "validated_data", "quarantine", *lookups, "features", *online)
        return self.materialize(*made[: made.index(until) + 1 if until else None], batches=batches)

    def fit(self) -> dg.ExecuteInProcessResult:
        """A new version, not evaluated."""
        return self.materialize("training_set", *self._candidates(), "trained_model")

    def train(self) -> dg.ExecuteInProcessResult:
        release = ("evaluation_report", "release_candidate", "champion")
        return self.materialize("training_set", *self._candidates(), "trained_model", *release)

    def _candidates(self) -> list[str]:
        return [f"candidate_{name}" for name in self.spec.candidates]

    def watch(self, *batches: str) -> dg.ExecuteInProcessResult:
        return self.materialize("predictions", "drift_report", "performance_report", batches=batches)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows of a query; {p} is the pipeline's schema in the lake."""
        with Lake.of(self.paths, read_only=True) as lake:
            return lake.rows(sql.replace("{p}", f"lake.{self.spec_dict['name']}"), parameters)

    def value(self, sql: str) -> Any:
        (row,) = self.rows(sql)
        return next(iter(row.values()))


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """The descriptions of all failed steps."""
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return "\n".join(f.user_failure_data.description if f.user_failure_data else str(f.error) for f in failures)


def check_results(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str, str | None], bool]:
    """(asset_name, check, batch) -> passed, for every evaluation of a run."""
    return {(e.asset_key.path[-1], e.check_name, e.partition): e.passed for e in result.get_asset_check_evaluations()}


# Begun last, one of these would keep the suite waiting alone; the daemon's test mostly waits for others.
TESTS = Path(__file__).parent
LONG_FILES = (
    *("test_daemon.py", "test_pipelines.py", "test_commands.py", "test_cluster.py", "benchmarks/test_small_runs.py"),
    *("replay/test_run.py", "cli/test_run.py", "scaffold/test_champions.py", "test_demo.py", "test_earlier_lake.py"),
    *("graph/tracking/test_assets.py", "server/test_online_training.py", "tables/test_maintenance.py"),
    *("lake/test_lake.py", "lake/test_postgres.py", "pages/test_browser.py", "graph/monitoring/test_online.py"),
    *("graph/release/test_assets.py", "graph/ingest/test_assets.py", "graph/training/test_assets.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    place = {TESTS / name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish() -> None:
    """Take what the imports made out of each later garbage collection; one of all takes most of a second."""
    sys.dont_write_bytecode = True  # a test may write a module twice within the second that tells two of them apart
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)  # by default a run in process collects 250 times


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """Commands that run in this process must leave no variable behind: the next test would load other definitions."""
    before = settings()
    yield
    left = {name: value for name, value in settings().items() if before.get(name) != value}
    for name in left:
        os.environ.pop(name)
    assert left == {}


def settings() -> dict[str, str]:
    """The environment's variables of Dagster and of this project."""
    return {name: value for name, value in os.environ.items() if name.startswith(("DAGSTER", "ML_ASSETS"))}


@pytest.fixture(scope="session", autouse=True)
def _quick_instances() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        quick.records(patch)
        yield


# Folders and files of tests that are about the copy of the catalog which readers get.
PUBLISHING = ("lake", "cli", "tables", "benchmarks", "test_commands.py", "test_repository.py", "test_demo.py")


@pytest.fixture(autouse=True)
def _publishes_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each run ends with a process that copies the catalog: 35 ms that most tests have no use for."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.relative_to(TESTS).parts[0] not in PUBLISHING:
            patch.setattr(SqliteCatalog, "publish", lambda *_: None)
        yield


# Folders and files of tests that are about plots and reports, or about all that a training leaves: these draw.
DRAWING = ("pages", "reporting", "scaffold", "test_demo.py")


@pytest.fixture(scope="module", autouse=True)
def _draws_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """A training draws a dozen plots and Evidently's page, a third of its time; `trained` has real ones."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.relative_to(TESTS).parts[0] not in DRAWING:
            quick.drawing(patch)
        yield


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project without files."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(tmp_path, instance)


def shared(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker of a run makes and all others find."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def train(folder: Path) -> None:
    """Four batches ingested, a champion trained, the fifth batch scored and watched; Dagster's records beside it."""
    with instance_in(folder / "dagster") as instance:
        made = Project(folder / "project", instance)
        for batch in range(1, 6):
            made.write(batch)
        for result in (made.ingest("1", "2", "3", "4"), made.train(), made.ingest("5"), made.watch("5")):
            assert result.success, failure_text(result)


@contextlib.contextmanager
def instance_in(folder: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance whose records are files."""
    folder.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield instance


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Four batches ingested, a champion trained, the fifth batch scored and watched. For reading only: see below."""
    folder = tmp_path_factory.mktemp("trained") / "copy"
    shutil.copytree(shared(tmp_path_factory, "shared_trained", train), folder)
    with instance_in(folder / "dagster") as instance:
        made = Project(folder / "project", instance)
        made.defs()  # writes the SQL files
        yield made


@pytest.fixture(autouse=True)
def _trained_is_for_reading(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that changes a file of `trained` fails; `copied` is for changing. File modes would not stop root."""
    if "trained" not in request.fixturenames:
        yield
        return
    project = request.getfixturevalue("trained")
    root, before, built = project.root, files_of(project.root), project._built
    yield
    project._built = built  # a test may have changed what definitions are built from
    changed = sorted(name for name, _ in before.symmetric_difference(files_of(root)))
    assert changed == [], "the project of `trained` is for reading; `copied` is a copy of it"


def files_of(root: Path) -> set[tuple[str, tuple[int, int]]]:
    """Name, size and time of change of every file, but for what SQLite keeps beside an open database."""
    files = (file for file in root.rglob("*") if file.is_file() and not file.name.endswith(("-wal", "-shm")))
    return {(str(file.relative_to(root)), (file.stat().st_size, file.stat().st_mtime_ns)) for file in files}


@pytest.fixture
def copied(trained: Project, project: Project) -> Project:
    """A copy of the trained project, to change: five batches, of which the champion 1.0.0 knows the first four."""
    return copy_into(project, trained)


@pytest.fixture(scope="module")
def copy_of_module(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Project]]:
    """Makes copies of the trained project for all tests of a module: what they share is made there once."""
    with contextlib.ExitStack() as instances:
        yield lambda name: copy_into(
            Project(tmp_path_factory.mktemp(name), instances.enter_context(dg.DagsterInstance.ephemeral())), trained
        )


def copy_into(project: Project, trained: Project) -> Project:
    for folder in ("lake", "bundles", "releases", "incoming"):
        shutil.copytree(trained.paths.data / folder, project.paths.data / folder, dirs_exist_ok=True)
    project.instance.add_dynamic_partitions("loans_batches", ["1", "2", "3", "4", "5"])
    return project


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """An empty lake."""
    with Lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture(scope="session")
def write_project() -> Callable[..., Path]:
    """`written_project`, for tests that take it as a fixture."""
    return written_project


def written_project(root: Path, spec: dict[str, Any] | None = None, sql: dict[str, str] | None = None) -> Path:
    """A project folder as a third party would have it: pyproject, definitions, defs/loans."""
    package = root / "credit"
    folder = package / "defs" / "loans"
    folder.mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        '[tool.dagster]\nmodule_name = "credit.definitions"\ncode_location_name = "credit"\n'
        '[tool.dg]\ndirectory_type = "project"\n'
        '[tool.dg.project]\nroot_module = "credit"\ncode_location_name = "credit"\n'
    )
    (root / "workspace.yaml").write_text(
        "load_from: [{python_module: {module_name: credit.definitions, location_name: credit}}]\n"
    )
    (package / "__init__.py").touch()
    (package / "defs" / "__init__.py").touch()
    (package / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\nimport ml_assets\n"
        "defs = dg.Definitions.merge(\n"
        "    ml_assets.load_from_defs_folder(path_within_project=Path(__file__).parent),\n"
        "    dg.Definitions(executor=dg.in_process_executor),\n)\n"
    )
    document = {"type": "ml_assets.MLPipeline", "attributes": spec or SPEC}
    (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    for name, text in (sql or SQL).items():
        (folder / name).write_text(textwrap.dedent(text))
    reference = root / "data/reference/regions.csv"
    reference.parent.mkdir(parents=True)
    reference.write_text(REGIONS)
    (root / "data/incoming/loans").mkdir(parents=True)
    return root


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.5) -> None:
    """Poll a condition; fail with its name after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(every_s)


def with_one_thread(connect: Callable[..., Any]) -> Callable[..., Any]:
    """DuckDB with one thread: on tables of a few rows, a second one makes a query cost half as much again."""

    def connected(*arguments: Any, config: dict[str, str] | None = None, **options: Any) -> Any:
        return connect(*arguments, config={"threads": "1", **(config or {})}, **options)

    return connected


os.environ.pop("ML_ASSETS_DATA", None)  # a developer's setting must not reach the tests
duckdb.connect = with_one_thread(duckdb.connect)
