"""run, ingest, train and score: which Dagster commands they run, for which batches, and what they say of the result."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from ml_assets import dagster_commands, run_pipeline
from ml_assets.cli import main
from ml_assets.component import MLPipeline
from ml_assets.errors import BatchRefused
from ml_assets.lake.paths import Paths
from ml_assets.run_pipeline import PipelineRunner, chosen
from ml_assets_tests.conftest import Project, loans

MONTHS = ["2013-01", "2013-02", "2013-03"]
INGESTED = {"raw_data", "validated_data", "quarantine", "lookup_region_history", "features", "online_lookups"}


class Dagster:
    """Stands for Dagster's commands: keeps what would run, and runs it in this process."""

    def __init__(self, project: Project, runs: bool) -> None:
        self.project, self.runs, self.commands = project, runs, list[tuple[set[str], str]]()

    def materialize(self, _paths: Paths, _console: Console, arguments: Sequence[str], **_: Any) -> bool:
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        names = {key.removeprefix('key:"loans/').rstrip('"') for key in options["--select"].split(",")}
        batches = options.get("--partition-range") or options.get("--partition", "")
        self.commands.append((names, batches))
        config = json.loads(options["--config-json"]) if "--config-json" in options else None
        span = batches.split("...") if batches else []
        return not self.runs or self.project.materialize(*names, batches=span, run_config=config).success

    def execute_job(self, _paths: Paths, _console: Console, job: str, tags: dict[str, str] | None, **_: Any) -> bool:
        self.commands.append(({job}, (tags or {}).get("ml_assets/retrain", "")))
        return True


@pytest.fixture
def dagster(copied: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dagster]:
    """Commands of a copy of the trained project: batches 1 to 4 in the training set, batch 5 scored."""
    copied.defs()  # writes the SQL files
    pipeline = MLPipeline(copied.spec, copied.root / "sql")
    monkeypatch.chdir(copied.root)
    monkeypatch.setattr(run_pipeline, "load_pipeline", lambda *_: pipeline)
    monkeypatch.setattr(PipelineRunner, "_instance", lambda _: contextlib.nullcontext(copied.instance))

    def made(runs: bool = False) -> Dagster:
        stand_in = Dagster(copied, runs)
        monkeypatch.setattr(run_pipeline, "materialize", stand_in.materialize)
        monkeypatch.setattr(run_pipeline, "execute_job", stand_in.execute_job)
        return stand_in

    return made


