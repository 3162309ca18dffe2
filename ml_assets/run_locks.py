"""Does the process of a run on another machine still live? A lock at Dagster's PostgreSQL database says it.

Its session lasts as long as the process: the server frees the lock a minute after a machine is gone. What only this
machine knows of its own processes is in liveness.py. The driver is imported only where there is such a database.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

from ml_assets.errors import LakeError

TAKE_S = 10.0
CHECK_S = 5.0
LOCK = "ml_assets.run"


@contextlib.contextmanager
def holding(address: str | None, run_id: str) -> Iterator[bool]:
    """Hold the lock of a run while the block runs; it is taken again when its connection was lost.

    Args:
        address: Of Dagster's database; None where that is no server.
        run_id: The run.

    Yields:
        Is it held? Where not, the lock tells nothing of this run.
    """
    taken, ended = threading.Event(), threading.Event()
    if address is None:
        yield False
        return
    holder = threading.Thread(target=_hold, args=(address, run_id, taken, ended), name="lock of the run", daemon=True)
    holder.start()
    try:
        yield taken.wait(TAKE_S)
    finally:
        ended.set()
        holder.join(CHECK_S)


def is_held(address: str, run_id: str) -> bool:
    """Does any process hold the lock of a run?

    Raises:
        LakeError: The database cannot say.
    """
    from ml_assets.lake.postgres_session import LockKey, holders, session

    with session(address) as connection:
        return bool(holders(connection, LockKey(f"{LOCK}.{run_id}")))


def _hold(address: str, run_id: str, taken: threading.Event, ended: threading.Event) -> None:
    import psycopg2

    from ml_assets.lake.postgres_session import LockKey, rows, session

    name = f"ml_assets: a run, process {os.getpid()} on {socket.gethostname()}"
    while not ended.is_set():
        with contextlib.suppress(LakeError, psycopg2.Error), session(address, name) as connection:
            rows(connection, "SELECT pg_advisory_lock_shared(%s)", [LockKey(f"{LOCK}.{run_id}").number])
            taken.set()
            while not ended.wait(CHECK_S):
                rows(connection, "SELECT 1")
        ended.wait(1)
