"""The scoring server beside others with the same model and rows: `python -m benchmarks.serve` (benchmarks/README.md).

Each round starts each server in its turn, compares its scores, loads it with one-row requests at several
numbers of connections, and ends it. Ours and MLflow's pyfunc compute features from raw rows; MLflow's own flavour of
scikit-learn and BentoML are given the features.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import load
from benchmarks.cost import MOST_DISTURBED, busy_s, cpu_model
from ml_assets.graph.tracking import mlflow_model
from ml_assets.ml import manifest, release
from ml_assets.server.scorer import Scorer
from ml_assets_tests.ports import free_port

ROOT = Path(__file__).parents[1]
ROWS, PARITY, START_S, WARM_UP_S = 50, 1e-9, 120, 1.0
BENTOML = "bentoml==1.4.39"  # 1.4.40 wants a newer certifi than there is
SERVICE = """
import bentoml, pandas
from skops import io

@bentoml.service(workers={workers})
class Model:
    def __init__(self):
        self.model = io.load("{file}", trusted=io.get_untrusted_types(file="{file}"))

    @bentoml.api
    def predict(self, rows: list[dict]) -> list[float]:
        return self.model.predict_proba(pandas.DataFrame(rows))[:, 1].tolist()
"""


@dataclass(frozen=True)
class Rival:
    """A server.

    Args:
        name: In the tables.
        command: Starts it; PORT stands for the port.
        path: To which rows are posted.
        bodies: One row each.
        scores: The scores in its response.
        folder: Where it runs.
    """

    name: str
    command: Sequence[str]
    path: str
    bodies: Sequence[bytes]
    scores: Callable[[Any], list[float]]
    folder: Path


@dataclass(frozen=True)
class Round:
    """What one server did in one round.

    Args:
        start_s: Seconds from its start to its first right answer.
        rss_mib: Most memory of its processes together.
        loads: Connections -> what the client saw.
        cpu_ms: CPU time of the server for a request, with most connections; tells more where the machine is busy.
        is_calm: Did other processes leave the machine to the two?
    """

    start_s: float
    rss_mib: float
    loads: dict[int, load.Load]
    cpu_ms: float
    is_calm: bool


def rivals(folder: Path, temporary: Path, workers: int, without: Sequence[str]) -> list[Rival]:
    """The servers that can be started here."""
    golden = release.read_golden(folder)
    scorer = Scorer(folder, manifest.sha256(folder / manifest.NAME))
    raw = golden.rows[:ROWS]
    scored = scorer.score(scorer.decode(json.dumps({"rows": raw}).encode()).rows, scorer.quick)
    features = [
        dict(zip(scored.features, values, strict=True)) for values in zip(*scored.features.values(), strict=True)
    ]
    features = [{name: None if value != value else value for name, value in row.items()} for row in features]
    name, schema = scorer.facts.pipeline, scorer.schema
    scorer.close()

    def server(of: Path) -> list[str]:
        return [sys.executable, "-m", "ml_assets.server", str(of), "--port", "PORT", "--workers", str(workers)]

    ours = server(folder)
    predict, rows = f"/v1/{name}/predict", load.as_bodies([{"rows": [row]} for row in raw])
    found = [
        Rival("ml_assets", ours, predict, rows, lambda made: made["scores"], ROOT),
        Rival(
            "ml_assets, each answer logged",
            [*ours, "--log", str(temporary / "log")],
            predict,
            rows,
            lambda made: made["scores"],
            ROOT,
        ),
    ]
    if release.read_facts(folder).features_engine == "sqlite":
        slower = server(_on_duckdb(folder, temporary))
        found.append(Rival("ml_assets, features on DuckDB", slower, predict, rows, lambda made: made["scores"], ROOT))
    if "mlflow" not in without:
        models = _mlflow_models(folder, temporary, name, schema)
        found += [
            Rival(
                what,
                _mlflow(model, workers),
                "/invocations",
                load.as_bodies([{"dataframe_records": [row]} for row in given]),
                scores,
                temporary,
            )
            for (what, model, scores), given in zip(models, (features, raw), strict=True)
        ]
    if "bentoml" not in without:
        found += _bentoml(folder, temporary, features, workers)
    return found


def _on_duckdb(folder: Path, temporary: Path) -> Path:
    """The same release as if its features SELECT had not passed the comparison on SQLite."""
    copied = temporary / "on_duckdb"
    shutil.copytree(folder, copied)
    facts = {**json.loads((copied / release.FACTS).read_text()), "features_engine": "duckdb"}
    (copied / release.FACTS).write_text(json.dumps(facts))
    manifest.write(copied, {})
    return copied


def _mlflow_models(folder: Path, temporary: Path, name: str, schema: Any) -> list[tuple[str, Path, Any]]:
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from skops import io

    file = folder / "bundle" / "model.skops"
    types = io.get_untrusted_types(file=file)
    kinds = {"number": "double", "category": "string"}
    columns = [ColSpec(kinds[kind], feature, required=False) for feature, kind in schema.features.items()]
    mlflow.sklearn.save_model(
        io.load(file, trusted=types),
        str(temporary / "sklearn"),
        serialization_format="skops",
        skops_trusted_types=types,
        signature=ModelSignature(Schema(columns)),
        pyfunc_predict_fn="predict_proba",
        pip_requirements=["scikit-learn", "skops"],
    )
    packed = mlflow_model.PackedVersion(name, "0", folder, manifest.sha256(folder / manifest.NAME))
    mlflow_model.save(packed, temporary / "pyfunc")
    return [
        ("MLflow, features given", temporary / "sklearn", lambda made: [row[1] for row in made["predictions"]]),
        ("MLflow, our pyfunc", temporary / "pyfunc", lambda made: [row["score"] for row in made["predictions"]]),
    ]


def _mlflow(model: Path, workers: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model), "--env-manager", "local"]
    return [*command, "--host", "127.0.0.1", "--port", "PORT", "--workers", str(workers)]


def _bentoml(folder: Path, temporary: Path, features: list[dict[str, Any]], workers: int) -> list[Rival]:
    """BentoML in a virtual environment of its own, or nothing and a word why."""
    place = Path(tempfile.gettempdir()) / "ml-assets-bentoml"
    same = [f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "pandas", "numpy")]
    try:
        if not (place / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            install = [str(place / "bin" / "pip"), "install", "--quiet", BENTOML, *same]
            subprocess.run(install, check=True, capture_output=True, text=True)
            (place / "ready").touch()
    except subprocess.CalledProcessError as error:
        print(f"BentoML is left out: {(error.stderr or str(error)).strip().splitlines()[-1]}", flush=True)
        return []
    file = (folder / "bundle" / "model.skops").resolve()
    (temporary / "service.py").write_text(SERVICE.format(file=file, workers=workers))
    command = [str(place / "bin" / "bentoml"), "serve", "service:Model", "--host", "127.0.0.1", "--port", "PORT"]
    bodies = load.as_bodies([{"rows": [row]} for row in features])
    return [Rival("BentoML, features given", command, "/predict", bodies, lambda made: made, temporary)]


def measure(rival: Rival, expected: Sequence[float], connections: Sequence[int], seconds: float) -> Round:
    """Start a server, compare its scores, load it, end it."""
    with started(rival) as (process, port, start_s):
        gap = parity(rival, port, expected)
        if not gap <= PARITY:
            raise SystemExit(f"{rival.name}: its scores differ from the batch path's by {gap:.2g}")
        load.run(port, rival.path, rival.bodies, max(connections), WARM_UP_S)
        before, began = _cpu_s(process) + _client_s(), time.monotonic()
        busy, loads, rss, cpu_ms = busy_s(), {}, 0.0, 0.0
        for number in connections:
            server_s = _cpu_s(process)
            loads[number] = made = load.run(port, rival.path, rival.bodies, number, seconds)
            rss, cpu_ms = max(rss, rss_mib(process)), 1000 * (_cpu_s(process) - server_s) / max(1, made.requests)
        others = busy_s() - busy - (_cpu_s(process) + _client_s() - before)
        return Round(start_s, rss, loads, cpu_ms, not others > MOST_DISTURBED * (time.monotonic() - began))


@contextlib.contextmanager
def started(rival: Rival) -> Iterator[tuple[psutil.Process, int, float]]:
    """The server's process, its port and the seconds until its first answer; it ends with the block."""
    port = free_port()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts uvicorn by its name
    environment = {**os.environ, **release.ENVIRONMENT, "PYTHONPATH": str(ROOT), "PATH": programs}
    began = time.monotonic()
    command = [str(port) if word == "PORT" else word for word in rival.command]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, cwd=rival.folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while not _answers(rival, port):
                if process.poll() is not None or time.monotonic() - began > START_S:
                    log.seek(0)
                    raise SystemExit(f"{rival.name} did not start:\n{log.read()[-2000:]}")
                time.sleep(0.01)
            yield psutil.Process(process.pid), port, time.monotonic() - began
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a server and what it started, also what has left its group, such as BentoML's workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _answers(rival: Rival, port: int) -> bool:
    try:
        return len(rival.scores(post(port, rival.path, rival.bodies[0]))) == 1
    except (OSError, http.client.HTTPException, ValueError):
        return False


