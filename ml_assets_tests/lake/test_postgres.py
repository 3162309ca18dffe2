"""The catalog on PostgreSQL keeps every promise of a catalog, and those that only a server can break."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.catalog import Catalog
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.lake.postgres import PostgresCatalog
from ml_assets_tests.lake.catalog_contract import CatalogContract, write
from ml_assets_tests.postgres import Server, server


class Impatient(PostgresCatalog):
    """Waits a moment only for one who holds a table."""

    busy_ms = 100


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server() as made:
        yield made


class TestPostgresCatalog(CatalogContract):
    schema = "public"
    has_copy = False

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:  # type: ignore[override]
        return tmp_path / "lake"

    @pytest.fixture
    def catalog(self, folder: Path, running: Server) -> Catalog:
        return Impatient(running.database(), folder)

    def lose(self, catalog: Catalog) -> None:
        execute(catalog, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    @contextmanager
    def as_other_user(self, catalog: Catalog) -> Iterator[Catalog]:
        assert isinstance(catalog, PostgresCatalog)
        execute(
            catalog,
            """DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reader') THEN
            CREATE ROLE reader LOGIN PASSWORD 'r3ader'; END IF; END $$;
            GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader""",
        )
        host = catalog.address.partition("@")[2]
        yield Impatient(f"postgresql://reader:r3ader@{host}", catalog.folder)

    @contextmanager
    def busy(self, catalog: Catalog) -> Iterator[None]:
        assert isinstance(catalog, PostgresCatalog)
        holder = psycopg2.connect(catalog.address)
        with holder.cursor() as cursor:
            cursor.execute(
                "LOCK TABLE ducklake_snapshot, ducklake_snapshot_changes, ducklake_data_file IN ACCESS EXCLUSIVE MODE"
            )
            try:
                yield
            finally:
                holder.close()

    def waiting(self, catalog: Catalog) -> int:
        return int(execute(catalog, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")[0][0])

    def damage(self, catalog: Catalog) -> None:
        execute(
            catalog,
            "DROP TABLE ducklake_snapshot, ducklake_snapshot_changes, ducklake_data_file, ducklake_table",
        )

    # -- what only a server can break -----------------------------------------------------------------------------

    def test_an_answer_to_commit_that_is_lost_is_looked_up(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 1)
        with Lake(folder, catalog=catalog) as lake:
            assert lake.count("t.x") == 1
            lake.con.execute("CREATE TEMP TABLE made AS SELECT 'a' AS batch, 2 AS v")
            lake._connection = dataclasses.replace(lake._connection, con=Lossy(lake.con, catalog, "after"))  # type: ignore[type-var,arg-type]
            written = lake.replace([Put("t.x", "made", "a")], Commit("t/x", batch="a"))[0]
            assert (written.snapshot_id, written.retries) == (catalog.newest_snapshot("t"), 0)
        assert snapshots(catalog, folder) == [1, 2]

    @pytest.mark.parametrize("moment", ["before", "during"])
    def test_a_connection_that_is_lost_before_its_commit_is_done_again(
        self, catalog: Catalog, folder: Path, moment: str
    ) -> None:
        write(catalog, folder, 1)
        with Lake(folder, catalog=catalog) as lake:
            assert lake.count("t.x") == 1
            lake.con.execute("CREATE TEMP TABLE made AS SELECT 'a' AS batch, 2 AS v")
            lake._connection = dataclasses.replace(lake._connection, con=Lossy(lake.con, catalog, moment))  # type: ignore[type-var,arg-type]
            assert lake.replace([Put("t.x", "made", "a")], Commit("t/x", batch="a"))[0].retries == 1
            assert lake.rows("FROM lake.t.x") == [{"batch": "a", "v": 2}]
        assert snapshots(catalog, folder) == [1, 2]

    def test_a_write_whose_lock_was_lost_is_not_committed_without_it(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 1)
        with Lake(folder, catalog=catalog) as lake:
            lake.con.execute("CREATE TEMP TABLE made AS SELECT 'a' AS batch, 2 AS v")
            ended: list[str] = []

            def end_lock() -> None:
                if not ended:
                    ended.append("lock")
                    execute(catalog, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")

            done = lake.replace([Put("t.x", "made", "a")], Commit("t/x", batch="a"), end_lock)
            assert done[0].retries == 1
        assert snapshots(catalog, folder) == [1, 2]

    def test_two_first_writes_of_a_batch_leave_one(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 1, "t.other")
        threads = [threading.Thread(target=write, args=(catalog, folder, value)) for value in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Lake(folder, catalog=catalog) as lake:
            assert lake.count("t.x") == 1
            assert len(lake.rows("SELECT 1 FROM lake.snapshots() WHERE commit_message = 't/x'")) == 1 + 4

    def test_writers_of_different_tables_do_not_wait_for_each_other(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 1, "t.other")
        impatient = Lake(folder, catalog=catalog, lock_timeout_s=0)
        with catalog.write_lock(["t.x"], 0), impatient as lake:
            lake.con.execute("CREATE TEMP TABLE made AS SELECT 'b' AS batch, 2 AS v")
            lake.replace([Put("t.other", "made", "b")], Commit("t/other", batch="b"))
            assert lake.batches("t.other") == ["a", "b"]

    def test_the_password_is_in_no_error_and_no_statement(self, running: Server, folder: Path) -> None:
        address = running.database()
        catalog = Impatient(address, folder)
        write(catalog, folder, 1)
        assert running.password not in repr(catalog)
        with Lake(folder, catalog=catalog) as lake:
            assert lake.count("t.x") == 1
            assert running.password not in str(lake.con.execute("FROM duckdb_databases()").fetchall())
            assert running.password not in str(lake.con.execute("FROM duckdb_secrets()").fetchall())
        wrong = Impatient(address.replace(running.password, "wr0ng"), folder)
        with pytest.raises(LakeError, match="PGPASSWORD") as caught:
            wrong.exists()
        assert "wr0ng" not in str(caught.value)
        assert not isinstance(caught.value, LakeBusy)

    def test_a_server_that_restarts_is_waited_for(self, folder: Path) -> None:
        with server() as mine:
            catalog = PostgresCatalog(mine.database(), folder)
            write(catalog, folder, 1)
            with Lake(folder, catalog=catalog) as lake:
                assert lake.count("t.x") == 1
                lake.con.execute("CREATE TEMP TABLE made AS SELECT 'a' AS batch, 2 AS v")
                mine.stop(signal.SIGQUIT)
                again = threading.Timer(1.5, mine.start)
                again.start()
                lake.replace([Put("t.x", "made", "a")], Commit("t/x", batch="a"))
                again.join()
            assert snapshots(catalog, folder) == [1, 2]

    def test_an_address_that_is_none_is_refused(self, folder: Path) -> None:
        with pytest.raises(LakeError, match=r"postgresql://HOST:PORT"):
            PostgresCatalog("postgresql:/x=1 y", folder).connect(False, None, 1)


class Lossy:
    """A connection whose session the server ends around its first COMMIT."""

    def __init__(self, con: Any, catalog: Catalog, moment: str) -> None:
        self.con, self.catalog, self.moment = con, catalog, moment
        self.is_writing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.con, name)

    def execute(self, sql: str, *values: object) -> Any:
        if "set_commit_message" in sql:
            self.is_writing = True
            if self.moment == "before":
                self.lose()
        if sql != "COMMIT" or not self.moment or not self.is_writing:
            return self.con.execute(sql, *values)
        moment = self.moment
        self.lose()
        if moment == "after":
            self.con.execute(sql)
            raise duckdb.TransactionException("Failed to commit: server closed the connection unexpectedly")
        return self.con.execute(sql)

    def lose(self) -> None:
        moment, self.moment = self.moment, ""
        if moment != "after":
            own = f"application_name LIKE 'ml_assets {threading.get_ident()} %'"
            execute(self.catalog, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {own}")
            time.sleep(0.1)


def snapshots(catalog: Catalog, folder: Path) -> list[int]:
    """Values of t.x after each of its commits."""
    with Lake(folder, catalog=catalog) as lake:
        ids = lake.fetch("SELECT snapshot_id FROM lake.snapshots() WHERE commit_message = 't/x' ORDER BY 1")
        return [lake.fetch(f"SELECT v FROM lake.t.x AT (VERSION => {number})")[0][0] for (number,) in ids]


def execute(catalog: Catalog, sql: str) -> list[tuple[Any, ...]]:
    """Its rows, where it has any."""
    assert isinstance(catalog, PostgresCatalog)
    connection = psycopg2.connect(catalog.address)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found = cursor.fetchall() if cursor.description else []
    connection.close()
    return found
