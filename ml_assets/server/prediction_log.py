"""The prediction log: every answer, kept on disk before it goes out.

A process writes one segment an hour for each pipeline, `<pipeline>/<hour>/<server>-<n>.log` below the log's folder, and
holds its lock for as long as it is open. Whole lines of it can be read at any time (ml/log_records.py). A segment
whose process was killed, or whose disk was full, is never continued: another one is begun. Where closed segments are
shipped (shipping.py) there is one a minute.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import logging
import math
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from ml_assets.atomic import sync
from ml_assets.errors import LogFull, ServingError
from ml_assets.ml.log_records import HOUR, SUFFIX, as_line, is_sampled

SYNC_S = 1.0
SEGMENT_BYTES = 64 * 2**20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
log = logging.getLogger("ml_assets.server")


@dataclass(frozen=True)
class LogRules:
    """What of a request is kept, as `serving.log` of the YAML says.

    Args:
        sample: Share of the requests.
        leave_out: Columns, and features of their names, that are never written.
        required: A request whose record cannot be written is not answered.
        key: Columns of the pipeline's key. Where one is left out, keys are not written at all.
    """

    sample: float = 1.0
    leave_out: frozenset[str] = frozenset()
    required: bool = True
    key: tuple[str, ...] = ()

    def predicted(
        self,
        *,
        request_id: str,
        at: dt.datetime,
        version: str,
        role: str,
        rows: Iterable[Mapping[str, Any]],
        features: Mapping[str, Sequence[Any]],
        scores: Sequence[float],
        decisions: Sequence[str | None],
        probabilities: Sequence[Sequence[float]] | None = None,
        keys: Sequence[Any] | None = None,
        latency_ms: float | None = None,
        positions: Sequence[int] | None = None,
    ) -> bytes | None:
        """The record of what a version answered to a request; None where the sample leaves the request out.

        The arguments are those of `log_records.Predicted`.
        """
        if not is_sampled(request_id, self.sample):
            return None
        record = {
            "kind": "predict",
            "id": request_id,
            "at": at,
            "version": version,
            "role": role,
            "rows": [self._kept(row) for row in rows],
            "features": self._kept(features),
            "scores": scores,
            "decisions": decisions,
            "probabilities": probabilities,
            "keys": keys if self._has_key else None,
            "latency_ms": latency_ms,
            "positions": positions,
        }
        return msgspec.json.encode(record)

    def feedback(self, *, request_id: str, at: dt.datetime, outcomes: Sequence[Mapping[str, Any]]) -> bytes:
        """The record of outcomes that were sent back, each as `log_records.Outcome`.

        Raises:
            ServingError: An outcome names its row by a key, and keys are left out.
        """
        if not self._has_key and any(one.get("key") is not None for one in outcomes):
            raise ServingError(
                "Outcomes of this pipeline are found by the request's id only.",
                found="an outcome with a key",
                fix="Send the `id` of the answer instead: serving.log.leave_out leaves out columns of the key.",
            )
        return msgspec.json.encode({"kind": "feedback", "id": request_id, "at": at, "outcomes": outcomes})

    @property
    def _has_key(self) -> bool:
        return not self.leave_out.intersection(self.key)

    def _kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name not in self.leave_out}


def utc_now() -> dt.datetime:
    """This moment, UTC."""
    return dt.datetime.now(dt.UTC)


@dataclass
class _Segment:
    """An open segment; its lock is held until it is closed."""

    path: Path
    hour: str
    handle: int
    size: int = 0
    is_dirty: bool = False
    is_cut: bool = False
    begun: float = field(default_factory=time.monotonic)

    @classmethod
    def begin(cls, folder: Path, hour: str, name: Callable[[], str]) -> _Segment:
        """A new file. One that is removed before it is locked is begun again under another name."""
        while True:
            path = folder / hour / name()
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the folder of an hour goes with its last segment
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                fcntl.flock(handle, fcntl.LOCK_EX)
                if os.fstat(handle).st_nlink:
                    return cls(path, hour, handle)
                os.close(handle)

    def append(self, data: bytes) -> None:
        """Write all of it; after a part of it nothing is written any more."""
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self.handle, rest)
            except OSError:
                self.is_cut = len(rest) < len(data)
                raise
            self.size, self.is_dirty, rest = self.size + written, True, rest[written:]


class PredictionLog:
    """The log of one server process; any thread may write.

    Args:
        folder: The log's, of all pipelines and servers.
        server_id: Names the process in the names of its segments.
        segment_bytes: From which size on a segment is followed by another.
        now: The clock.
        segment_s: After how many seconds a segment is closed before its hour is over.
    """

    def __init__(
        self,
        folder: Path,
        server_id: str,
        segment_bytes: int = SEGMENT_BYTES,
        now: Callable[[], dt.datetime] = utc_now,
        segment_s: float = math.inf,
    ) -> None:
        self.folder, self._segment_bytes, self._now, self._segment_s = folder, segment_bytes, now, segment_s
        # A name is never used again: the graph remembers how far it has read a segment that is gone by now.
        self._name = f"{re.sub(r'[^A-Za-z0-9_.]', '_', server_id)}.{secrets.token_hex(8)}"
        self._numbers = count(1)
        self._open: dict[str, _Segment] = {}
        self._retired: list[_Segment] = []
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._sync_for_ever, name="prediction log", daemon=True)
        self._thread.start()

    def write(self, pipeline: str, records: Sequence[bytes | Mapping[str, Any]]) -> None:
        """Append records of a pipeline; they survive the process from now on, and the machine a second later.

        Raises:
            LogFull: The disk is full; none of the requests may be answered.
            OSError: It cannot be written for another reason.
        """
        if not records:
            return
        data = b"".join(map(as_line, records))
        try:
            with self._lock:
                self._segment(pipeline, len(data)).append(data)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise LogFull(
                "The answer cannot be kept in the prediction log: the disk is full.",
                found=error.strerror,
                where={"folder": self.folder / pipeline},
                fix="Free space; the server answers again by itself. `serving.log.required: false` answers without it.",
            ) from error

    def close(self) -> None:
        """Write to the disk what is open, and close it."""
        self._ended.set()
        self._thread.join()
        with self._lock:
            self._retire(list(self._open))
        self._sync()

    def _segment(self, pipeline: str, size: int) -> _Segment:
        """The pipeline's segment of this hour that has room."""
        hour, held = self._now().strftime(HOUR), self._open.get(pipeline)
        if held is not None:
            if held.hour == hour and not held.is_cut and (not held.size or held.size + size <= self._segment_bytes):
                return held
            self._retire([pipeline])
        self._open[pipeline] = begun = _Segment.begin(self.folder / pipeline, hour, self._next_name)
        return begun

    def _next_name(self) -> str:
        return f"{self._name}-{next(self._numbers)}{SUFFIX}"

    def _retire(self, pipelines: Sequence[str]) -> None:
        self._retired += [self._open.pop(pipeline) for pipeline in pipelines]

    def _sync_for_ever(self) -> None:
        while not self._ended.wait(SYNC_S):
            hour = self._now().strftime(HOUR)
            with self._lock:
                self._retire([pipeline for pipeline, held in self._open.items() if self._is_over(held, hour)])
            self._sync()

    def _is_over(self, held: _Segment, hour: str) -> bool:
        return held.hour != hour or time.monotonic() - held.begun > self._segment_s

    def _sync(self) -> None:
        """Write to the disk what is only in memory. Writers do not wait for it."""
        with self._lock:
            retired, self._retired = self._retired, []
            dirty = [segment for segment in (*self._open.values(), *retired) if segment.is_dirty]
            for segment in dirty:
                segment.is_dirty = False
        for segment in dirty:
            try:
                sync(segment.path.parent)
                os.fsync(segment.handle)
            except OSError as error:
                log.error("the prediction log may not survive a power cut: %s: %s", segment.path, error)
        for segment in retired:
            os.close(segment.handle)
