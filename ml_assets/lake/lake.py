"""The lake: DuckLake tables, and the one way to write them.

Belongs here: atomic writes by one writer at a time. Does not: reading (reader.py), where the catalog is kept
(catalog.py), what the tables mean (tables/), or which models exist.

A write computes before it takes the lock and holds the lock for its transaction only. Readers are never blocked.
Why a lock of our own: DuckLake does not retry SQLite's "database is locked", and without a lock parallel writers
lose commits; two first writes of one batch would both commit on PostgreSQL (docs/reference/lake.md).
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from ml_assets.errors import LakeBusy, LakeError, MLAssetsError
from ml_assets.lake import comments, damaged_files, faults, puts
from ml_assets.lake.evolution import WIDENS as WIDENS
from ml_assets.lake.faults import lake_error
from ml_assets.lake.reader import Reader
from ml_assets.lake.sql import at as at
from ml_assets.lake.sql import literal
from ml_assets.lake.writes import Commit as Commit
from ml_assets.lake.writes import Put as Put
from ml_assets.lake.writes import Rows as Rows
from ml_assets.lake.writes import Written as Written
from ml_assets.lake.writes import stored_type as stored_type

MAX_RETRIES = 8
log = logging.getLogger("ml_assets.lake")


@dataclass
class Lake(Reader):
    """One connection to the lake. Not for sharing between threads: give each its own.

    Its arguments are those of `Reader`. What its methods raise are errors of `MLAssetsError`, and `LakeBusy` where the
    same may succeed a moment later. `con` and the relation of `table` are DuckDB's own, and raise DuckDB's errors.
    """

    _wrote: bool = False
    _values: int = 0
    _commented: puts.Commented = field(default_factory=dict, repr=False)

    def close(self) -> None:
        """Close the connection and, after a write, publish a copy of the catalog for readers who may not write.

        A copy that fails changes nothing in what was written: it is logged, and made after the next write.
        """
        self.refresh()
        connection, self._connection = self._connection, None
        self._commented.clear()
        if connection is not None:
            connection.close()
        if self._wrote:
            try:
                self.publish()
            except LakeError as error:
                log.warning("Everything is written, but readers of the published catalog do not see it yet. %s", error)

    def release_memory(self) -> None:
        """Return the memory that DuckDB keeps for its next query to the system: setting its limit does that."""
        if self._connection is not None and self.memory_limit:
            with self._reading():
                self._connection.con.execute(f"SET memory_limit = {literal(self.memory_limit)}")

    def publish(self) -> None:
        """Publish a copy of the catalog as it is now.

        Raises:
            LakeError: The disk is full, or the published copy is newer.
        """
        self._wrote = False
        self.catalog.publish(self.lock_timeout_s)

    def __enter__(self) -> Lake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def data_version(self, put: Put) -> str:
        """The hash of schema and rows that a write would have."""
        with self._computing():
            return puts.data_version(self.con, put, puts.normalised(self.con, put))

    def replace(
        self, tables: Sequence[Put], commit: Commit, before_commit: Callable[[], None] | None = None, sized: bool = True
    ) -> list[Written]:
        """Write several tables in one snapshot: all of it becomes visible at once, or nothing.

        Rows whose data file is lost or cannot be read are replaced, too: the file is taken off the table's list.

        Args:
            tables: What is written.
            commit: Who writes.
            before_commit: Called when all rows are written; what it raises undoes the write.
            sized: Ask the catalog for the bytes of the new files; otherwise they are 0.

        Raises:
            SchemaChange: A column cannot be stored in the existing table without loss.
            LakeBusy: Another process kept the lock for longer than `lock_timeout_s`.
            SourceError: A value fits no type that the lake has, or DuckDB cannot compute the rows.
            LakeError: The disk is full, or the catalog cannot be written.
        """
        with self._computing(), self.one_snapshot():
            sources = [puts.normalised(self.con, put) for put in tables]
            versions = [puts.data_version(self.con, *pair) for pair in zip(tables, sources, strict=True)]
        rows: dict[str, int] = {}

        unreadable: set[str] = set()  # tables whose rows to be replaced cannot be found by reading them

        def work() -> None:
            for put, source in zip(tables, sources, strict=True):
                is_readable = put.table not in unreadable
                rows[put.table] = puts.write(
                    self.con, put, source, self._commented, is_readable, self._files().may_have
                )
            if not any(rows.values()):
                comments.write_again(self.con, tables[0])
            if before_commit:
                before_commit()

        facts = {
            "data_versions": {put.table: version for put, version in zip(tables, versions, strict=True)},
            "rows": rows,
        }

        def after(snapshot: int) -> None:
            for put in tables:
                if put.table in unreadable and put.batch is not None:
                    damaged_files.end(self.con, put.table, put.batch, snapshot)

        while True:
            try:
                written, retries = self._transaction(work, commit, facts, after, [put.table for put in tables])
                break
            except damaged_files.Unreadable as found:  # each table once: the next time it is not read
                unreadable.add(found.table)
        sizes = self._written_bytes(written) if sized else {}
        return [
            Written(put.table, written, rows[put.table], sizes.get(put.table, 0), version, retries)
            for put, version in zip(tables, versions, strict=True)
        ]

    def _written_bytes(self, snapshot: int) -> dict[str, int]:
        """Table -> bytes that a write has added. It is done: a catalog that is away for a moment is asked again."""
        retries = 0
        while True:
            try:
                if retries:
                    self._reattach()
                return self._files(snapshot).written_bytes()
            except duckdb.Error as error:
                if not self._may_retry(error, retries):
                    raise lake_error(error, "The lake cannot be read.", self.folder) from error
            retries += 1

    def append(self, tables: Sequence[Rows], commit: Commit) -> list[Written]:
        """Add rows to tables that grow, all in one snapshot, not `sized`. A table is created at its first use."""
        filled = [
            Put(
                one.table,
                self.values(one.types, one.rows),
                append=True,
                key=one.key,
                renamed=one.renamed,
                description=one.description,
                column_descriptions=one.column_descriptions,
            )
            for one in tables
        ]
        return self.replace(filled, commit, sized=False)

    def maintain(self, work: Callable[[], list[tuple[Any, ...]]], commit: Commit) -> list[tuple[Any, ...]]:
        """Run statements that fill no table, such as DuckLake's maintenance, under the lock and in one transaction.

        Returns what `work` returns. Where nothing changes, no snapshot is made.
        """
        done: list[tuple[Any, ...]] = []

        def once() -> None:
            done[:] = work()

        self._transaction(once, commit)
        return done

    def values(self, types: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> str:
        """A temporary table of these rows; returns its name.

        Args:
            types: Column name -> SQL type.
            rows: One mapping a row; a missing key is NULL. Dictionaries are stored as JSON.
        """
        self._values += 1
        name = f"values_{self._values}"
        with self._computing():
            puts.fill(self.con, name, types, rows)
        return name

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """Errors of DuckDB in rows that are to be written as ours: a fault of the rows, unless the machine fails."""
        try:
            yield
        except duckdb.Error as error:
            if faults.stops_all(error):
                raise lake_error(error, "Rows for the lake cannot be computed.", self.folder) from error
            raise faults.explained(error) from error

    def _transaction(
        self,
        work: Callable[[], None],
        commit: Commit,
        facts: Mapping[str, object] | None = None,
        after: Callable[[int], None] | None = None,
        tables: Collection[str] = (),
    ) -> tuple[int, int]:
        """Run `work` in a transaction under the lock, then `after` on its snapshot; returns that and the retries."""
        if self.read_only:
            raise LakeError("This lake was opened read-only.", fix="Write through a materialization.")
        _ = self.con  # where it is opened now, that makes the catalog, under the same lock
        self.refresh()
        retries = 0
        while True:
            with self.catalog.write_lock(tables, self.lock_timeout_s) as check_lock:
                self._check_catalog(commit)
                try:
                    if retries:
                        self._reattach()
                    written = self._commit(work, commit, facts or {}, tables, check_lock)
                except (duckdb.Error, LakeBusy) as error:
                    failed = error
                else:
                    if after is not None:
                        after(written)
                    return written, retries
            if not self._may_retry(failed, retries):
                raise self._write_error(failed, commit) from failed
            retries += 1

    def _may_retry(self, error: duckdb.Error | LakeBusy, retries: int) -> bool:
        """Wait, longer each time; False at once where the same would fail again, or has been tried often enough."""
        if retries == MAX_RETRIES or not (isinstance(error, LakeBusy) or self.catalog.is_transient(error)):
            return False
        time.sleep(0.1 * 2**retries * (0.5 + random.random()))  # noqa: S311 - jitter, not a secret
        return True

    def _commit(
        self,
        work: Callable[[], None],
        commit: Commit,
        facts: Mapping[str, object],
        tables: Collection[str],
        check_lock: Callable[[], None],
    ) -> int:
        """Commit `work`; returns the snapshot id, 0 where nothing changed."""
        token = uuid.uuid4().hex
        who = {"run_id": commit.run_id, "batch": commit.batch, "code_version": commit.code_version, "commit": token}
        began, is_made = time.time(), False
        self.con.execute("BEGIN")
        self._is_writing = True
        try:
            work()
            extra = json.dumps({**who, **facts, **commit.note})
            self.con.execute("CALL lake.set_commit_message(?, ?, extra_info => ?)", ["ml_assets", commit.asset, extra])
            check_lock()
            is_made = True
            self.con.execute("COMMIT")
        except BaseException as error:
            self._commented.clear()
            with contextlib.suppress(duckdb.Error):  # a commit that failed has rolled back
                self.con.execute("ROLLBACK")
            if not is_made:  # whether a commit that failed is in the catalog, only the catalog can tell
                damaged_files.remove_since(self.catalog.data, began, tables)
            written = self.catalog.settle(error, token) if is_made and isinstance(error, duckdb.Error) else None
            if written is None:
                raise
            self._reattach()
        else:  # maintenance that finds nothing to do makes no snapshot
            written = int(self.fetch("FROM ducklake_last_committed_snapshot('lake')")[0][0] or 0)
        finally:
            self._is_writing = False
        self._wrote = True
        return written

    def _check_catalog(self, commit: Commit) -> None:
        """Refuse to write into a catalog that was removed or replaced since it was opened: nobody would ever see it."""
        if self._connection is None or not self.catalog.is_in_place(self._connection):
            raise LakeError(
                "A write to the lake failed: its catalog was removed or replaced since it was opened.",
                where={"asset": commit.asset, "batch": commit.batch, "lake": self.folder},
                fix="Nothing was changed. Run the same command again.",
            )

    def _reattach(self) -> None:
        """A fresh catalog connection; temporary tables live on."""
        self.con.execute("DETACH DATABASE IF EXISTS lake")
        self.catalog.attach(self.con)

    def _write_error(self, error: duckdb.Error | LakeBusy, commit: Commit) -> MLAssetsError:
        if isinstance(error, LakeBusy):
            return error
        found = lake_error(
            error, "A write to the lake failed.", self.folder, asset=commit.asset, batch=commit.batch, lake=self.folder
        )
        found.fix = f"Nothing was changed. {found.fix}"
        return found
