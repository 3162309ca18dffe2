"""The log of a server process: what was acknowledged is there, once, whatever happens to the process or the disk."""

import contextlib
import datetime as dt
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.errors import ServingError
from ml_assets.ml.log_records import Feedback, Predicted, as_line, lines
from ml_assets.server.prediction_log import LogRules, PredictionLog

NOON = dt.datetime(2026, 1, 2, 12, 59, tzinfo=dt.UTC)
WRITER = """
    import sys
    from pathlib import Path
    from ml_assets.server.prediction_log import PredictionLog
    log, number = PredictionLog(Path(sys.argv[1]), "kill.me", segment_bytes=20_000), 0
    while True:
        log.write("loans", [{"kind": "feedback", "id": str(number), "at": "2026-01-02T12:00:00Z", "outcomes": []}])
        print(number, flush=True)
        number += 1
"""


def feedback(name: object) -> dict[str, object]:
    return {"kind": "feedback", "id": str(name), "at": NOON, "outcomes": []}


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.log"), key=lambda path: (path.parent.name, path.stat().st_ino))


def ids(folder: Path) -> list[str]:
    records = [line.record for path in segments(folder) for line in lines(path.read_bytes())]
    assert all(isinstance(record, Feedback) for record in records)
    return [record.id for record in records if record is not None]


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    with contextlib.closing(PredictionLog(tmp_path, "server/1")) as made:
        yield made


def test_a_record_can_be_read_once_write_has_returned(log: PredictionLog, tmp_path: Path) -> None:
    log.write("loans", [feedback(0), feedback(1)])
    log.write("flights", [feedback(2)])
    log.write("flights", [])
    assert sorted(ids(tmp_path)) == ["0", "1", "2"]
    (loans,) = (tmp_path / "loans").rglob("*.log")
    assert loans.name.startswith("server_1.")
    assert dt.datetime.strptime(loans.parent.name, "%Y-%m-%dT%H").minute == 0
    assert is_locked(loans)


def test_closing_frees_the_segments(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "a")
    log.write("loans", [feedback(0)])
    log.close()
    assert [is_locked(path) for path in segments(tmp_path)] == [False]


def test_another_hour_and_a_full_segment_begin_another(tmp_path: Path) -> None:
    clock = [NOON]
    log = PredictionLog(tmp_path, "a", segment_bytes=250, now=lambda: clock[0])
    for number in range(4):
        log.write("loans", [feedback(number)])
    clock[0] += dt.timedelta(minutes=1)
    log.write("loans", [feedback(4)])
    found = [path.relative_to(tmp_path / "loans") for path in segments(tmp_path)]
    assert [str(path.parent) for path in found] == ["2026-01-02T12", "2026-01-02T12", "2026-01-02T13"]
    assert ids(tmp_path) == ["0", "1", "2", "3", "4"]
    log.close()


