"""Writers that are killed, that write side by side, and that run out of disk: no acknowledged write is lost or torn."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.torture.outcome import Outcome
from benchmarks.torture.writer import opened
from ml_assets.errors import MLAssetsError
from ml_assets.lake.lake import Commit, Lake, Put

TABLE, BATCHES, ROWS = "works.orders", 6, 5_000
MUCH = 400_000
FULL = "earlier rows stay, and the error says what to do"
PROMISE = "every acknowledged write is there once and whole"


@dataclass
class Said:
    """What writers said: batch -> stamps in the order of their acknowledgement, and those begun without one."""

    acknowledged: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    begun: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    errors: list[str] = field(default_factory=list)
    heard: threading.Event = field(default_factory=threading.Event)
    acked: threading.Event = field(default_factory=threading.Event)

    def listen(self, process: subprocess.Popen[str]) -> None:
        """Read a writer's lines to their end."""
        assert process.stdout
        assert process.stderr
        with process.stdout, process.stderr:
            for line in process.stdout:
                self.heard.set()
                word, batch, stamp = line.split()
                if word == "ack":
                    self.acknowledged[batch].append(int(stamp))
                    self.acked.set()
                else:
                    self.begun[batch].add(int(stamp))
            self.errors.append(process.stderr.read().strip())

    @property
    def writes(self) -> int:
        """Acknowledged writes."""
        return sum(len(stamps) for stamps in self.acknowledged.values())


def started(lake: Path, seed: int, rows: int = ROWS, stamps: int | None = None) -> subprocess.Popen[str]:
    """A writer in a process of its own."""
    arguments = [str(lake), TABLE, str(BATCHES), str(rows), str(seed), *([str(stamps)] if stamps else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.torture.writer", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_writers(folder: Path, seed: int, times: int) -> Outcome:
    """kill -9 of a writer at a random moment, many times; the lake is compared after each kill.

    Every second one is killed after its first acknowledged write, the others while they connect or write first.
    """
    outcome, numbers = Outcome("kill -9 of a writer at a random moment", PROMISE), random.Random(seed)
    said, lake = Said(), folder / "lake"
    for number in range(times):
        process = started(lake, seed + number)
        for event in (said.heard, said.acked):
            event.clear()
        listener = threading.Thread(target=said.listen, args=(process,))
        listener.start()
        (said.acked if number % 2 else said.heard).wait(60)  # until it is heard, it imports
        time.sleep(numbers.random() * 0.8)
        process.kill()
        process.wait()
        listener.join()
        outcome.expect(*_as_said(lake, said, ROWS))
    outcome.notes = f"{said.writes} acknowledged writes"
    return outcome


def parallel_writers(folder: Path, seed: int, writers: int, stamps: int) -> Outcome:
    """Several processes overwrite batches of one table side by side, and each of them must get through."""
    outcome, said, lake = Outcome(f"{writers} processes that write side by side", PROMISE), Said(), folder / "lake"
    processes = [started(lake, seed + number, stamps=stamps) for number in range(writers)]
    listeners = [threading.Thread(target=said.listen, args=(process,)) for process in processes]
    for listener in listeners:
        listener.start()
    for listener in listeners:
        listener.join(300)
    for process in processes:
        process.kill()
        outcome.expect(process.wait() == 0, f"a writer ended with {process.returncode}: {said.errors}")
    holds, otherwise = _as_said(lake, said, ROWS, any_order=True)
    outcome.expect(holds and said.writes == writers * stamps, otherwise or f"{said.writes} writes were acknowledged")
    outcome.notes = f"{said.writes} acknowledged writes"
    return outcome


def _as_said(lake: Path, said: Said, rows: int, any_order: bool = False) -> tuple[bool, str]:
    """Is each batch whole, and its last acknowledged write, or one that was begun after it?"""
    with opened(lake, read_only=True) as read:
        if not read.catalog.exists():
            return not said.writes, "the catalog is gone"
        found = (
            read.rows(
                f"""SELECT batch, count(*) AS rows, count(DISTINCT row_id) AS ids, min(stamp) AS first,
                max(stamp) AS last FROM lake.{TABLE} GROUP BY batch"""
            )
            if read.exists(TABLE)
            else []
        )
    stored = {row["batch"]: row for row in found}
    for batch, stamps in said.acknowledged.items():
        problem = _problem(stored.get(batch), stamps, said.begun[batch], rows, any_order)
        if problem:
            return False, f"batch {batch}: {problem}"
    return True, ""


def _problem(
    row: Mapping[str, int] | None, stamps: list[int], begun: set[int], rows: int, any_order: bool
) -> str | None:
    if row is None:
        return "lost"
    if row["rows"] != rows or row["ids"] != rows:
        return f"{row['rows']} rows, {row['ids']} of them different, in place of {rows}"
    if row["first"] != row["last"]:
        return "torn: rows of two writes"
    in_doubt = begun - set(stamps)
    allowed = {*stamps, *in_doubt} if any_order else {stamps[-1], *in_doubt}
    if row["last"] not in allowed:
        return f"holds write {row['last']}, and {stamps[-1]} was acknowledged last"
    if not any_order and row["last"] != stamps[-1] and row["last"] in in_doubt:
        stamps.append(row["last"])  # it was committed, and the kill came before the acknowledgement
    return None


def file_limit(folder: Path, times: int) -> Outcome:
    """A file may not grow any further in the middle of a write: nothing is lost, and the error helps."""
    outcome = Outcome("no file may grow any further in the middle of a write", FULL)
    lake = folder / "lake"
    _prepare(lake)
    for number in range(times):
        room = 60_000 * (number + 1)
        _attempt(outcome, lake, partial(resource.setrlimit, resource.RLIMIT_FSIZE, (room, room)))
    _afterwards(outcome, lake)
    return outcome


def full_disk(folder: Path, times: int) -> Outcome:
    """A small disk of its own is filled up to some rest before each write. Only root may mount one."""
    outcome = Outcome("a full disk in the middle of a write", FULL)
    if os.geteuid() != 0 or sys.platform != "linux":
        outcome.notes = "not tried: mounting a small disk needs root"
        return outcome
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=True)
    try:
        _prepare(disk / "lake")
        for number in range(times):
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - 40_000 * number * number)))
            _attempt(outcome, disk / "lake")
            ballast.unlink()
        _afterwards(outcome, disk / "lake")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return outcome


