"""Dagster's commands that our own commands run: shown as one can paste them, with their progress, their log kept."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ml_assets.graph.backfills import ALL
from ml_assets.lake.paths import Paths, private_folder
from ml_assets.project import module_name

STOPS_ALONE_S = 15  # Ctrl-C reaches the command, too; it ends its run and says so in Dagster


def materialize(paths: Paths, console: Console, arguments: Sequence[str], log_name: str = "materialize") -> bool:
    """Run `dagster asset materialize`. True where it succeeded."""
    return _run(paths, console, ["dagster", "asset", "materialize", *_module(paths), *arguments], log_name)


def execute_job(
    paths: Paths, console: Console, job: str, tags: Mapping[str, str] | None = None, log_name: str = "job"
) -> bool:
    """Run `dagster job execute`. True where it succeeded."""
    tagged = ["--tags", json.dumps(dict(tags))] if tags else []
    return _run(paths, console, ["dagster", "job", "execute", *_module(paths), "-j", job, *tagged], log_name)


def _module(paths: Paths) -> list[str]:
    return ["-m", module_name(paths.root)]


def _run(paths: Paths, console: Console, command: Sequence[str], log_name: str) -> bool:
    """Run a command, show its progress, keep its whole log.

    Raises:
        KeyboardInterrupt: After the command has ended.
    """
    console.print(f"  $ {shlex.join(command)}")
    log = private_folder(paths.data / "logs") / f"{log_name}.log"
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-W", "ignore", "-m", *command],
        cwd=paths.root,
        env={**os.environ, **ALL, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    with process:
        try:
            last, is_told = _follow(process, console, log)
        except KeyboardInterrupt:
            _end(process)
            raise
    if process.returncode:
        if not is_told:  # it failed before a step did
            console.print(f"    {last}")
        console.print(Text("  failed", "red"), f"; the whole log is {log}", sep="")
    return process.returncode == 0


def _end(process: subprocess.Popen[str]) -> None:
    """Wait until the command has ended its run; a signal that reached us alone is passed on."""
    for number in (None, signal.SIGINT, signal.SIGKILL):
        if number is not None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.communicate(timeout=STOPS_ALONE_S)  # reads on: a full pipe would keep it from ending
            return


def _follow(process: subprocess.Popen[str], console: Console, log: Path) -> tuple[str, bool]:
    """Show the progress of a command and the errors of its run; returns its last line, and whether it had any."""
    in_error, is_told, last = False, False, ""
    with log.open("a", encoding="utf-8") as file:
        for line in process.stdout or ():
            file.write(line)
            last = line.strip() or last
            is_ours = " - dagster - " in line
            # Of a run that fails before its first step, only Dagster's last word has the reason.
            begins = "STEP_FAILURE" in line or ("RUN_FAILURE" in line and not is_told)
            in_error = begins or (in_error and not is_ours and not line.startswith("Stack Trace"))
            is_told |= in_error
            message = _progress(line)
            if message or (in_error and line.strip()):
                console.print(f"    {message or line.rstrip()}")
    return last, is_told


def _progress(line: str) -> str | None:
    """What our own steps say, out of Dagster's log lines: `time - dagster - LEVEL - job - run id - step - message`."""
    match = re.match(r"\S+ \S+ \S+ - dagster - (INFO|ERROR) - \S+ - [0-9a-f-]{36} - (.*)", line)
    if not match or "Not executing" in match[2]:
        return None
    return re.sub(r"^(\d+ - )?[a-z]\w*?__(\w+) - ", r"\2: ", match[2])
