"""Runs that our own commands start: `dagster asset materialize`, with its progress shown and its log kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ml_assets.lake.paths import Paths, private_folder
from ml_assets.project import module_name


def materialize(paths: Paths, console: Console, arguments: list[str], log_name: str = "materialize") -> bool:
    """Run `dagster asset materialize`, show its progress, keep its whole log. True where it succeeded."""
    command = ["dagster", "asset", "materialize", "-m", module_name(paths.root), *arguments]
    shown = " ".join(f"'{word}'" if re.search(r'["* ]', word) else word for word in command)
    console.print(f"  $ {shown}")
    log = private_folder(paths.data / "logs") / f"{log_name}.log"
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-W", "ignore", "-m", *command],
        cwd=paths.root,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        _follow(process, console, log)
    if process.returncode:
        console.print(Text("  failed", "red"), f"; the whole log is {log}", sep="")
    return process.returncode == 0


def _follow(process: subprocess.Popen[str], console: Console, log: Path) -> None:
    in_error = False
    with log.open("a") as file:
        for line in process.stdout or ():
            file.write(line)
            is_ours = " - dagster - " in line
            in_error = "STEP_FAILURE" in line or (in_error and not is_ours and not line.startswith("Stack Trace"))
            message = _progress(line)
            if message or (in_error and line.strip()):
                console.print(f"    {message or line.rstrip()}")


def _progress(line: str) -> str | None:
    """What our own steps say, out of Dagster's log lines: `time - dagster - LEVEL - job - run id - step - message`."""
    match = re.match(r"\S+ \S+ \S+ - dagster - (INFO|ERROR) - \S+ - [0-9a-f-]{36} - (.*)", line)
    if not match or "Not executing" in match[2]:
        return None
    return re.sub(r"^(\d+ - )?[a-z]\w*?__(\w+) - ", r"\2: ", match[2])
