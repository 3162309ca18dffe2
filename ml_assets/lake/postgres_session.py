"""Sessions on a PostgreSQL server beside DuckDB's own: advisory locks, and small questions that sensors ask.

An advisory lock belongs to its session: the server frees it when the connection ends, however that happens, and gives
it in the order in which it was asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import errors

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.faults import is_lost_connection, is_refused, lake_error

CONNECT_S = 10  # a server that restarts is waited for so long
LONGEST_NAME = 63  # bytes of an application's name that PostgreSQL keeps
# A machine that is gone frees its locks after 30 + 3 * 10 seconds.
KEEPALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"


@dataclass(frozen=True)
class LockKey:
    """One lock: of a name, or of all names of a kind.

    Args:
        name: What is locked.
        is_shared: Several may hold it, but nobody who wants it alone.
    """

    name: str
    is_shared: bool = False

    @property
    def number(self) -> int:
        """The 64 bits that stand for the name."""
        return int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=8).digest(), "big", signed=True)


@contextlib.contextmanager
def session(address: str, name: str = "ml_assets", **options: str) -> Iterator[Any]:
    """A connection of its own, each statement a transaction; its errors are ours.

    Raises:
        LakeBusy: The server cannot be reached, or is busy; it may be a moment later.
        LakeError: It refuses the user, or the statement.
    """
    settings = " ".join([KEEPALIVE, *(f"-c {key}={value}" for key, value in options.items())])
    connection = None
    try:
        connection = _connected(address, shortened(name), settings)
        connection.autocommit = True
        yield connection
    except psycopg2.Error as error:
        raise lake_error(error, "The lake's catalog on PostgreSQL cannot be read.") from error
    finally:
        if connection is not None:
            connection.close()


def _connected(address: str, name: str, settings: str) -> Any:
    until = time.monotonic() + CONNECT_S
    while True:
        try:
            return psycopg2.connect(address, connect_timeout=CONNECT_S, application_name=name, options=settings)
        except psycopg2.ProgrammingError as error:
            raise refused(address) from error
        except psycopg2.OperationalError as error:
            if is_refused(error) or time.monotonic() > until:
                raise
            time.sleep(0.1)


def rows(connection: Any, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


@contextlib.contextmanager
def locked(address: str, keys: Sequence[LockKey], timeout_s: float, doing: str) -> Iterator[Callable[[], None]]:
    """Hold these locks, taken in their order; yields a function that fails where the server has freed them since.

    Raises:
        LakeBusy: Others held one for longer than `timeout_s`, or the server cannot be reached.
    """
    name = f"ml_assets: {doing}, process {os.getpid()} on {socket.gethostname()}"
    deadline = time.monotonic() + timeout_s
    with contextlib.ExitStack() as held:
        while True:  # a server that crashes meanwhile frees the locks that were taken
            try:
                connection = held.enter_context(session(address, name))
                for key in keys:
                    _take(connection, key, deadline, timeout_s, doing)
                break
            except psycopg2.Error as error:
                held.pop_all()
                if not is_lost_connection(error) or time.monotonic() > deadline:
                    raise lake_error(error, "A lock of the lake's catalog cannot be taken.") from error

        def check() -> None:
            try:
                rows(connection, "SELECT 1")
            except psycopg2.Error as error:
                raise LakeBusy(
                    f"The connection that held the lock of {key.name} was lost while {doing}.", found=str(error).strip()
                ) from error

        try:
            yield check
        finally:
            with contextlib.suppress(psycopg2.Error):  # a lost session holds nothing
                rows(connection, "SELECT pg_advisory_unlock_all()")  # the end of a session is noticed later


def _take(connection: Any, key: LockKey, deadline: float, timeout_s: float, doing: str) -> None:
    if not _taken(connection, key, deadline - time.monotonic()):
        raise LakeBusy(
            f"Another process has been {doing} for over {timeout_s:g} s.",
            found="; ".join(holders(connection, key)) or "unknown",
            where={"lock": key.name},
            fix="Wait for it, or end it; nothing was changed here.",
        )


def _taken(connection: Any, key: LockKey, seconds: float) -> bool:
    suffix = "_shared" if key.is_shared else ""
    if rows(connection, f"SELECT pg_try_advisory_lock{suffix}(%s)", [key.number])[0][0]:
        return True
    if seconds <= 0:
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = %s", [max(1, round(seconds * 1000))])
            cursor.execute(f"SELECT pg_advisory_lock{suffix}(%s)", [key.number])
    except errors.LockNotAvailable:
        return False
    return True


def holders(connection: Any, key: LockKey) -> list[str]:
    """Who holds a lock: the names of their sessions."""
    number = key.number & 0xFFFF_FFFF_FFFF_FFFF
    found = rows(
        connection,
        """SELECT DISTINCT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s AND l.objsubid = 1""",
        [number >> 32, number & 0xFFFF_FFFF],
    )
    return sorted(name for (name,) in found)


def shortened(name: str) -> str:
    """A name that PostgreSQL keeps whole; of a long one the end, which says who."""
    return name if len(name.encode()) <= LONGEST_NAME else name.encode()[-LONGEST_NAME:].decode(errors="ignore")


def refused(address: str) -> LakeError:
    """The error of an address that is none."""
    return LakeError(
        "The address of the lake's catalog is no PostgreSQL address.",
        found=address.partition(":")[0] + ":...",
        fix="Write postgresql://HOST:PORT/DATABASE?user=NAME, and the password as PGPASSWORD in the environment.",
    )
