"""Reading the lake: its tables, as of one snapshot where that is asked for.

Belongs here: connections, and what is read. Does not: writing (lake.py), and what the catalog says of files
(data_files.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb

from ml_assets.errors import LakeError
from ml_assets.lake import damaged_files, data_files
from ml_assets.lake.catalog import Catalog, Connection
from ml_assets.lake.data_files import MOST_FILES
from ml_assets.lake.faults import cause, lake_error
from ml_assets.lake.paths import Paths
from ml_assets.lake.shape import columns_of, no_such_table, table_columns, table_exists
from ml_assets.lake.sql import at, identifier, literal, table
from ml_assets.lake.sqlite import SqliteCatalog

T = TypeVar("T")


@dataclass
class Reader:
    """One connection to the lake, and what is read by it; `Lake` is one that writes too.

    Args:
        folder: The lake's folder: of the Parquet files, and by default of a SQLite catalog.
        read_only: Refuse every write; falls back to the published catalog where this user may not write the folder.
        memory_limit: DuckDB's memory limit, such as `2GiB`; beyond it spills to disk.
        lock_timeout_s: Seconds to wait for another writer.
        catalog: Where DuckLake keeps what it knows, if not in the folder.
    """

    folder: Path
    read_only: bool = False
    memory_limit: str | None = None
    lock_timeout_s: float = 300
    catalog: Catalog = field(default=None, repr=False)  # type: ignore[assignment] # set below, from the folder
    _connection: Connection | None = field(default=None, repr=False)
    _is_in_snapshot: bool = field(default=False, repr=False)
    _is_writing: bool = field(default=False, repr=False)
    _found: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.catalog is None:
            self.catalog = SqliteCatalog(self.folder)

    @classmethod
    def of(cls, paths: Paths, **options: Any) -> Self:
        """The lake of a project, wherever its catalog is; options as of the class."""
        return cls(paths.lake, catalog=paths.catalog, **options)

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB connection, opened at its first use; the lake is attached as `lake`."""
        if self._connection is None:
            self._connection = self.catalog.connect(self.read_only, self.memory_limit, self.lock_timeout_s)
        return self._connection.con

    @contextlib.contextmanager
    def _reading(self, name: str = "") -> Iterator[None]:
        """Errors of DuckDB as ours, with their cause."""
        try:
            yield
        except duckdb.Error as error:
            self.refresh()
            raise lake_error(error, f"{name or 'The lake'} cannot be read.", self.folder, table=name) from error

    @contextlib.contextmanager
    def one_snapshot(self) -> Iterator[Self]:
        """Rows that are read within are of one snapshot, and each read costs less: DuckLake looks for it once.

        It ends early with a write, or with a read that fails. Within another one, or a write,
        nothing changes. What is read from the catalog alone, such as `batches`, may be newer.
        """
        if self._is_in_snapshot or self._is_writing:
            yield self
            return
        with self._reading():
            self.con.execute("BEGIN")
        self._is_in_snapshot = True
        try:
            yield self
        finally:
            self.refresh()

    def refresh(self) -> None:
        """End `one_snapshot`: what is read next is of the newest one. After an error nothing could be read within."""
        if self._is_in_snapshot and self._connection is not None:
            with contextlib.suppress(duckdb.Error):  # a transaction that failed has nothing to commit
                self._connection.con.execute("COMMIT")
        self._is_in_snapshot = False
        self._found.clear()

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` returns; within `one_snapshot` it is called once a key, as the lake stays the same."""
        if not self._is_in_snapshot:
            return read()
        if key not in self._found:
            self._found[key] = read()
        found: T = self._found[key]
        return found

    def fetch(
        self, sql: str, parameters: Sequence[object] | Mapping[str, object] = (), *, name: str = ""
    ) -> list[tuple[Any, ...]]:
        """Rows of a query as tuples.

        Raises:
            LakeError: It cannot be read, such as from a data file that is lost; of the table `name`, where given.
        """
        with self._reading(name):
            return self.con.execute(sql, parameters).fetchall()

    def rows(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[dict[str, Any]]:
        """Rows of a query as dictionaries.

        Raises:
            LakeError: As in `fetch`.
        """
        with self._reading():
            cursor = self.con.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def rows_of(
        self, name: str, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> list[dict[str, Any]]:
        """Rows of a query over one table, which it calls {t}; none where there is no such table yet."""
        with self.one_snapshot():
            return self.rows(sql.replace("{t}", table(name)), parameters) if self.exists(name) else []

    def table(
        self, name: str, *, batches: Sequence[str] | None = None, snapshot: int | None = None
    ) -> duckdb.DuckDBPyRelation:
        """A table of the lake, such as `flights.features`, as a DuckDB relation (`.df()`, `.arrow()`, `.fetchall()`).

        It is DuckDB's own, to be used in any way, and reads when it is used: what fails then raises DuckDB's errors.

        Args:
            name: `schema.table`.
            batches: Only the rows of these batches.
            snapshot: The table as it was at the snapshot of this id.

        Raises:
            LakeError: There is no such table or snapshot.
        """
        if name.count(".") != 1 or not self.exists(name):
            raise no_such_table(name, self.tables())
        sql = f"SELECT * FROM {table(name)}{at(snapshot)}"
        with self._reading(name):
            try:
                if batches is None:
                    return self.con.sql(sql)
                if snapshot is None:
                    return self.con.sql(f"FROM {self.relation(name, batches)}")
                return self.con.sql(f"{sql} WHERE batch IN (SELECT unnest(?))", params=[list(batches)])
            except (duckdb.InvalidInputException, duckdb.CatalogException) as error:  # it was not there yet, or expired
                if snapshot is None:
                    raise
                raise LakeError(
                    f"{name} cannot be read at snapshot {snapshot}.",
                    found=cause(error).text,
                    fix="`ml-assets lake snapshots` lists the snapshots that exist.",
                ) from error

    def tables(self) -> list[str]:
        """Names of all tables, `schema.table`, in order; read from the catalog alone."""
        with self._reading():
            return self._files().tables()

    def exists(self, name: str) -> bool:
        """Is there such a table?"""
        with self._reading(name):
            if self._is_in_snapshot or self._is_writing:
                return self.once(("exists", name), lambda: table_exists(self.con, name))
            return self._files().exists(name) or table_exists(self.con, name)

    def column_names(self, name: str, snapshot: int | None = None) -> list[str]:
        """Names of a table's columns, in order, read from the catalog alone; none where there is no such table."""
        with self._reading(name):
            if self._is_writing and snapshot is None:
                return list(table_columns(self.con, name) or ())
            return self._files(snapshot or self._read_at()).columns(name)

    def columns(self, relation: str) -> dict[str, str]:
        """Column name -> SQL type of a relation, such as `lake."flights"."features"` or a temporary table."""
        with self._reading():
            return columns_of(self.con, relation)

    def batches(self, name: str, before: str | None = None, last: int | None = None) -> list[str]:
        """Batches that have rows in a table, in order: at most the `last` of those before a batch.

        They are read from the catalog alone, so history costs nothing.
        """
        with self._reading(name):
            return self._files().batches(name, before, last)

    def rows_by_batch(self, name: str, snapshot: int | None = None) -> dict[str, int]:
        """Batch -> rows in a table, now or at a snapshot, in order; read from the catalog alone."""
        with self._reading(name):
            return self._files(snapshot).rows_by_batch(name)

    def values_by_batch(self, name: str, column: str) -> dict[str, set[str]]:
        """Batch -> the different values of a text column, read from the catalog where a file holds only one."""
        found: dict[str, set[str]] = {}
        mixed = set()
        with self._reading(name):
            for batch, low, high in self._files().values_by_batch(name, column):
                found.setdefault(batch, set()).update([low] if low is not None and low == high else [])
                mixed.update([batch] if low is None or low != high else [])
        value = identifier(column)
        sql = f"SELECT DISTINCT batch, {value} FROM {{}} WHERE {value} IS NOT NULL"
        for batch, text in self.fetch(sql.format(self.relation(name, sorted(mixed))), name=name) if mixed else ():
            found[batch].add(text)
        return found

    def files_by_batch(self, name: str) -> dict[str, str] | None:
        """Batch -> what names its files and tells its rows; None where the catalog does not tell."""
        with self._reading(name):
            return self._files(self._read_at()).files_by_batch(name)

    def commits(self, prefix: str, since: int = 0) -> list[tuple[int, str, str, str]]:
        """Id, moment, message and extra information of snapshots from one on whose message begins so, oldest first."""
        with self._reading():
            return self._files(self._read_at()).commits(prefix, since)

    def has_changed(self, name: str, since: int) -> bool:
        """Were rows of a table written after a snapshot? Errors stay DuckDB's: a write may ask, and is tried again."""
        return self._files().has_changed(name, since)

    def may_have(self, name: str, batch: str) -> bool:
        """May a table have rows of a batch? False only where the catalog knows that there are none."""
        with self._reading(name):
            return self._files().may_have(name, batch)

    def count(self, name: str, batch: str | None = None) -> int:
        """Rows of a table, or of one batch of it; 0 where there is no such table yet."""
        if batch is None and not self._is_writing:
            with self._reading(name):
                known = self._files(self._read_at()).count(name)
            if known is not None:
                return known
        with self.one_snapshot():
            if not self.exists(name):
                return 0
            relation = table(name) if batch is None else self.relation(name, [batch])
            return int(self.fetch(f"SELECT count(*) FROM {relation}", name=name)[0][0])

    def relation(self, name: str, batches: Sequence[str] | None = None, snapshot: int | None = None) -> str:
        """The rows of a table, or of some batches, as SQL for FROM; some batches cost the same however many there are.

        They are as they were at a snapshot; by default as they are now, or within `one_snapshot` as they were then.
        """
        if batches is not None and not batches:
            return f"(SELECT * FROM {table(name)} WHERE false)"
        if not self._is_writing and len(batches or ()) <= MOST_FILES:
            with self._reading(name):
                found = self._files(snapshot or self._read_at()).rows(name, batches)
            if found is not None:
                return found
        named = "" if batches is None else f" WHERE batch IN ({', '.join(map(literal, batches))})"
        return f"(SELECT * FROM {table(name)}{at(snapshot)}{named})"

    def row_ids(self, name: str, batch: str) -> tuple[int, int]:
        """How many row ids a batch of a table has, and a hash of them in any order: equal sets, equal answers."""
        with self.one_snapshot():
            if not self.exists(name):
                return 0, 0
            sql = f"SELECT count(row_id), coalesce(sum(hash(row_id)::HUGEINT), 0) FROM {self.relation(name, [batch])}"
            count, total = self.fetch(sql, name=name)[0]
            return int(count), int(total)

    def _files(self, snapshot: int | None = None) -> data_files.DataFiles:
        return data_files.DataFiles(self._ask, self.catalog.data.url, snapshot)

    def _ask(self, sql: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        return self.once(("catalog", sql, *values), lambda: self.catalog.ask(self.con, sql, values))

    def _read_at(self) -> int | None:
        """The snapshot that is read within `one_snapshot`."""
        return self.snapshot() if self._is_in_snapshot else None

    def damaged_files(self, pipeline: str) -> list[damaged_files.DamagedFile]:
        """Data files of a pipeline that are lost or cut short, each with what makes it again."""
        if not self.catalog.exists():
            return []
        with self._reading():
            return damaged_files.damaged(self.con, self.catalog.data, pipeline)

    def snapshot(self) -> int:
        """Id of the newest snapshot."""
        return self.once("snapshot", lambda: int(self.fetch("SELECT id FROM lake.current_snapshot()")[0][0]))
