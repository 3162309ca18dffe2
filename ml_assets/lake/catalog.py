"""What the engine asks of the place where DuckLake keeps what it knows: the catalog.

Two implementations: `SqliteCatalog` (sqlite.py), a file, and `PostgresCatalog` (postgres.py), a database server. Both
pass the tests of `ml_assets_tests/lake/catalog_contract.py`, as every further one must. Nothing outside a catalog's own
module may count on a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb

from ml_assets.lake.attached import Attached, keep, let_go
from ml_assets.lake.storage import Storage


@dataclass(frozen=True)
class Connection:
    """A connection to the lake, and the database in memory that it alone uses.

    Args:
        con: The connection; the lake is attached as `lake`.
        database: Where the extensions are loaded and the lake is attached.
        identity: What tells this catalog from one that is put in its place later.
        key: What is attached, and how, where the next one who asks for the same may have it so.
        earlier: What was taken for it.
    """

    con: duckdb.DuckDBPyConnection
    database: duckdb.DuckDBPyConnection
    identity: object = None
    key: Hashable = None
    earlier: Attached | None = None

    def close(self) -> None:
        """Close it; its database waits for the next one. Temporary tables and variables end with the connection."""
        self.con.close()
        if self.key is not None:
            with contextlib.suppress(duckdb.Error):  # the catalog is lost or busy
                keep(self.database, self.key, self.earlier)
                return
        let_go(self.database)


class Catalog(Protocol):
    """A place for the catalog of one lake. Cheap to make, without state: the same value may be made in each process.

    Every method raises `LakeError` where it fails, and `LakeBusy` where it may succeed a moment later.
    """

    @property
    def data(self) -> Storage:
        """Where the Parquet files are; absolute, and found again from wherever the catalog was moved to."""

    def exists(self) -> bool:
        """Has anything made the lake yet?

        A catalog that is missing or empty while the lake's files are there is lost, never absent: an error that says
        how to recover it. On a server: has the database DuckLake's tables?
        """

    def create(self, timeout_s: float) -> None:
        """Make the catalog unless it exists, whole or not at all; many at once make one.

        Inlining of rows is off in it. On a server: DuckLake's tables in one transaction, under the lock.
        """

    def connect(self, read_only: bool, memory_limit: str | None, timeout_s: float) -> Connection:
        """A connection with the lake attached as `lake`; made first where there is none, unless for reading.

        A reader needs no right to write: where it has none it reads the published copy, on a server as a role that
        may only SELECT. A writer is refused where the catalog is older than something that was published from it.
        """

    def attach(self, con: duckdb.DuckDBPyConnection) -> None:
        """Attach the lake for writing, again after a transaction that failed: on a fresh connection to the catalog."""

    def ask(self, con: duckdb.DuckDBPyConnection, sql: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """Rows of a statement over DuckLake's tables that the catalog's own engine runs, as the newest commit has them.

        `con` has the lake attached. Numbers may come as text. Parameters are $1, $2, ... in the order of their first
        use, and each column has a name of its own.
        """

    def make_indexes(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make the indexes of what `ask` is asked, where they are missing; `create` and `load` have made them."""

    def is_in_place(self, connection: Connection) -> bool:
        """Is what was attached still the catalog? One that was replaced meanwhile would take writes that nobody sees.

        On a server always, as long as the connection lives.
        """

    def newest_snapshot(self, pipeline: str) -> int | None:
        """Id of the newest snapshot that a pipeline has written; None where there is none.

        In about a millisecond and without attaching the lake: sensors ask at each tick. Snapshots of maintenance that
        name no pipeline do not count, and other pipelines' do not either.
        """

    def newest_snapshots(self, after: int = -1) -> dict[str, int]:
        """Pipeline -> id of its newest snapshot, of those that have written one after `after`; as fast as for one."""

    def lock(self, name: str, timeout_s: float, doing: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lock of this name alone, among all processes and threads that use the catalog.

        Fair: it is given in the order in which it was asked for. It is free at once when its holder dies, however.
        Names are independent of each other and of the lock of writers. Not re-entrant. Where others hold it for longer
        than `timeout_s`, `LakeBusy` says what they do (`doing`) and who they are.

        On a server a connection that is lost frees it; what the context manager yields fails then with `LakeBusy`.
        """

    def write_lock(self, tables: Collection[str], timeout_s: float) -> AbstractContextManager[Callable[[], None]]:
        """The lock around a transaction that writes these tables; without tables around one that may touch all.

        Two transactions that write one table never overlap: both could find nothing to replace, and both insert. On
        SQLite it is one lock for the whole lake. On a server: one for each table, taken in the order of their names.
        """

    def is_transient(self, error: BaseException) -> bool:
        """Is a transaction that failed by this worth redoing from its BEGIN on a fresh connection?

        Whoever asks of a COMMIT that failed has asked `settle` first.
        """

    def settle(self, error: BaseException, token: str) -> int | None:
        """The snapshot that a COMMIT has made although it failed by this: only its answer was lost.

        None where nothing was committed, and nothing will be. `token` is part of the commit's `extra_info` alone.

        Raises:
            LakeError: The server does not come back, so nobody can tell.
        """

    def publish(self, timeout_s: float) -> None:
        """Let readers who may not write see the catalog as it is now: its newest commit, and never a part of one.

        What was published is never replaced by something older. Where such readers read the catalog itself, as on a
        server, there is nothing to do.
        """

    def published_snapshot(self) -> int | None:
        """Newest snapshot that readers who may not write see; None where nothing was published.

        On a server: the newest one.
        """

    def export(self, file: Path) -> bool:
        """Copy the catalog as it is at one moment into a new SQLite file; False where there is none.

        The copy is marked as one, so that nobody writes by it. Readers and writers go on meanwhile: that a writer
        commits during the copy changes nothing in it. Whoever wants no later commit to exist holds the lock of writers.
        """

    def load(self, file: Path, is_recovery: bool = False) -> list[Path]:
        """Put a copy of a catalog in this one's place, whole or not at all; the caller holds the lock of writers.

        With `is_recovery` maintenance never removes data files that are older than now. Returns what was in its place,
        under its new names; a database keeps nothing.
        """
