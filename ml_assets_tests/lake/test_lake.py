"""The lake keeps what it promises: one writer, whole writes, no silent change of a value."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pandas as pd
import pytest

from ml_assets.errors import LakeBusy, LakeError, SchemaChange, SourceError
from ml_assets.lake import database
from ml_assets.lake import lake as lake_module
from ml_assets.lake.data_files import DataFiles
from ml_assets.lake.database import sqlite_file
from ml_assets.lake.lake import Commit, Lake, Put, Rows
from ml_assets.lake.sqlite_files import CATALOG, PUBLIC_CATALOG, largest_snapshot
from ml_assets_tests.processes import eventually, exit_codes, killed, started

BY = Commit(asset="t/x", run_id="run", code_version="v1", batch="a")


def put(lake: Lake, sql: str, batch: str | None = "a", **options: object):  # type: ignore[no-untyped-def]
    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE made AS {sql}")
    return lake.replace([Put("t.x", "made", batch, **options)], BY)[0]  # type: ignore[arg-type]


def test_replace_of_a_batch_leaves_the_others(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    put(lake, "SELECT 'b' AS batch, 2 AS v", "b")
    written = put(lake, "SELECT 'a' AS batch, unnest([10, 11]) AS v")
    assert sorted(lake.table("t.x").fetchall()) == [("a", 10), ("a", 11), ("b", 2)]
    assert (written.rows, written.retries) == (2, 0)
    assert written.bytes > 0
    assert lake.batches("t.x") == ["a", "b"]
    assert lake.count("t.x", "a") == 2


def test_a_snapshot_says_who_wrote_it_and_can_be_read_again(lake: Lake) -> None:
    first = put(lake, "SELECT 'a' AS batch, 1 AS v")
    put(lake, "SELECT 'a' AS batch, 2 AS v")
    assert lake.table("t.x", snapshot=first.snapshot_id).fetchall() == [("a", 1)]
    (row,) = lake.rows("FROM lake.snapshots() WHERE snapshot_id = ?", [first.snapshot_id])
    assert (row["author"], row["commit_message"]) == ("ml_assets", "t/x")
    extra = json.loads(row["commit_extra_info"])
    assert len(extra.pop("commit")) == 32
    assert extra == {
        "run_id": "run",
        "batch": "a",
        "code_version": "v1",
        "data_versions": {"t.x": first.data_version},
        "rows": {"t.x": 1},
    }


def test_values_by_batch_are_those_of_the_rows(lake: Lake) -> None:
    """From the catalog where a file has one value, from the rows where it has several."""
    long = "x" * 300
    put(lake, f"SELECT 'a' AS batch, '{long}' AS sha, 1 AS v FROM range(3)")
    put(lake, "SELECT 'b' AS batch, unnest(['p', 'q', 'q']) AS sha, 1 AS v", "b")
    put(lake, "SELECT 'c' AS batch, NULL::VARCHAR AS sha, 1 AS v", "c")
    assert lake.values_by_batch("t.x", "sha") == {"a": {long}, "b": {"p", "q"}, "c": set()}
    put(lake, "SELECT 'a' AS batch, 'other' AS sha, 1 AS v")
    assert lake.values_by_batch("t.x", "sha")["a"] == {"other"}
    assert lake.values_by_batch("t.none", "sha") == {}


def test_several_tables_appear_in_one_snapshot_or_not_at_all(lake: Lake) -> None:
    lake.con.execute("CREATE TEMP TABLE one AS SELECT 'a' AS batch, 1 AS v; CREATE TEMP TABLE two AS FROM one")
    first, second = lake.replace([Put("t.one", "one", "a"), Put("t.two", "two", "a")], BY)
    assert first.snapshot_id == second.snapshot_id
    lake.con.execute("CREATE OR REPLACE TEMP TABLE one AS SELECT 'a' AS batch, 2 AS v")
    lake.con.execute("CREATE OR REPLACE TEMP TABLE two AS SELECT 'a' AS batch, 'text' AS v")
    with pytest.raises(SchemaChange, match="INTEGER to VARCHAR"):
        lake.replace([Put("t.one", "one", "a"), Put("t.two", "two", "a")], BY)
    assert lake.table("t.one").fetchall() == [("a", 1)]


def test_data_version_is_of_content_alone(lake: Lake) -> None:
    base = "SELECT 'a' AS batch, unnest([1, 2]) AS v"
    first = put(lake, base).data_version
    assert put(lake, base + " ORDER BY v DESC").data_version == first
    assert put(lake, "SELECT 'a' AS batch, unnest([1, 3]) AS v").data_version != first
    assert put(lake, "SELECT 'a' AS batch, unnest([1, 2])::BIGINT AS v").data_version != first
    with_time = put(lake, base.replace("AS v", "AS v, now() AS t"), volatile=("t",)).data_version
    assert put(lake, base.replace("AS v", "AS v, now() AS t"), volatile=("t",)).data_version == with_time


def test_values_are_never_changed_in_silence(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    put(lake, "SELECT 'b' AS batch, 1.7::DOUBLE AS v", "b")
    assert sorted(lake.table("t.x").fetchall()) == [("a", 1.0), ("b", 1.7)]
    big = 2**53 + 1
    put(lake, f"SELECT 'c' AS batch, sum(x) AS total FROM (SELECT {big} AS x)", "c")
    assert lake.rows("SELECT total FROM lake.t.x WHERE batch = 'c'") == [{"total": big}]
    with pytest.raises(SourceError, match="ConversionException"):
        put(lake, "SELECT 'd' AS batch, 170141183460469231731687303715884105727::HUGEINT AS total", "d")


def test_categories_are_kept_as_text(lake: Lake) -> None:
    frame = pd.DataFrame({"batch": ["a", "a"], "c": pd.Categorical(["x", "y"])})
    lake.con.register("frame", frame)
    put(lake, "SELECT * FROM frame")
    assert lake.columns('lake."t"."x"')["c"] == "VARCHAR"


def test_a_column_of_nulls_fits_any_type(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 'text' AS v")
    put(lake, "SELECT 'b' AS batch, NULL AS v", "b")
    assert lake.count("t.x") == 2


def test_reshape_takes_the_columns_of_the_rows(lake: Lake) -> None:
    before = put(lake, "SELECT 'a' AS batch, 1 AS gone, 2 AS v")
    put(lake, "SELECT 'b' AS batch, 'text' AS v", "b", reshape=True)
    assert lake.columns('lake."t"."x"') == {"batch": "VARCHAR", "v": "VARCHAR"}
    assert lake.table("t.x", snapshot=before.snapshot_id).fetchall() == [("a", 1, 2)]


def test_append_keeps_nested_values_and_json(lake: Lake) -> None:
    types = {"name": "VARCHAR", "list_": "DOUBLE[]", "params": "JSON"}
    lake.append([Rows("t.log", types, [{"name": "n", "list_": [1.5], "params": {"a": 1}}])], BY)
    lake.append([Rows("t.log", types, [{"name": "m"}]), Rows("t.other", types, [{"name": "o"}])], BY)
    assert lake.table("t.log").fetchall() == [("n", [1.5], '{"a": 1}'), ("m", None, None)]
    assert lake.count("t.other") == 1


def test_rows_with_a_key_replace_those_of_the_same_key(lake: Lake) -> None:
    """A step that runs again after a kill leaves one row, not two."""
    types = {"pin": "VARCHAR", "trial": "INTEGER", "score": "DOUBLE"}

    def record(pin: str, *scores: float, key: tuple[str, ...] = ("pin",)) -> None:
        found = [{"pin": pin, "trial": trial, "score": score} for trial, score in enumerate(scores)]
        lake.append([Rows("t.log", types, found, key)], BY)

    record("p", 0.5, 0.6, 0.7)
    record("q", 0.1)
    record("p", 0.8, 0.9)
    assert sorted(lake.table("t.log").fetchall()) == [("p", 0, 0.8), ("p", 1, 0.9), ("q", 0, 0.1)]
    record("q", 0.2, 0.3, key=("pin", "trial"))
    assert sorted(lake.table("t.log").fetchall())[2:] == [("q", 0, 0.2), ("q", 1, 0.3)]
    record("q", 0.4, key=())
    assert lake.count("t.log") == 5


def test_python_variables_are_no_tables(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    frame = pd.DataFrame({"v": [1]})
    assert [name for name in ("json.name", "time.x", "lake.x", "x.name", "t.x") if lake.exists(name)] == ["t.x"]
    for con in (lake.con, database.in_memory(), database.scratch()):
        for word in ("frame", "json", "lake"):
            with pytest.raises(duckdb.CatalogException):
                con.execute(f"FROM {word}")
    assert len(frame) == 1


def test_errors_of_reading_are_ours(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    (file,) = (lake.folder / "data").rglob("*.parquet")
    lake.close()
    file.unlink()
    for read in (
        lambda: lake.rows("SELECT sum(v) FROM lake.t.x"),
        lambda: lake.count("t.x", "a"),
        lambda: lake.rows_of("t.x", "SELECT sum(v) FROM {t}"),
        lambda: lake.row_ids("t.x", "a"),
        lambda: lake.table("t.x", batches=["a"]) and lake.rows("SELECT max(v) FROM lake.t.x"),
    ):
        with pytest.raises(LakeError, match="cannot be read"):
            read()
    connection = lake._connection
    assert connection is not None
    lake._connection = replace(connection, con=Busy())  # type: ignore[arg-type]
    for busy in (lambda: lake.exists("t.x"), lambda: lake.batches("t.x"), lambda: lake.count("t.x"), lake.tables):
        with pytest.raises(LakeBusy, match="cannot be read"):
            busy()
    lake._connection = connection


class Busy:
    """A connection while another process holds the catalog."""

    def execute(self, *_: object) -> None:
        raise duckdb.Error("Failed to query most recent snapshot for DuckLake: database is locked")


def test_read_only_refuses_writes_and_names_a_missing_table(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    with Lake(lake.folder, read_only=True) as reader:
        with pytest.raises(LakeError, match="read-only"):
            put(reader, "SELECT 'a' AS batch, 2 AS v")
        with pytest.raises(LakeError, match=r"no table t\.y") as caught:
            reader.table("t.y")
        assert "t.x" in str(caught.value)
        for name in ("x", "lake.t.x"):
            with pytest.raises(LakeError, match=r"named PIPELINE\.TABLE(?s:.*)did you mean 't\.x'"):
                reader.table(name)
        with pytest.raises(LakeError, match="snapshot 999"):
            reader.table("t.x", snapshot=999)
    with pytest.raises(LakeError, match="no lake yet"):
        Lake(lake.folder / "elsewhere", read_only=True).tables()


def test_a_broken_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / CATALOG).write_bytes(b"this is no database" * 100)
    with pytest.raises(LakeError, match="catalog cannot be opened") as caught:
        Lake(tmp_path).tables()
    assert str(tmp_path / CATALOG) in str(caught.value)


def test_the_catalog_is_in_wal_mode_and_a_reader_never_blocks_a_writer(lake: Lake) -> None:
    """In rollback mode the writer's commit fails here, and locks the lake for everybody until its process ends."""
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    with sqlite_file(lake.folder / CATALOG) as con:
        assert con.execute("FROM sqlite_query('file', 'PRAGMA journal_mode')").fetchall() == [("wal",)]
    with Lake(lake.folder, read_only=True) as reader:
        reader.con.execute("BEGIN")
        assert reader.table("t.x").fetchall() == [("a", 1)]
        put(lake, "SELECT 'a' AS batch, 2 AS v")
        assert reader.table("t.x").fetchall() == [("a", 1)]
        reader.con.execute("COMMIT")
        assert reader.table("t.x").fetchall() == [("a", 2)]


