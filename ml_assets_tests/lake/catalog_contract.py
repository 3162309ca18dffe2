"""What every catalog of the lake promises (`ml_assets/lake/catalog.py`); each one's tests inherit this class.

A catalog is handed to other processes by pickling the value, so it must say where it is and hold nothing open.
"""

from __future__ import annotations

import abc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import duckdb
import pytest

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.catalog import Catalog
from ml_assets.lake.lake import Commit, Lake, Put, Rows
from ml_assets.lake.sql import literal
from ml_assets.tables import audit, remembered
from ml_assets.tables.table import Column, Table
from ml_assets_tests.processes import FORKED, eventually, exit_codes, killed, started


def assert_as_read(lake: Lake, batch: str | None, is_named: bool) -> None:
    """`relation` gives the rows that DuckLake reads, of a batch or of all, from named files or not."""
    rows = lake.relation("s.t", [batch] if batch else None)
    assert ("read_parquet" in rows) == is_named
    sql = "FROM lake.s.t WHERE $batch IS NULL OR batch = $batch ORDER BY ALL"
    assert lake.fetch(f"FROM {rows} ORDER BY ALL") == lake.fetch(sql, {"batch": batch})
    assert lake.columns(rows) == lake.columns("lake.s.t")
    assert lake.column_names("s.t") == list(lake.columns("lake.s.t"))


class Waiter:
    """A process that asks for a lock when it is told, and writes its number into a file when it has it."""

    def __init__(self, catalog: Catalog, name: str, number: str, out: Path) -> None:
        self.pipe, its_end = FORKED.Pipe()
        self.process = started(_wait, catalog, name, number, out, its_end)

    def is_ready(self) -> None:
        assert self.pipe.recv() == "ready"

    def ask(self) -> None:
        self.pipe.send("ask")


def _wait(catalog: Catalog, name: str, number: str, out: Path, pipe: Connection) -> None:
    pipe.send("ready")
    pipe.recv()
    with catalog.lock(name, 30, "testing"):
        with out.open("a") as file:
            file.write(number + "\n")
        if number == "dies":
            pipe.recv()


def _create(catalog: Catalog, start: Barrier) -> None:
    start.wait()
    catalog.create(30)
    catalog.connect(False, None, 30).close()


def write(catalog: Catalog, folder: Path, value: int, table: str = "t.x") -> int:
    with Lake(folder, catalog=catalog) as lake:
        lake.con.execute(f"CREATE OR REPLACE TEMP TABLE made AS SELECT 'a' AS batch, {value} AS v")
        pipeline = table.partition(".")[0]
        return lake.replace([Put(table, "made", "a")], Commit(f"{pipeline}/x", batch="a"))[0].snapshot_id


