"""Is everything there that the lake's catalog names, and is it what was written?

The catalog is checked on a copy of it, the files against the catalog, and their content against the hashes of an
earlier check or copy. A file that has none is read to its end as Parquet, and its hash kept for the next check.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.catalog_copy import DATA, DataFile
from ml_assets.lake.copying import THREADS, CatalogExport, LakeFiles, Progress, Tell, exported, temporary_folder
from ml_assets.lake.database import borrow_for, release
from ml_assets.lake.faults import PUT_BACK, make_again, no_lake, one_line
from ml_assets.lake.ledger import Ledger, LedgerFile
from ml_assets.lake.sqlite_files import RECOVERED, rows
from ml_assets.lake.storage import File, Storage, sha256

NEW = dt.timedelta(days=1)  # a file that a writer is about to commit looks like one that nothing names
CATALOG_FIX = "Put the catalog back: `ml-assets lake recover`, or with --from a backup."
NEWEST = "(SELECT max(snapshot_id) FROM ducklake_snapshot)"
# What must find nothing: what is wrong -> a query for where.
UNSOUND = {
    "a data file belongs to no table": """SELECT path FROM ducklake_data_file
        WHERE table_id NOT IN (SELECT table_id FROM ducklake_table)""",
    "a list of deleted rows belongs to no data file": """SELECT path FROM ducklake_delete_file
        WHERE data_file_id NOT IN (SELECT data_file_id FROM ducklake_data_file)""",
    "a table belongs to no schema": """SELECT table_name FROM ducklake_table
        WHERE schema_id NOT IN (SELECT schema_id FROM ducklake_schema)""",
    "a table has no columns": """SELECT table_name FROM ducklake_table
        WHERE table_id NOT IN (SELECT table_id FROM ducklake_column)""",
    "two tables have one name": """SELECT table_name FROM ducklake_table
        WHERE end_snapshot IS NULL GROUP BY schema_id, table_name HAVING count(*) > 1""",
    "a data file counts twice": """SELECT path FROM ducklake_data_file
        WHERE end_snapshot IS NULL GROUP BY table_id, path HAVING count(*) > 1""",
    "a data file has no batch": """SELECT path FROM ducklake_data_file WHERE partition_id IS NOT NULL
        AND data_file_id NOT IN (SELECT data_file_id FROM ducklake_file_partition_value)""",
    "a data file is of a snapshot that does not exist": f"""SELECT path FROM ducklake_data_file
        WHERE begin_snapshot > {NEWEST} OR end_snapshot > {NEWEST}""",
    "a snapshot says nothing of its writer": """SELECT snapshot_id FROM ducklake_snapshot
        WHERE snapshot_id NOT IN (SELECT snapshot_id FROM ducklake_snapshot_changes)""",
    "the next data file would have an id that is taken": f"""SELECT path FROM ducklake_data_file
        WHERE data_file_id >= (SELECT next_file_id FROM ducklake_snapshot WHERE snapshot_id = {NEWEST})""",
    "the next table would have an id that is taken": f"""SELECT table_name FROM ducklake_table
        WHERE table_id >= (SELECT next_catalog_id FROM ducklake_snapshot WHERE snapshot_id = {NEWEST})""",
}


@dataclass(frozen=True)
class LakeFault:
    """Something that is wrong.

    Args:
        what: What it is.
        where: The file, folder or table.
        fix: The next step.
        table: The table that it touches, `schema.table`.
        batch: The batch of it.
        snapshots: The first and the last snapshot that it touches; without a last one also the newest.
        models: Model versions that it touches.
    """

    what: str
    where: str
    fix: str
    table: str | None = None
    batch: str | None = None
    snapshots: tuple[int, int | None] | None = None
    models: list[str] = field(default_factory=list)


@dataclass
class CheckedLake:
    """What a check has found, and what it has really looked at.

    Args:
        snapshots: Snapshots that are kept.
        files: Files that they need.
        bytes: Their bytes.
        compared: Files whose SHA-256 is that of an earlier check or copy.
        read: Files that were read to their end as Parquet, because no hash of them was known.
        new_files: Files that nothing names, which a writer may be about to commit.
        faults: What is wrong.
        notes: What else there is to say.
    """

    snapshots: int = 0
    files: int = 0
    bytes: int = 0
    compared: int = 0
    read: int = 0
    new_files: int = 0
    faults: list[LakeFault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(place: LakeFiles, is_fast: bool, tell: Tell, by_batch: Collection[str] = ()) -> CheckedLake:
    """Check a lake's catalog and files.

    Args:
        place: The lake.
        is_fast: Names and sizes only: no file is read.
        tell: Told of each file.
        by_batch: Names of tables in which every write of a batch replaces all its rows.

    Raises:
        LakeError: There is no lake, or its place cannot be reached.
    """
    checked = CheckedLake()
    with temporary_folder() as name:
        export = _sound(place, Path(name), checked)
        if export is not None:
            checked.snapshots, checked.files = len(export.standing.snapshots), len(export.files)
            checked.bytes = sum(file.size for file in export.files)
            there = {file.name: file for file in place.files.files(DATA)}
            whole = _present(export.files, there, checked)
            _unnamed(place, export, there, checked)
            checked.faults += _doubled(export, by_batch)
            if not is_fast:
                _content(place, export, [(file, there[file.name]) for file in whole], checked, tell)
    return checked


def folder_fault(files: Storage, folder: str, digest: str, is_fast: bool) -> str:
    """What is wrong with a folder of artifacts that has a manifest; empty where nothing is.

    Args:
        files: The place.
        folder: Its name there.
        digest: SHA-256 of its manifest, as a table has it.
        is_fast: Only look whether its files are there.
    """
    try:
        with files.opened(f"{folder}/manifest.json") as file:
            text = file.read()
    except FileNotFoundError:
        return "is lost"
    if hashlib.sha256(text).hexdigest() != digest:
        return "is not the one that was registered"
    there = {file.name for file in files.every_file(folder)}
    for name, expected in json.loads(text)["files"].items():
        if f"{folder}/{name}" not in there:
            return f"has lost {name}"
        if not is_fast and sha256(files, f"{folder}/{name}") != expected:
            return f"has other bytes in {name}"
    return ""


def _sound(place: LakeFiles, folder: Path, checked: CheckedLake) -> CatalogExport | None:
    """A copy of the catalog, which is checked; None where it cannot be read."""
    try:
        export = exported(place.catalog, folder)
        if export is None:
            place.catalog.exists()  # one that is lost says so
        else:
            _check_catalog(place, export, checked)
    except LakeBusy:
        raise
    except LakeError as error:
        found = f"{error.rule} {error.found}" if error.found else error.rule
        checked.faults.append(LakeFault(found, place.files.url, error.fix or CATALOG_FIX))
        return None
    if export is None:
        raise no_lake(place.files.url)
    return export


def _check_catalog(place: LakeFiles, export: CatalogExport, checked: CheckedLake) -> None:
    said = [str(row[0]) for row in rows(export.file, "PRAGMA integrity_check")]
    if said != ["ok"]:
        checked.faults.append(LakeFault(f"the catalog is damaged: {said[0]}", place.catalog.data.url, CATALOG_FIX))
    for what, sql in UNSOUND.items():
        checked.faults += [LakeFault(what, str(row[0]), CATALOG_FIX) for row in rows(export.file, sql)]


def _present(named: list[DataFile], there: dict[str, File], checked: CheckedLake) -> list[DataFile]:
    """Files that are there with the size that was written; the others are faults."""
    whole = []
    for file in named:
        found = there.get(file.name)
        if found is None:
            checked.faults.append(_fault(file, "is lost"))
        elif found.size != file.size:
            checked.faults.append(_fault(file, f"has {found.size:,} bytes, and was written with {file.size:,}"))
        else:
            whole.append(file)
    return whole


def _unnamed(place: LakeFiles, export: CatalogExport, there: dict[str, File], checked: CheckedLake) -> None:
    """Files that no snapshot needs, and that wait for no removal."""
    waiting = {
        f"{DATA}/{path}" for (path,) in rows(export.file, "SELECT path FROM ducklake_files_scheduled_for_deletion")
    }
    since = _since(export.file)
    now = dt.datetime.now(dt.UTC)
    for name in sorted(there.keys() - {file.name for file in export.files} - waiting):
        written = dt.datetime.fromtimestamp(there[name].written_at, dt.UTC)
        if now - written < NEW:
            checked.new_files += 1
            continue
        pipeline = name.removeprefix(f"{DATA}/").partition("/")[0]
        fix = f"`ml-assets lake maintenance {pipeline}` removes it."
        if written < since:
            fix = (
                "It is older than the lake or its recovery, so maintenance keeps it. Remove it if you know what it is."
            )
        checked.faults.append(LakeFault("no snapshot needs it", f"{place.files.url}/{name}", fix))


def _doubled(export: CatalogExport, by_batch: Collection[str]) -> Iterator[LakeFault]:
    """Batches that do not have the rows of their newest write: two writers at once would leave those of both."""
    newest: dict[tuple[str, str], tuple[int, int]] = {}
    sql = "SELECT snapshot_id, commit_extra_info FROM ducklake_snapshot_changes ORDER BY snapshot_id"
    for snapshot, text in rows(export.file, sql):
        said = json.loads(text or "{}")
        newest |= {(name, said.get("batch")): (int(snapshot), count) for name, count in said.get("rows", {}).items()}
    living: dict[tuple[str, str], list[DataFile]] = {}
    for file in export.files:
        if file.end is None and file.batch is not None and file.table.partition(".")[2] in by_batch:
            living.setdefault((file.table, file.batch), []).append(file)
    for (name, batch), files in living.items():
        snapshot, expected = newest.get((name, batch), (None, 0))
        count = sum(file.rows if file.is_data else -file.rows for file in files)
        # Maintenance and other commits may have written since, and the newest write may have expired.
        if snapshot == max(file.begin for file in files) and count != expected:
            schema, _, table_name = name.partition(".")
            what = f"the batch has {count:,} rows, and its newest write had {expected:,}"
            yield LakeFault(what, name, make_again(schema, table_name, batch), name, batch, (snapshot, None))


def _since(copy: Path) -> dt.datetime:
    """When the lake was made, or its catalog was last recovered."""
    moments = rows(copy, "SELECT min(snapshot_time) FROM ducklake_snapshot")
    moments += rows(copy, "SELECT max(value) FROM ducklake_metadata WHERE key = ?1", RECOVERED)
    texts = [str(moment).replace(" UTC", "+00:00") for (moment,) in moments if moment is not None]
    return max(dt.datetime.fromisoformat(text) for text in texts)


def _content(
    place: LakeFiles, export: CatalogExport, files: list[tuple[DataFile, File]], checked: CheckedLake, tell: Tell
) -> None:
    """Read every file: against its known hash, or as Parquet where there is none yet."""
    ledger = Ledger.of(place.files)
    all_bytes, seen = sum(file.size for file, _ in files), 0
    with ThreadPoolExecutor(THREADS) as pool, _reader(place.files) as con:
        digests = pool.map(lambda pair: _digest(place.files, pair[0].name), files)
        for number, ((file, found), digest) in enumerate(zip(files, digests, strict=True), 1):
            known = ledger.files.get(file.name)
            wrong = "is lost" if digest is None else ""
            if known is not None and digest is not None:
                wrong = "" if known.sha256 == digest else "has other bytes than when its hash was taken"
                checked.compared += not wrong
            elif digest is not None:
                wrong = _unreadable(con, place.files, file)
                if not wrong:
                    checked.read += 1
                    ledger.add(file.name, LedgerFile(file.size, digest, found.written_at))
            if wrong:
                checked.faults.append(_fault(file, wrong))
            seen += file.size
            tell(Progress(number, len(files), seen, all_bytes))
    ledger.lake = export.standing.lake
    ledger.keep({file.name for file in export.files})
    try:
        ledger.save()
    except (OSError, LakeError) as error:
        checked.notes.append(f"The hashes cannot be kept for the next check: {one_line(error)}")


def _digest(place: Storage, name: str) -> str | None:
    try:
        return sha256(place, name)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _reader(place: Storage) -> Iterator[duckdb.DuckDBPyConnection]:
    database = borrow_for(None, Path())
    con = database.cursor()
    try:
        con.execute("SET enable_progress_bar = false")
        place.prepare(database)
        yield con
    finally:
        con.close()
        release(database)


def _unreadable(con: duckdb.DuckDBPyConnection, place: Storage, file: DataFile) -> str:
    """What is wrong with a file that is read to its end; every value of it is decoded."""
    sql = "SELECT count(*), bit_xor(hash(f)) FROM read_parquet(?, hive_partitioning = false) f"
    try:
        count = con.execute(sql, [f"{place.url}/{file.name}"]).fetchall()[0][0]
    except duckdb.Error as error:
        return f"cannot be read: {one_line(error)}"
    return "" if count == file.rows else f"has {count:,} rows, and was written with {file.rows:,}"


def _fault(file: DataFile, what: str) -> LakeFault:
    schema, _, table_name = file.table.partition(".")
    fix = make_again(schema, table_name, file.batch)
    if file.end is not None:
        fix = f"Only earlier snapshots read it, so no batch needs it: {PUT_BACK}."
    last = None if file.end is None else file.end - 1
    return LakeFault(what, file.name, fix, file.table, file.batch, (file.begin, last))