def locks(lake: Lake) -> set[tuple[str, ...]]:
    """POSIX locks of this process on the catalog and its index, as the kernel has them."""
    names = {file.stat().st_ino: file.name for file in lake.folder.glob(CATALOG + "*")}
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    ours = [lock for lock in held if lock[1] == "POSIX" and lock[4] == str(os.getpid())]
    return {(names[inode], *lock[6:8]) for lock in ours if (inode := int(lock[5].rpartition(":")[2])) in names}


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists locks")
def test_nothing_that_we_do_drops_the_locks_of_a_reader(lake: Lake) -> None:
    """The kernel drops them when any descriptor of the file is closed: a second SQLite library, or a copy, does."""
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    with Lake(lake.folder, read_only=True) as reader:
        reader.con.execute("BEGIN")
        reader.table("t.x").fetchall()
        before = locks(lake)
        assert {name for name, *_ in before} == {CATALOG, CATALOG + "-shm"}
        assert lake.catalog.newest_snapshot("t") == lake.snapshot()
        assert locks(lake) >= before
        lake.publish()
        with Lake(lake.folder) as other:
            put(other, "SELECT 'b' AS batch, 2 AS v", "b")
        assert locks(lake) >= before


def test_threads_read_while_others_write_and_publish(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v FROM range(50)")
    ends, failed = time.monotonic() + 1.5, []

    def again(work: Callable[[], object]) -> None:
        while time.monotonic() < ends and not failed:
            try:
                work()
            except Exception as error:  # whatever it is, it is what this looks for
                failed.append(error)

    def read() -> None:
        with Lake(lake.folder, read_only=True) as reader:
            assert reader.con.execute("SELECT count(*), count(DISTINCT v) FROM lake.t.x").fetchall() == [(50, 1)]

    def write() -> None:
        with Lake(lake.folder) as writer:
            put(writer, f"SELECT 'a' AS batch, {time.monotonic_ns()} AS v FROM range(50)")

    works = (read, write, lambda: lake.catalog.newest_snapshot("t"))
    threads = [threading.Thread(target=again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_no_two_threads_get_one_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "load_extension", lambda *_: None)
    monkeypatch.setattr(database, "_idle", [])
    used: list[int] = []
    failed: list[object] = []

    def again() -> None:
        for _ in range(40):
            mine, _ = database.borrow()
            if id(mine) in used:
                failed.append(mine)
            used.append(id(mine))
            used.remove(id(mine))
            database.release(mine)

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert 1 <= len(database._idle) <= database.MAX_IDLE


def test_readers_without_write_permission_use_the_published_copy() -> None:
    """Root may write everything, so for root it is another user who reads."""
    # Not below pytest's own folder, which every pytest of this user closes to others when it begins.
    with tempfile.TemporaryDirectory() as name:
        _read_as_another_user(Lake(Path(name) / "lake"))


def _read_as_another_user(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    lake.close()
    code = textwrap.dedent(f"""
        import os
        from pathlib import Path
        from ml_assets.lake.lake import Lake
        Lake(Path({str(lake.folder)!r}), read_only=True).table("t.x").fetchall()  # imports, while it may
        os.setuid(65534) if os.getuid() == 0 else os.chmod({str(lake.folder)!r}, 0o555)
        assert not os.access({str(lake.folder)!r}, os.W_OK)
        print(Lake(Path({str(lake.folder)!r}), read_only=True).table("t.x").fetchall())
    """)
    for folder in (lake.folder, lake.folder.parent):
        folder.chmod(0o755)
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lake.folder.chmod(0o755)
    assert shown.stdout.strip() == "[('a', 1)]", shown.stderr
    assert (lake.folder / PUBLIC_CATALOG).exists()


def _write_many(folder: Path, table: str, batch: str, times: int) -> None:
    with Lake(folder) as lake:
        for number in range(times):
            lake.con.execute(
                f"CREATE OR REPLACE TEMP TABLE made AS SELECT '{batch}' AS batch, {number} AS v FROM range(50)"
            )
            (written,) = lake.replace([Put(table, "made", batch)], Commit(asset="t/x", batch=batch))
            assert written.retries == 0, "writers waited for the lock, so none met a conflict"


@pytest.mark.parametrize("same_batch", [True, False])
def test_parallel_writers_lose_and_double_nothing(tmp_path: Path, same_batch: bool) -> None:
    """Without the lock they meet conflicts that only retries save, and on PostgreSQL two first writes both survive."""
    folder = tmp_path / "lake"
    batches = ["a"] * 3 if same_batch else ["0", "1", "2"]
    assert exit_codes([started(_write_many, folder, "t.x", batch, 6) for batch in batches]) == [0, 0, 0]
    with Lake(folder, read_only=True) as lake:
        counts = dict(lake.con.execute("SELECT batch, count(*) FROM lake.t.x GROUP BY 1").fetchall())
        assert counts == ({"a": 50} if same_batch else {"0": 50, "1": 50, "2": 50})
        written = lake.rows("SELECT count(*) AS n FROM lake.snapshots() WHERE commit_message = 't/x'")
    assert written == [{"n": 18}]


def test_a_killed_writer_leaves_whole_batches_and_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    with Lake(folder) as lake:
        put(lake, "SELECT 'a' AS batch, -1 AS v FROM range(50)")
    for delay in (0.1, 0.2, 0.3, 0.4):
        before = largest_snapshot(folder / CATALOG)
        worker = started(_write_many, folder, "t.x", "a", 10_000)
        eventually(lambda before=before: largest_snapshot(folder / CATALOG) > before)  # type: ignore[misc]
        time.sleep(delay)
        worker.kill()
        assert killed(worker)
        with Lake(folder, lock_timeout_s=5) as lake:
            rows, distinct = lake.con.execute("SELECT count(*), count(DISTINCT v) FROM lake.t.x").fetchall()[0]
            assert (rows, distinct) == (50, 1)
            put(lake, "SELECT 'a' AS batch, -1 AS v FROM range(50)")


def test_a_writer_that_waits_too_long_names_the_holder(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    lake.lock_timeout_s = 0.1
    with (
        lake.catalog.write_lock((), 1),
        pytest.raises(LakeBusy, match="writing to the lake") as caught,
    ):
        put(lake, "SELECT 'a' AS batch, 2 AS v")
    assert f"process {os.getpid()}" in str(caught.value)


def test_the_size_of_a_write_is_asked_again_where_the_catalog_is_busy(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is done by then: it is not repeated, and what fails for good is an error of ours."""
    answer, problems = DataFiles.written_bytes, [duckdb.Error("database is locked")] * 2

    def asked(files: DataFiles) -> dict[str, int]:
        if problems:
            raise problems.pop()
        return answer(files)

    monkeypatch.setattr(DataFiles, "written_bytes", asked)
    monkeypatch.setattr(lake_module, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    written = put(lake, "SELECT 'a' AS batch, 1 AS v")
    assert written.bytes > 0
    assert (written.snapshot_id, written.retries) == (lake.snapshot(), 0)
    problems.append(duckdb.Error("file is not a database"))
    with pytest.raises(LakeError, match=r"cannot be read(?s:.)*file is not a database"):
        put(lake, "SELECT 'a' AS batch, 2 AS v")


def test_a_conflict_with_a_writer_that_ignores_the_lock_is_redone(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    with Lake(lake.folder) as other:
        other.con.execute("BEGIN; UPDATE lake.t.x SET v = 5")
        done = []

        def work() -> None:
            lake.con.execute("DELETE FROM lake.t.x WHERE batch = 'a'")
            lake.con.execute("INSERT INTO lake.t.x VALUES ('a', 7)")
            if not done:
                other.con.execute("COMMIT")
                done.append(True)

        _, retries = lake._transaction(work, BY, {})
    assert retries == 1
    assert lake.table("t.x").fetchall() == [("a", 7)]


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import resource
        from pathlib import Path
        from ml_assets.errors import LakeError
        from ml_assets.lake.lake import Commit, Lake, Put
        TEXTS = ("File too large", "disk is full", "disk I/O error")
        lake = Lake(Path({str(tmp_path / "lake")!r}))
        by = Commit(asset="t/x")
        lake.con.execute("CREATE TEMP TABLE small AS SELECT 'a' AS batch, 1.0::DOUBLE AS v")
        lake.replace([Put("t.x", "small", "a")], by)
        lake.con.execute("CREATE TEMP TABLE large AS SELECT 'a' AS batch, random() AS v FROM range(2000000)")
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
        def full(put):
            try:
                lake.replace([put], by)
            except LakeError as error:
                print("refused", any(text in error.found for text in TEXTS), "disk" in error.fix, "move" in error.fix)
        full(Put("t.x", "large", "a"))
        print(lake.table("t.x").fetchall(), len(list(lake.folder.rglob("*.parquet"))))
        lake.con.execute("CREATE OR REPLACE TEMP TABLE small AS SELECT 'a' AS batch, 2.0::DOUBLE AS v")
        lake.replace([Put("t.x", "small", "a")], by)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 4_000_000))
        lake.close()
        lake.con.execute("CREATE OR REPLACE TEMP TABLE small AS SELECT 'a' AS batch, 3.0::DOUBLE AS v")
        resource.setrlimit(resource.RLIMIT_FSIZE, (36_000, 4_000_000))
        full(Put("t.x", "small", "a"))
        print(lake.table("t.x").fetchall())
    """)
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = ["refused True True False", "[('a', 1.0)] 1", "refused True True False", "[('a', 2.0)]"]
    assert shown.stdout.splitlines() == said, shown.stderr
    assert "Everything is written" in shown.stderr


def test_a_changed_extension_is_not_loaded(tmp_path: Path) -> None:
    spec = find_spec("duckdb_extension_ducklake")
    assert spec is not None
    assert spec.origin is not None
    source = next(Path(spec.origin).parent.rglob("*.duckdb_extension"))
    copy = tmp_path / source.name
    shutil.copy(source, copy)
    with copy.open("r+b") as file:
        file.seek(100_000)
        byte = file.read(1)
        file.seek(100_000)
        file.write(bytes([byte[0] ^ 1]))
    with duckdb.connect() as con, pytest.raises(duckdb.IOException, match="signature"):
        con.execute(f"LOAD '{copy}'")


def test_a_database_that_holds_more_than_the_next_limit_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """DuckDB refuses to lower the limit below what it holds; the lake opened with that limit must not suffer for it."""
    monkeypatch.setattr(database, "_idle", [])
    full, _ = database.borrow()
    full.execute("SET temp_directory = ''")
    full.execute("CREATE TABLE held AS SELECT hash(range) AS value FROM range(2_500_000)")
    database.release(full)
    mine = database.borrow_for("12MiB", tmp_path)
    assert mine is not full
    assert mine.execute("SELECT current_setting('memory_limit')").fetchall() == [("12.0 MiB",)]
    mine.close()