def command(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_a_new_file_is_ingested_scored_and_watched(copied: Project, dagster: Callable[..., Dagster]) -> None:
    copied.write(6)
    ran = dagster(runs=True)
    shown = command("run", "loans")
    assert shown.exit_code == 0, shown.output
    assert ran.commands == [
        ({"arrivals"}, ""),
        (INGESTED, "6"),
        ({"predictions", "drift_report", "performance_report"}, "6"),
    ]
    assert "ingested 6: 150 valid rows, 0 in quarantine" in shown.output
    assert "6      1.0.0    champion   150" in shown.output
    assert "trained  nothing: " in shown.output
    assert "Next  ml-assets open loans" in shown.output


def test_what_is_up_to_date_is_not_run_again(copied: Project, dagster: Callable[..., Dagster]) -> None:
    ran = dagster()
    assert "ingested nothing: every batch of loans is up to date" in command("run", "loans").output
    assert "scored nothing: no batch of loans waits for scores" in command("score", "loans").output
    assert ran.commands == [({"arrivals"}, "")]
    copied.sql["features.sql"] = copied.sql["features.sql"].replace("b.income", "b.income + 1 AS income")
    copied.defs()
    assert command("ingest", "loans").exit_code == 0
    assert ran.commands[1:] == [({"arrivals"}, ""), (INGESTED, "1...5")]


def test_named_batches_are_run_again(dagster: Callable[..., Dagster]) -> None:
    ran = dagster()
    assert command("ingest", "loans", "2...3", "5").exit_code == 0
    assert ran.commands == [({"arrivals"}, ""), (INGESTED, "2...3"), (INGESTED, "5")]
    shown = command("score", "loans", "5", "--version", "1.0.0")
    assert ran.commands[3:] == [({"predictions", "performance_report"}, "5")]
    assert "5      1.0.0    champion   150" in shown.output
    wrong = command("score", "loans", "55")
    assert (wrong.exit_code, "There are no features of a batch '55'" in wrong.output) == (1, True)
    assert "did you mean '5'?" in wrong.output
    assert "Which batches?" in command("score", "loans", "--version", "1.0.0").output


def test_a_training_is_run_when_it_is_due_or_asked_for(copied: Project, dagster: Callable[..., Dagster]) -> None:
    copied.write(6, loans(6, shift=60))
    ran = dagster(runs=True)
    shown = command("run", "loans")
    assert ran.commands[-1] == ({"loans_train"}, "drift")
    assert shown.output.index("roc_auc") < shown.output.index("trained  version 1.0.0: promoted, test roc_auc")
    assert command("run", "loans", "--retrain").exit_code == 0
    assert ran.commands[-1] == ({"loans_train"}, "")
    assert command("train", "loans").exit_code == 0
    assert ran.commands[-1] == ({"loans_train"}, "")


def test_files_and_batches_that_fail_are_said(copied: Project, dagster: Callable[..., Dagster]) -> None:
    bad = loans(6)
    bad["region"] = "??"
    copied.write(6, bad)
    (copied.source / "loans_7.parquet").write_text("no parquet")
    (copied.source / "loans_8.parquet").write_bytes((copied.source / "loans_5.parquet").read_bytes())
    dagster(runs=True)
    shown = command("ingest", "loans")
    assert shown.exit_code == 1
    assert "rejected loans_7.parquet: " in shown.output
    assert "skipped  loans_8.parquet: The same bytes as " in shown.output
    assert "failed   batch 6: " in shown.output


def test_a_wrong_name_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    for name in ("run", "ingest", "train", "score"):
        shown = command(name, "loans")
        assert (shown.exit_code, "Traceback" in shown.output) == (1, False)


def test_ranges_of_batches() -> None:
    assert chosen(["2013-03", "2013-01...2013-02"], MONTHS, "p", "No") == MONTHS
    assert chosen(["2013-02...2013-02"], MONTHS, "p", "No") == ["2013-02"]
    for word, said in (("2013-1", "did you mean '2013-01'"), ("2013-03...2013-01", "Write 2013-01...2013-03")):
        with pytest.raises(BatchRefused, match=said):
            chosen([word], MONTHS, "p", "No batch")


def test_the_command_is_printed_as_one_can_paste_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "credit.definitions"\n')
    monkeypatch.setattr(subprocess, "Popen", _Stands)
    console = Console(soft_wrap=True, record=True)
    paths = Paths(tmp_path, tmp_path / "data")
    assert dagster_commands.materialize(paths, console, ["--select", 'key:"a/b"', "--partition", "it's"])
    assert dagster_commands.execute_job(paths, console, "a_train", {"why": "x"})
    assert console.export_text().split("\n")[:2] == [
        "  $ dagster asset materialize -m credit.definitions --select 'key:\"a/b\"' --partition 'it'\"'\"'s'",
        '  $ dagster job execute -m credit.definitions -j a_train --tags \'{"why": "x"}\'',
    ]


class _Stands(contextlib.AbstractContextManager[Any]):
    """A process that has ended well."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.stdout: list[str] = []
        self.returncode = 0

    def __exit__(self, *_: Any) -> None: ...


def test_ctrl_c_waits_for_the_end_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal reaches this process alone here, so it is passed on; the child says that it has ended its run."""
    ended = tmp_path / "ended"
    code = (
        "import pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('ready', flush=True)\n"
        f"try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pathlib.Path({str(ended)!r}).touch()\n"
    )
    monkeypatch.setattr(dagster_commands, "STOPS_ALONE_S", 2)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    dagster_commands._end(child)
    assert (ended.exists(), child.returncode) == (True, 0)


def test_ctrl_c_says_how_to_continue(dagster: Callable[..., Dagster], monkeypatch: pytest.MonkeyPatch) -> None:
    dagster()

    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(PipelineRunner, "register", interrupted)
    shown = command("run", "loans")
    assert (shown.exit_code, "the same command again does the rest" in shown.output) == (130, True)