def test_an_idle_segment_is_freed_when_its_hour_is_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ml_assets.server.prediction_log.SYNC_S", 0.01)
    clock = [NOON]
    with contextlib.closing(PredictionLog(tmp_path, "a", now=lambda: clock[0])) as log:
        log.write("loans", [feedback(0)])
        (path,) = segments(tmp_path)
        assert is_locked(path)
        clock[0] += dt.timedelta(hours=1)
        deadline = time.monotonic() + 5
        while is_locked(path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_locked(path)


def test_two_servers_and_a_restarted_one_write_files_of_their_own(tmp_path: Path) -> None:
    logs = [PredictionLog(tmp_path, name, now=lambda: NOON) for name in ("a", "b", "a")]
    for number, log in enumerate(logs * 3):
        log.write("loans", [feedback(number)])
    assert len(segments(tmp_path)) == 3
    assert sorted(ids(tmp_path)) == [str(number) for number in range(9)]
    for log in logs:
        log.close()


def test_a_segment_that_was_removed_before_it_was_locked_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    removed = []

    def lock(handle: int, _: int) -> None:
        if not removed:
            (path,) = segments(tmp_path)
            removed.append(path)
            path.unlink()
            path.parent.rmdir()

    monkeypatch.setattr("ml_assets.server.prediction_log.fcntl.flock", lock)
    with contextlib.closing(PredictionLog(tmp_path, "a")) as log:
        log.write("loans", [feedback(0)])
    assert removed
    assert ids(tmp_path) == ["0"]


def test_killed_at_any_moment_it_has_every_acknowledged_record_once(tmp_path: Path) -> None:
    for seconds in (0.05, 0.1, 0.2):
        folder = tmp_path / str(seconds)
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = [int(text) for text in (first + process.stdout.read()).split(b"\n")[:-1]]
        process.stdout.close()
        process.wait()
        logged = [int(name) for name in ids(folder)]
        assert sorted(logged) == list(range(len(logged)))
        assert acknowledged[-1] + 1 <= len(logged) <= acknowledged[-1] + 2, "at most one was not acknowledged"
        assert len(segments(folder)) > 1
        assert not any(is_locked(path) for path in segments(folder))


def test_a_full_disk_is_said_and_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import resource
        from pathlib import Path
        from ml_assets.errors import LogFull
        from ml_assets.server.prediction_log import PredictionLog
        log, number = PredictionLog(Path({str(tmp_path)!r}), "a"), 0
        def write(name):
            log.write("loans", [{{"kind": "feedback", "id": str(name), "at": "2026-01-02T12:00:00Z", "outcomes": []}}])
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 1_000_000))
        write(0), write(1)
        for _ in range(2):
            try:
                write("lost")
            except LogFull as error:
                print("the disk is full" in str(error), "Free space" in error.fix)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1_000_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        write(2)
        log.close()
    """)
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.stdout.split() == ["True"] * 4, shown.stderr
    assert ids(tmp_path) == ["0", "1", "2"]


def answered(rules: LogRules, request_id: str = "r1") -> bytes | None:
    return rules.predicted(
        request_id=request_id,
        at=NOON,
        version="1.0.0",
        role="champion",
        rows=[{"name": "Jo", "income": 1.5}],
        features={"income": [1.5], "name": ["Jo"], "wealth": [2.0]},
        scores=[0.5],
        decisions=["1"],
        keys=["Jo"],
        latency_ms=1.25,
    )


def test_what_is_left_out_is_nowhere_in_the_record() -> None:
    record = answered(LogRules(leave_out=frozenset({"name"}), key=("name",)))
    assert record is not None
    assert b"Jo" not in record
    (line,) = lines(as_line(record))
    assert isinstance(line.record, Predicted)
    assert (set(line.record.features), bytes(line.record.rows[0]), line.record.keys) == (
        {"income", "wealth"},
        b'{"income":1.5}',
        None,
    )
    whole = answered(LogRules(key=("name",)))
    assert whole is not None
    assert whole.count(b"Jo") == 3


def test_a_request_outside_the_sample_has_no_record() -> None:
    kept = [answered(LogRules(sample=0.5), f"r{number}") is not None for number in range(100)]
    assert 30 < sum(kept) < 70


def test_outcomes_by_a_key_that_is_left_out_are_refused() -> None:
    rules = LogRules(leave_out=frozenset({"name"}), key=("name",))
    by_key = [{"key": {"name": "Jo"}, "values": {"paid": True}}]
    with pytest.raises(ServingError, match="request's id only"):
        rules.feedback(request_id="f1", at=NOON, outcomes=by_key)
    by_id = {"id": "r1", "values": {"paid": True}}
    assert b'"paid":true' in rules.feedback(request_id="f1", at=NOON, outcomes=[by_id])
    assert b"Jo" in LogRules(key=("name",)).feedback(request_id="f1", at=NOON, outcomes=by_key)
