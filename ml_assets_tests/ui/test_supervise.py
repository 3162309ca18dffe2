"""Processes that are killed are started again, later each time, and none outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ml_assets.ui import supervise
from ml_assets.ui.supervise import Child
from ml_assets_tests.conftest import wait_until

STAYS = (
    "import pathlib, subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
)
STAYS += "pathlib.Path('up').touch()\ntime.sleep(99)\n"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def child(tmp_path: Path, said: list[str]) -> Iterator[Child]:
    (tmp_path / "stays.py").write_text(STAYS)
    (tmp_path / "breaks.py").write_text("raise SystemExit(3)\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    made = Child("daemon", ["stays"], tmp_path, environment, said.append)
    yield made
    supervise.end([made])


def started(child: Child) -> psutil.Process:
    child.due = 0
    child.check()
    wait_until(lambda: (child.folder / "up").exists(), 20, "the child")
    (child.folder / "up").unlink()
    assert child.process is not None
    return psutil.Process(child.process.pid)


def test_a_killed_process_is_started_again_later_each_time(child: Child, said: list[str]) -> None:
    for number in range(3):
        process = started(child)
        process.kill()
        wait_until(lambda process=process: process.status() == psutil.STATUS_ZOMBIE, 5, "its end")
        child.check()
        assert child.process is None
        assert said[-1] == f"The daemon was killed (SIGKILL); it is started again in {2**number} s."
        child.check()
        assert child.process is None  # it is not due


def test_what_never_starts_well_is_given_up(child: Child, said: list[str]) -> None:
    child.module = ["breaks"]
    for _ in range(supervise.MOST_FALSE_STARTS):
        assert not child.is_hopeless
        child.due = 0
        child.check()
        assert child.process is not None
        child.process.wait(20)
        child.check()
    assert child.is_hopeless
    assert said[0] == "The daemon has ended (exit code 3); it is started again in 1 s."
    child.was_steady = True  # it has run for a while: what is wrong now may pass
    assert not child.is_hopeless


def test_what_has_lost_a_process_that_it_needs_is_replaced(child: Child, said: list[str]) -> None:
    first = started(child)
    child.is_sound = lambda pid: pid != first.pid
    child.check()
    assert not first.is_running()
    assert said == ["The daemon has lost a process that it needs; it is started again in 1 s."]
    assert started(child).pid != first.pid


def test_the_end_takes_all_that_they_have_started(child: Child) -> None:
    process = started(child)
    (below,) = process.children()
    supervise.end([child])
    assert not process.is_running()
    psutil.wait_procs([below], timeout=5)
    assert not below.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "stays.py").write_text(STAYS)
    text = "import os, signal, subprocess, sys, time\n"
    text += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"  # which is inherited
    text += "one = [sys.executable, '-m', 'ml_assets.ui.child', str(os.getpid()), 'stays']\n"
    text += "print(subprocess.Popen(one).pid, flush=True)\ntime.sleep(99)\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-c", text]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        below = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: (tmp_path / "up").exists(), 20, "the child")
        (other,) = below.children()
        parent.send_signal(signal.SIGKILL)
    psutil.wait_procs([below], timeout=5)
    other.kill()
    assert not below.is_running()