def _prepare(lake: Path) -> None:
    with Lake(lake) as opened:
        _write(opened, "0", 1, 2_000)


def _attempt(outcome: Outcome, lake: Path, limit: Callable[[], None] | None = None) -> None:
    """A large write in a process of its own: it is done, or refused in words, and the rows are those of one write."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.torture.writers", str(lake)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    with Lake(lake, read_only=True) as opened:
        row = opened.rows(f"SELECT count(*) AS rows, max(stamp) AS stamp FROM lake.{TABLE} WHERE batch = '0'")[0]
    done = process.stdout.startswith("written")
    whole = row["rows"] == (MUCH if done or row["rows"] == MUCH else 2_000)
    helpful = done or ("Traceback" not in process.stderr and "space" in process.stdout)
    outcome.expect(whole and helpful, f"{row}; {process.stdout}{process.stderr[-300:]}")
    if row["rows"] == MUCH:
        _prepare(lake)


def _afterwards(outcome: Outcome, lake: Path) -> None:
    with Lake(lake) as opened:
        _write(opened, "0", 2, 3_000)
        outcome.expect(opened.count(TABLE, "0") == 3_000, "the lake cannot be written once there is space")


def _write(lake: Lake, batch: str, stamp: int, rows: int) -> None:
    lake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE new_rows AS SELECT '{batch}' AS batch, range AS row_id, {stamp} AS stamp, "
        f"md5(range::VARCHAR) AS noise FROM range({rows})"
    )
    lake.replace([Put(TABLE, "new_rows", batch)], Commit("works/orders", batch=batch))


def _write_much() -> None:
    """What `_attempt` starts: one large write, whose error is printed."""
    try:
        with Lake(Path(sys.argv[1])) as lake:
            _write(lake, "0", 9, MUCH)
        print("written")
    except MLAssetsError as error:
        print(error)


if __name__ == "__main__":
    _write_much()