class CatalogContract(abc.ABC):
    """The tests; `catalog` and `folder` are fixtures of the class that inherits it."""

    has_copy = True  # do readers see what was published, or the catalog itself?
    schema = "main"  # of the tables, as DuckDB names it

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """The lake's folder, where its data is; other users may enter it."""
        raise NotImplementedError

    @pytest.fixture
    def catalog(self, folder: Path) -> Catalog:
        """A catalog that does not exist yet."""
        raise NotImplementedError

    @abc.abstractmethod
    def lose(self, catalog: Catalog) -> None:
        """Lose the catalog of a lake whose files stay."""

    @abc.abstractmethod
    @contextmanager
    def as_other_user(self, catalog: Catalog) -> Iterator[Catalog]:
        """The catalog as one who may not write sees it."""

    @abc.abstractmethod
    @contextmanager
    def busy(self, catalog: Catalog) -> Iterator[None]:
        """Another process keeps the catalog from being opened."""

    @abc.abstractmethod
    def damage(self, catalog: Catalog) -> None:
        """Lose the tables that DuckLake needs, while others may be connected."""

    @abc.abstractmethod
    def waiting(self, catalog: Catalog) -> int:
        """How many stand in the queues of its locks."""

    # -- existence ----------------------------------------------------------------------------------------------

    def test_it_exists_once_it_is_made(self, catalog: Catalog, folder: Path) -> None:
        assert not catalog.exists()
        assert catalog.newest_snapshot("t") is None
        with pytest.raises(LakeError, match="no lake yet"):
            catalog.connect(True, None, 1)
        assert not catalog.exists()  # reading makes none
        catalog.create(5)
        assert catalog.exists()
        write(catalog, folder, 1)
        catalog.create(5)  # again changes nothing
        assert Lake(folder, catalog=catalog).count("t.x") == 1

    def test_many_at_once_make_one(self, catalog: Catalog, folder: Path) -> None:
        start = FORKED.Barrier(3)
        assert exit_codes([started(_create, catalog, start) for _ in range(3)]) == [0, 0, 0]
        with Lake(folder, catalog=catalog) as lake:
            assert lake.snapshot() == 0
            assert lake.tables() == []

    def test_a_lost_one_is_refused_and_not_made_anew(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 1)
        self.lose(catalog)
        for use in (
            catalog.exists,
            lambda: catalog.newest_snapshot("t"),
            lambda: catalog.create(5),
            lambda: catalog.connect(False, None, 5),
            lambda: catalog.connect(True, None, 5),
        ):
            with pytest.raises(LakeError, match="lost"):
                use()

    def test_a_copy_of_it_can_take_its_place(self, catalog: Catalog, folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy.sqlite"
        assert not catalog.export(copy)
        first = write(catalog, folder, 1)
        assert catalog.export(copy)
        write(catalog, folder, 2)
        with catalog.write_lock((), 5):
            catalog.load(copy)
        with Lake(folder, catalog=catalog, read_only=True) as lake:
            assert lake.snapshot() == first
            assert lake.rows("FROM lake.t.x") == [{"batch": "a", "v": 1}]

    # -- reading ------------------------------------------------------------------------------------------------

    def test_what_is_attached_can_be_attached_again(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 7)
        connection = catalog.connect(False, "1GiB", 5)
        assert catalog.is_in_place(connection)
        connection.con.execute("CREATE TEMP TABLE mine AS SELECT 1 AS v; DETACH lake")
        catalog.attach(connection.con)
        assert connection.con.execute("SELECT v FROM lake.t.x UNION ALL FROM mine").fetchall() == [(7,), (1,)]
        connection.con.execute("INSERT INTO lake.t.x VALUES ('b', 8)")
        connection.close()
        reader = catalog.connect(True, None, 5)
        with pytest.raises(duckdb.Error, match="read-only"):
            reader.con.execute("INSERT INTO lake.t.x VALUES ('c', 9)")
        reader.close()

    def test_the_newest_snapshots_of_all_pipelines(self, catalog: Catalog, folder: Path) -> None:
        assert catalog.newest_snapshots() == {}
        first, second = write(catalog, folder, 1, "t.x"), write(catalog, folder, 2, "u.x")
        assert catalog.newest_snapshots() == {"t": first, "u": second}
        assert catalog.newest_snapshots(first) == {"u": second}
        assert catalog.newest_snapshots(second) == {}

    def test_the_newest_snapshot_is_the_pipelines(self, catalog: Catalog, folder: Path) -> None:
        first = write(catalog, folder, 1, "t.x")
        other = write(catalog, folder, 1, "t_2.x")
        assert (catalog.newest_snapshot("t"), catalog.newest_snapshot("t_2")) == (first, other)
        assert [catalog.newest_snapshot(name) for name in ("none", "t%", "")] == [None, None, None]
        second = write(catalog, folder, 2, "t.x")
        assert catalog.newest_snapshot("t") == second > other

    # -- locks --------------------------------------------------------------------------------------------------

    def test_what_a_process_has_read_before_is_read_on(self, catalog: Catalog, folder: Path) -> None:
        """The trail of writes, and what is read of each batch."""
        counted = "SELECT batch, count(*) AS rows FROM {t} GROUP BY batch"
        t = Table("t", "A row.", (Column("batch", "VARCHAR", "The batch."),), written_by="a test")
        with Lake(folder, catalog=catalog) as lake:
            for batch, rows in (("a", 1), ("b", 2), ("a", 3)):
                lake.replace([Put("s.t", f"(SELECT '{batch}' AS batch FROM range({rows}))", batch)], Commit("s/t", "r"))
                found = {row["batch"]: row["rows"] for row in remembered.rows(lake, t, "s", counted)}
                assert found == lake.rows_by_batch("s.t")
                trail = audit.read_trail(lake, "s")
            remembered.memory(lake).clear()
            assert audit.read_trail(lake, "s") == trail
            sql = f"SELECT max(written_at) AS newest FROM {audit.all_writes(lake, 's')}"
            assert lake.rows(sql, {"prefix": "s/"}) == [{"newest": trail.writes["s/t", None].written_at}]
            assert len(trail.contents["s/t", None][0]) == 3

    def test_batches_before_one_are_in_pythons_order(self, catalog: Catalog, folder: Path) -> None:
        names = ["2013-10", "2013-9", "B", "_", "a", "é", "中"]
        with Lake(folder, catalog=catalog) as lake:
            assert lake.batches("s.t", "a", 2) == []
            for name in names:
                rows = f"(SELECT {literal(name)} AS batch, unnest([1, 2]) AS v)"
                lake.replace([Put("s.t", rows, name)], Commit("s/t"))
            assert (lake.batches("s.t"), lake.batches("s.t", last=2)) == (names, names[-2:])
            assert [lake.batches("s.t", name) for name in names] == [names[:place] for place in range(7)]
            assert [lake.batches("s.t", name, 2) for name in names] == [names[max(n - 2, 0) : n] for n in range(7)]
            lake.con.execute("DELETE FROM lake.s.t WHERE v = 1 OR batch = 'B'")
            assert (lake.batches("s.t", "a", 2), lake.count("s.t")) == (["2013-9", "_"], 6)
            lake.replace([Put("s.t", "(SELECT '_' AS batch, 3 AS v FROM range(3))", "_")], Commit("s/t"))
            assert lake.count("s.t") == 8

    def test_rows_of_a_batch_are_those_that_ducklake_reads(self, catalog: Catalog, folder: Path) -> None:
        """Its files are named where that is all there is to know: not with deleted rows, nor with a later column."""
        with Lake(folder, catalog=catalog) as lake:
            for batch, value in (("a'b", "1"), ("old", "2"), ("cut", "3")):
                sql = f"(SELECT {literal(batch)} AS batch, range AS row_id, {value} AS v FROM range(3))"
                lake.replace([Put("s.t", sql, batch)], Commit("s/t", batch=batch))
            for batch in ("a'b", "old", None):
                assert_as_read(lake, batch, is_named=batch is not None)
            written = lake.snapshot()
            assert (lake.has_changed("s.t", written), lake.has_changed("s.t", written - 1)) == (False, True)
            lake.con.execute("DELETE FROM lake.s.t WHERE batch = 'cut' AND row_id = 1")
            assert lake.has_changed("s.t", written)
            assert lake.count("s.t") == 8
            assert_as_read(lake, "cut", is_named=False)
            assert_as_read(lake, None, is_named=False)
            with lake.one_snapshot():
                before = lake.fetch("SELECT sum(v) FROM lake.s.t")
                with Lake(folder, catalog=catalog) as other:
                    other.replace([Put("s.t", "(SELECT 'old' AS batch, 0 AS row_id, 9 AS v)", "old")], Commit("s/t"))
                assert lake.fetch("SELECT sum(v) FROM lake.s.t") == before
                assert (lake.count("s.t"), lake.count("s.t", "old")) == (8, 3)
                assert_as_read(lake, "old", is_named=True)
            assert_as_read(lake, "old", is_named=True)
            lake.con.execute("ALTER TABLE lake.s.t ADD COLUMN w INTEGER")
            assert_as_read(lake, "a'b", is_named=False)
            assert_as_read(lake, None, is_named=False)
            assert (lake.count("s.t"), lake.count("s.t", "none"), lake.count("s.u")) == (6, 0, 0)
            assert lake.fetch(f"FROM {lake.relation('s.t', ['none'])}") == []

    def test_files_that_maintenance_has_merged_are_named(self, catalog: Catalog, folder: Path) -> None:
        """But not of a snapshot at which the merged file's last rows were not there yet."""
        with Lake(folder, catalog=catalog) as lake:
            for value in (1, 2):
                lake.append(
                    [Rows("s.t", {"batch": "VARCHAR", "v": "INTEGER"}, [{"batch": "a", "v": value}])], Commit("s/t")
                )
            first = lake.snapshot() - 1
            merge = "CALL ducklake_merge_adjacent_files('lake', 't', schema => 's')"
            lake.maintain(lambda: lake.con.execute(merge).fetchall(), Commit("s/t"))
            assert_as_read(lake, None, is_named=True)
            with lake.one_snapshot():
                assert_as_read(lake, None, is_named=True)
            assert lake.fetch(f"SELECT v FROM {lake.relation('s.t', None, first)}") == [(1,)]

    def test_rows_that_somebody_keeps_in_the_catalog_are_counted_and_read(self, catalog: Catalog, folder: Path) -> None:
        with Lake(folder, catalog=catalog) as lake:
            for batch in ("a", "b"):
                lake.replace(
                    [Put("s.t", f"(SELECT '{batch}' AS batch, range AS v FROM range(3))", batch)], Commit("s/t")
                )
            lake.con.execute("CALL lake.set_option('data_inlining_row_limit', 100)")
            lake.con.execute("INSERT INTO lake.s.t VALUES ('a', 7), ('c', 8)")
            lake.con.execute("DELETE FROM lake.s.t WHERE batch = 'b' AND v = 1")
            lake.con.execute("CALL lake.set_option('data_inlining_row_limit', 0)")
            assert lake.count("s.t") == 7
            assert {batch: lake.count("s.t", batch) for batch in "abcd"} == {"a": 4, "b": 2, "c": 1, "d": 0}
            for batch in "abcd":
                assert_as_read(lake, batch, is_named=False)

    def test_only_rows_that_may_be_there_are_looked_for_when_a_batch_is_replaced(
        self, catalog: Catalog, folder: Path
    ) -> None:
        with Lake(folder, catalog=catalog) as lake:

            def put(name: str, batch: str, value: int) -> None:
                lake.replace([Put(name, f"(SELECT '{batch}' AS batch, {value} AS v)", batch)], Commit("s/t"))

            put("s.t", "a", 1)
            assert {batch: lake._files().may_have("s.t", batch) for batch in "ab"} == {"a": True, "b": False}
            lake.con.execute("CREATE TABLE lake.s.whole AS SELECT 'a' AS batch, 1 AS v")
            assert lake._files().may_have("s.whole", "b")  # whose rows are not divided by batch
            lake.con.execute("CALL lake.set_option('data_inlining_row_limit', 100)")
            lake.con.execute("INSERT INTO lake.s.t VALUES ('b', 2)")
            lake.con.execute("CALL lake.set_option('data_inlining_row_limit', 0)")
            assert lake._files().may_have("s.t", "b")  # where it is kept in the catalog itself
            for name, batches in (("s.t", "abc"), ("s.whole", "ab")):
                for batch in batches:
                    put(name, batch, 7)
                assert lake.fetch(f"FROM lake.{name} ORDER BY batch") == [(batch, 7) for batch in batches]

    def test_its_indexes_are_made_once(self, catalog: Catalog, folder: Path) -> None:
        with Lake(folder, catalog=catalog) as lake:
            lake.con.execute(f"DROP INDEX __ducklake_metadata_lake.{self.schema}.ml_assets_partitions")
            for _ in range(2):
                catalog.make_indexes(lake.con)
            lake.con.execute(f"DROP INDEX __ducklake_metadata_lake.{self.schema}.ml_assets_partitions")

    def test_a_lock_is_given_in_the_order_in_which_processes_ask(self, catalog: Catalog, tmp_path: Path) -> None:
        out = tmp_path / "order"
        waiters = [Waiter(catalog, "t.train", str(number), out) for number in range(5)]
        for waiter in waiters:
            waiter.is_ready()
        with catalog.lock("t.train", 5, "testing"):
            for place, waiter in enumerate(waiters, 1):
                waiter.ask()
                eventually(lambda place=place: self.waiting(catalog) == place)  # type: ignore[misc]
            assert not out.exists()
        # Who asks again and again does not come before those that wait.
        with catalog.lock("t.train", 30, "testing"):
            assert out.read_text().split() == ["0", "1", "2", "3", "4"]
        assert exit_codes([waiter.process for waiter in waiters]) == [0] * 5

    def test_threads_wait_their_turn_too(self, catalog: Catalog) -> None:
        order: list[int] = []
        inside: list[int] = []

        def take(number: int) -> None:
            with catalog.lock("t.train", 10, "testing"):
                inside.append(number)
                order.append(number)
                time.sleep(0.01)
                assert inside == [number]
                inside.clear()

        threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
        with catalog.lock("t.train", 10, "testing"):
            for place, thread in enumerate(threads, 1):
                thread.start()
                eventually(lambda place=place: self.waiting(catalog) == place)  # type: ignore[misc]
        for thread in threads:
            thread.join()
        assert order == [0, 1, 2, 3]

    def test_names_are_independent(self, catalog: Catalog) -> None:
        with (
            catalog.lock("t.train", 0, "testing"),
            catalog.lock("t.deploy", 0, "testing"),
            catalog.write_lock(["t.x"], 0),
            pytest.raises(LakeBusy),
            catalog.lock("t.train", 0, "testing"),
        ):
            pass
        with catalog.lock("t.train", 10, "testing"):
            pass

    def test_writers_of_one_table_exclude_each_other(self, catalog: Catalog) -> None:
        for held, wanted in ((["t.x"], ["t.x", "t.y"]), ([], ["t.x"]), (["t.x"], [])):
            with catalog.write_lock(held, 10), pytest.raises(LakeBusy), catalog.write_lock(wanted, 0.02):
                pass

    def test_one_who_waits_too_long_is_told_who_holds_it(self, catalog: Catalog) -> None:
        started = time.monotonic()
        with (
            catalog.lock("t.train", 0, "training a model"),
            pytest.raises(LakeBusy, match="training a model") as caught,
            catalog.lock("t.train", 0.2, "training a model"),
        ):
            pass
        assert 0.2 <= time.monotonic() - started < 2
        assert str(os.getpid()) in str(caught.value.found)

    def test_a_lock_is_free_when_its_holder_or_a_waiter_is_killed(self, catalog: Catalog, tmp_path: Path) -> None:
        out = tmp_path / "order"
        holder, waiting, last = (Waiter(catalog, "t.train", number, out) for number in ("dies", "dies", "last"))
        for waiter in (holder, waiting, last):
            waiter.is_ready()
        holder.ask()
        eventually(out.exists)
        for place, waiter in enumerate((waiting, last), 1):
            waiter.ask()
            eventually(lambda place=place: self.waiting(catalog) == place)  # type: ignore[misc]
        for waiter in (waiting, holder):
            waiter.process.kill()
            assert killed(waiter.process)
        assert exit_codes([last.process]) == [0]
        assert out.read_text().split() == ["dies", "last"]
        with catalog.lock("t.train", 10, "testing"):
            pass

    # -- errors -------------------------------------------------------------------------------------------------

    def test_another_writer_is_transient_and_other_errors_are_not(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 1)
        with Lake(folder, catalog=catalog) as lake, Lake(folder, catalog=catalog) as other:
            lake.con.execute("BEGIN; UPDATE lake.t.x SET v = 2")
            other.con.execute("UPDATE lake.t.x SET v = 3")
            with pytest.raises(duckdb.Error) as met:
                lake.con.execute("COMMIT")
            assert catalog.is_transient(met.value)
            with pytest.raises(duckdb.Error) as wrong:
                other.con.execute("SELECT none FROM lake.t.x")
            assert not catalog.is_transient(wrong.value)

    def test_a_busy_catalog_is_a_busy_error_and_works_afterwards(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 1)
        lakes = [Lake(folder, read_only=is_read, catalog=catalog) for is_read in (True, False)]
        with self.busy(catalog):
            for lake in lakes:
                with pytest.raises(LakeBusy):
                    lake.count("t.x")
            with pytest.raises(LakeBusy):
                catalog.newest_snapshot("t")
        assert [lake.count("t.x") for lake in lakes] == [1, 1]

    @pytest.mark.parametrize("is_open", [True, False])
    def test_a_damaged_catalog_is_an_error_of_ours(self, catalog: Catalog, folder: Path, is_open: bool) -> None:
        write(catalog, folder, 1)
        with Lake(folder, catalog=catalog) as lake:
            if is_open:
                assert lake.count("t.x") == 1
                lake.con.execute("CREATE TEMP TABLE made AS SELECT 'a' AS batch, 2 AS v")
            self.damage(catalog)
            uses = (
                (*READS, lambda lake: lake.replace([Put("t.x", "made", "a")], Commit("t/x"))) if is_open else READS[:2]
            )
            for use in uses:
                with pytest.raises(LakeError, match="recover") as caught:
                    use(lake)
                assert not isinstance(caught.value, LakeBusy)

    # -- the published copy -------------------------------------------------------------------------------------

    def test_others_read_what_was_published_and_nothing_newer_or_older(self, catalog: Catalog, folder: Path) -> None:
        write(catalog, folder, 1)  # closing the lake publishes
        with self.as_other_user(catalog) as seen:
            assert value(seen, folder) == 1
        with Lake(folder, catalog=catalog) as lake:
            lake.con.execute("BEGIN; UPDATE lake.t.x SET v = 2")
            with self.as_other_user(catalog) as seen:
                assert value(seen, folder) == 1  # not committed
            lake.con.execute("COMMIT")
            before = catalog.published_snapshot()
            assert before is not None
            assert before in ([lake.snapshot() - 1] if self.has_copy else [lake.snapshot()])
            catalog.publish(5)
            assert catalog.published_snapshot() == lake.snapshot()
            with self.as_other_user(catalog) as seen:
                assert value(seen, folder) == 2
        newest = write(catalog, folder, 3)
        with self.as_other_user(catalog) as seen:
            assert (value(seen, folder), seen.newest_snapshot("t")) == (3, newest)


def value(catalog: Catalog, folder: Path) -> object:
    with Lake(folder, read_only=True, catalog=catalog) as lake:
        return lake.rows("SELECT v FROM lake.t.x")[0]["v"]


READS = (
    lambda lake: lake.exists("t.x"),
    lambda lake: lake.batches("t.x"),
    lambda lake: lake.count("t.x"),
    lambda lake: lake.count("t.x", "a"),
    lambda lake: lake.row_ids("t.x", "a"),
    lambda lake: lake.values_by_batch("t.x", "v"),
    lambda lake: lake.tables(),
    lambda lake: lake.columns("lake.t.x"),
    lambda lake: lake.rows("FROM lake.t.x"),
    lambda lake: lake.fetch("FROM lake.t.x"),
    lambda lake: lake.rows_of("t.x", "FROM {t}"),
    lambda lake: lake.table("t.x"),
    lambda lake: lake.snapshot(),
    lambda lake: lake.damaged_files("t"),
)
