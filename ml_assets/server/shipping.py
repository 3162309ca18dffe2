"""The prediction log on its way to pipelines on other machines.

A server writes its log to a folder of its own, as always (prediction_log.py). What is closed there, by this process or
by one that was killed, is put where pipelines read it under the name that it has, which no other segment ever gets,
and removed here afterwards. So a segment that is put twice, because a process was killed in between, is the same one;
and while the place cannot be reached the log stays here, and answers go on.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import threading
from pathlib import Path

from ml_assets.lake.artifacts import Artifacts
from ml_assets.ml.log_records import SUFFIX

CHECK_S = 5.0
LONGEST_S = 300.0  # between two attempts while the place cannot be reached
END_S = 10.0  # for what is left when the process ends; another one on the folder ships the rest
log = logging.getLogger("ml_assets.server")


class Shipper:
    """Ships the closed segments of a folder until it is closed; several processes may share the folder.

    Args:
        folder: The log's, of all pipelines and servers of this machine.
        store: Where pipelines read it.
    """

    def __init__(self, folder: Path, store: Artifacts) -> None:
        self._folder, self._store = folder, store
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ship_for_ever, name="shipping of the log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ship what is left; whoever writes the log has closed it before."""
        self._ended.set()
        self._thread.join(END_S)

    def _ship_for_ever(self) -> None:
        wait_s = CHECK_S
        while not self._ended.wait(wait_s):
            wait_s = CHECK_S if self._has_shipped() else min(2 * wait_s, LONGEST_S)
        self._has_shipped()

    def _has_shipped(self) -> bool:
        try:
            ship(self._folder, self._store)
        except Exception as error:  # whatever a store may raise: the log stays here
            log.error("the prediction log was not shipped; it stays in %s and is tried again: %s", self._folder, error)
            return False
        return True


def ship(folder: Path, store: Artifacts) -> int:
    """Put all closed segments of a folder into a store, and remove them here; returns how many.

    Raises:
        LakeError: The store cannot be reached or written; what was not put is still here.
        OSError: The folder cannot be read or written.
    """
    return sum(_shipped(file, folder, store) for file in sorted(folder.glob(f"*/*/*{SUFFIX}")))


def _shipped(file: Path, folder: Path, store: Artifacts) -> bool:
    """Ship one segment; False where a process writes it, or another one has shipped it."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(opened.fileno()).st_nlink:
            return False
        if os.fstat(opened.fileno()).st_size:
            with store.put(file.relative_to(folder).as_posix()) as new:
                _give(file, new)
        file.unlink()
        with contextlib.suppress(OSError):  # other segments are there
            file.parent.rmdir()
        return True
    return False


def _give(file: Path, new: Path) -> None:
    """The file under a second name: a copy would need room on a disk that may be full."""
    try:
        os.link(file, new)
    except OSError:  # on another disk
        shutil.copyfile(file, new)