def post(port: int, path: str, body: bytes) -> Any:
    """The JSON of a response.

    Raises:
        ValueError: It is no success.
    """
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    if response.status != http.HTTPStatus.OK:
        raise ValueError(text)
    return json.loads(text)


def parity(rival: Rival, port: int, expected: Sequence[float]) -> float:
    """The largest difference of a score from the batch path's."""
    found = [rival.scores(post(port, rival.path, body))[0] for body in rival.bodies]
    return float(np.abs(np.array(found) - np.array(expected)).max())


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def rss_mib(process: psutil.Process) -> float:
    """Memory of a process and of all below it; what several of them share counts for each."""
    found = 0
    for one in _tree(process):
        with contextlib.suppress(psutil.Error):
            found += one.memory_info().rss
    return found / 2**20


def _cpu_s(process: psutil.Process) -> float:
    """CPU time of a process and of all below it, in seconds."""
    found = 0.0
    for one in _tree(process):
        with contextlib.suppress(psutil.Error):
            found += sum(one.cpu_times()[:2])
    return found


def _client_s() -> float:
    """CPU time of this process and of wrk, in seconds."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def show(name: str, rounds: Sequence[Round]) -> str:
    """A line of the table: medians of the calm rounds, or of all where none was."""
    calm = [one for one in rounds if one.is_calm] or list(rounds)

    def middle(value: Callable[[Round], float]) -> float:
        return statistics.median(map(value, calm))

    cells = []
    for number in rounds[0].loads:
        p50, p99 = (middle(lambda one, n=number, f=f: getattr(one.loads[n], f)) for f in ("p50_ms", "p99_ms"))
        cells.append(f"{p50:.2f} / {p99:.2f}, {middle(lambda one, n=number: one.loads[n].per_second):,.0f}")
    failed = sum(each.failed for one in rounds for each in one.loads.values())
    mark = "" if any(one.is_calm for one in rounds) else " *"
    memory, start, cpu = (middle(lambda one, f=f: getattr(one, f)) for f in ("rss_mib", "start_s", "cpu_ms"))
    return f"| {name}{mark} | {' | '.join(cells)} | {cpu:.2f} | {start:.1f} | {memory:.0f} | {failed} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, help="default: the newest one of flights in data/releases")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10, help="of each load; default: 10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="processes of each server; default: 1")
    parser.add_argument("--without", nargs="*", default=[], choices=["mlflow", "bentoml"])
    given = parser.parse_args()
    folder = (given.release or newest(ROOT / "data" / "releases" / "flights")).resolve()
    temporary = Path(tempfile.mkdtemp(prefix="serve-"))
    try:
        return compare(folder, temporary, given)
    finally:
        shutil.rmtree(temporary)


def newest(folder: Path) -> Path:
    """The release that was packed last."""
    found = sorted(folder.glob(f"*/{manifest.NAME}"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise SystemExit(f"{folder} has no release: run `make demo`, or name one with --release")
    return found[-1].parent


def compare(folder: Path, temporary: Path, given: argparse.Namespace) -> int:
    """Measure all of them, in turn; prints the table."""
    expected = release.read_golden(folder).scores[:ROWS]
    every = rivals(folder, temporary, given.workers, given.without)
    facts = release.read_facts(folder)
    print(f"{facts.pipeline} {facts.version}, one row a request, {ROWS} rows in turn; {given.workers} worker(s) each")
    print(f"{cpu_model()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions()}")
    limits = {number: load.ceiling(every[0].bodies, number, min(2, given.seconds)) for number in given.connections}
    told = ", ".join(f"{one.per_second:,.0f} at {number}" for number, one in limits.items())
    print(f"client {load.client()}; against a server that does nothing: {told} requests a second", flush=True)
    rounds: dict[str, list[Round]] = {rival.name: [] for rival in every}
    for number in range(given.rounds):
        for rival in every if number % 2 == 0 else reversed(every):
            made = measure(rival, expected, given.connections, given.seconds)
            rounds[rival.name].append(made)
            rates = ", ".join(f"{one.per_second:,.0f}" for one in made.loads.values())
            verdict = "" if made.is_calm else "; disturbed by other processes"
            print(f"round {number + 1}  {rival.name}: {rates} a second{verdict}", flush=True)
    heads = [f"{number} connection{'s' * (number > 1)}" for number in given.connections]
    print("\nmedians: p50 / p99 in ms, requests a second (*: other processes disturbed every round)\n")
    print(f"| server | {' | '.join(heads)} | CPU a request, ms | start, s | memory, MiB | failed |")
    print(f"|---|{'---|' * (len(heads) + 4)}")
    print("\n".join(show(name, made) for name, made in rounds.items()))
    failed = sum(each.failed for made in rounds.values() for one in made for each in one.loads.values())
    return 1 if failed else 0


def versions() -> str:
    """Of the libraries that matter."""
    names = ("duckdb", "onnxruntime", "scikit-learn", "starlette", "uvicorn", "mlflow")
    return ", ".join(f"{name} {version(name)}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
