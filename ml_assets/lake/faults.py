"""What an error of DuckDB, DuckLake or SQLite means: its cause, the next step, and whose fault it is.

A fault of the file or batch in work is recorded, and the run goes on with the next one. One of the lake or the machine
would meet every other one, too, and stops the run.

DuckDB's first line often drops the cause ("Failed to commit DuckLake transaction."), and its class tells little: a full
disk is an IOException, a TransactionException or a plain Error, by the moment at which it is met.
"""

from __future__ import annotations

import errno
import re
import shutil
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import duckdb

from ml_assets.errors import LakeBusy, LakeError, MLAssetsError, SourceError

ENV_MEMORY = "ML_ASSETS_MEMORY_LIMIT"
MOST_CHARACTERS = 600
LEAST_FREE = 1 << 20  # bytes; SQLite says "disk I/O error" where the 32 kB beside a WAL catalog do not fit
BUSY = ("database is locked", "database table is locked", "Transaction conflict", "Conflicting lock is held")
# What PostgreSQL says of others who hold a table, and of a server that is away for a moment.
BUSY_SERVER = ("canceling statement due to lock timeout", "deadlock detected", "could not serialize access")
LOST_CONNECTION = (
    "server closed the connection unexpectedly",
    "terminating connection due to",
    "connection to server at",
    "no connection to the server",
    "connection already closed",
    "could not receive data from server",
    "could not send data to server",
    "the database system is",
    "too many clients already",
)
FULL = ("No space left on device", "disk is full", "File too large", "Disk quota exceeded")
DENIED = ("Permission denied", "readonly database", "Read-only file system")
BAD_CATALOG = (
    "no such table: ducklake_",
    "Table with name ducklake_",
    "disk image is malformed",
    "file is not a database",
    "malformed database schema",
    'relation "public.ducklake_',
    'relation "ducklake_',
)
LOST = "The lake's catalog is lost: its files are there, but nothing tells which of them hold what."
BAD_LIMIT = ("Memory must have a number", "Unknown unit for memory", "Memory value out of range")
NOT_A_LAKE = "creating a new DuckLake is explicitly disabled"
AWAY = (" error for HTTP ", "HTTP 500", "HTTP 502", "HTTP 503", "HTTP 504")  # what DuckDB says of a storage server
REFUSED = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")
WRITING = ("Could not write", "Could not create", "Could not sync", "Could not truncate")
# As DuckLake names its files: data/<schema>/<table>/[batch=<batch>/]ducklake-<uuid>.parquet
DATA_FILE = re.compile(r"/[^\"'\n]*?/data/([^/\"']+)/([^/\"']+)/(?:batch=([^/\"']*)/)?ducklake-[0-9a-f-]+\.parquet")
# Table that is no asset -> the asset that writes it along; tables/ says so.
WRITTEN_WITH: dict[str, str] = {}
PUT_BACK = "put the file back: `ml-assets lake recover --from BACKUP`"
AGAIN = "run the same command again."
FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# The PEP 249 classes of what is wrong with a database rather than with data or SQL.
OF_DATABASE = (duckdb.OperationalError, duckdb.InternalError, duckdb.FatalException, OSError)


@dataclass(frozen=True)
class Cause:
    """Why something failed.

    Args:
        text: What was said, in one line.
        fix: The next step.
        is_busy: It may succeed by itself a moment later.
        is_of_data: What is stored cannot be read, as far as the error tells; else it is the machine or a statement.
        where: The data file that cannot be read, with its table and batch, where the error names it.
    """

    text: str
    fix: str
    is_busy: bool = False
    is_of_data: bool = False
    where: dict[str, str] = field(default_factory=dict)


def cause(error: BaseException, folder: Path | None = None) -> Cause:
    """Why it failed, and what to do.

    Args:
        error: Of DuckDB, or of the system.
        folder: The lake's folder, for the text and to look at the free space.
    """
    text, place = one_line(error), folder or "the lake"
    if any(word in text for word in BUSY):
        return Cause(text, f"Another process is writing; {AGAIN}", is_busy=True)
    if is_refused(error):
        return Cause(text, "Set the user, the password (PGPASSWORD) and the database of the catalog's address.")
    if any(word in text for word in BUSY_SERVER):
        return Cause(text, f"Another session holds the catalog; {AGAIN}", is_busy=True)
    if any(word in text for word in AWAY):
        return Cause(text, f"Start the server of the lake's files, then {AGAIN}", is_busy=True)
    if is_lost_connection(error):
        return Cause(text, f"Start the catalog's PostgreSQL server, then {AGAIN}", is_busy=True)
    if is_full(error):
        return Cause(text, f"Free some disk space for {place}, then {AGAIN}")
    if "disk I/O error" in text:
        if folder is not None and folder.exists() and shutil.disk_usage(folder).free < LEAST_FREE:
            return Cause(f"{text}: the disk is full", f"Free some disk space for {place}, then {AGAIN}")
        return Cause(text, f"Check the disk of {place}, and the lake with `ml-assets lake check`; then {AGAIN}")
    if any(word in text for word in DENIED):
        return Cause(text, f"Give this user access to {place}, then {AGAIN}")
    if is_bad_catalog(error) or NOT_A_LAKE in text:
        return Cause(
            text,
            "Put the catalog back: `ml-assets lake recover`, or with --from BACKUP.",
        )
    if isinstance(error, duckdb.OutOfMemoryException) or any(word in text for word in BAD_LIMIT):
        return Cause(text, f"Set {ENV_MEMORY}, such as 8GiB, and {AGAIN}")
    found = DATA_FILE.search(text)
    if found and not any(word in text for word in WRITING):
        schema, table_name, batch = found[1], found[2], found[3] and unquote(found[3])
        where = {"file": found[0], "table": f"{schema}.{table_name}", **({"batch": batch} if batch else {})}
        return Cause(text, make_again(schema, table_name, batch), is_of_data=True, where=where)
    # What DuckDB's Parquet reader says of damaged bytes has no class of its own, and often no file.
    is_read = not any(word in text for word in WRITING)
    damaged = is_read and type(error) in (duckdb.Error, duckdb.InvalidInputException, duckdb.IOException)
    fix = (
        "`ml-assets lake check` names files that are lost or damaged, and what to do." if damaged else "Run" + AGAIN[3:]
    )
    return Cause(text, fix, is_of_data=damaged)


def is_bad_catalog(error: BaseException) -> bool:
    """Is the catalog itself broken, or without a table that DuckLake needs?"""
    return any(word in str(error) for word in BAD_CATALOG)


def is_lost_connection(error: BaseException) -> bool:
    """Is the catalog's server away, or has it ended the connection? DuckDB often gives no reason then."""
    text = str(error).strip()
    is_without_reason = "Failed to execute query" in text and text.endswith('":')
    return is_without_reason or any(word in text for word in LOST_CONNECTION)


def is_refused(error: BaseException) -> bool:
    """Does the catalog's server refuse the user or the database?"""
    return any(word in str(error) for word in REFUSED)


def is_full(error: BaseException) -> bool:
    """Is there no room on the disk, as far as the error tells?"""
    return any(word in str(error) for word in FULL)


def lake_error(error: BaseException, rule: str, folder: Path | None = None, **where: object) -> LakeError:
    """The error that a user sees: `LakeBusy` where it may succeed a moment later.

    Args:
        error: Of DuckDB, or of the system.
        rule: What failed, as a sentence.
        folder: The lake's folder.
        where: Further places.
    """
    found = cause(error, folder)
    kind = LakeBusy if found.is_busy else LakeError
    return kind(rule, found=found.text, where={**where, **found.where}, fix=found.fix)


def no_lake(folder: Path | str) -> LakeError:
    """The error of one who reads before anything was written."""
    fix = "`ml-assets run PIPELINE`, in the folder of the project, makes it."
    return LakeError("There is no lake yet.", where={"folder": folder}, fix=fix)


def one_line(error: BaseException) -> str:
    """All that an error says, without the excerpt of its SQL."""
    said = str(error).partition("\n\nLINE ")[0].strip() or type(error).__name__
    text = " ".join(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[: MOST_CHARACTERS // 3]} ... {text[-MOST_CHARACTERS // 2 :]}"


def make_again(schema: str, table_name: str, batch: str | None) -> str:
    """What replaces a data file that is lost: making its batch again; other tables have a backup only."""
    if batch is None:
        return f"Materialize {schema}/{table_name} again if it is an asset of whole tables; else {PUT_BACK}."
    asset = WRITTEN_WITH.get(table_name, table_name)
    command = f"""dagster asset materialize -m MODULE --select 'key:"{schema}/{asset}"' --partition {batch}"""
    return f"Make the batch again: {command}. Or {PUT_BACK}."


def stops_all(error: BaseException) -> bool:
    """Would every other file and batch fail alike: the lake is busy or cannot be written, the disk is full?"""
    if isinstance(error, duckdb.OutOfMemoryException):
        return False  # a smaller batch may fit
    if isinstance(error, LakeError):
        return isinstance(error, LakeBusy) or _is_of_machine(error.__cause__)
    if isinstance(error, OSError):
        return error.errno in FULL_NUMBERS
    is_database = isinstance(error, duckdb.FatalException | duckdb.InternalError)
    return is_database or (isinstance(error, duckdb.IOException) and is_full(error))


def _is_of_machine(error: BaseException | None) -> bool:
    """Is it the lake or the machine, rather than one table's data file or the memory that one batch needs?"""
    if not isinstance(error, OF_DATABASE) or isinstance(error, duckdb.OutOfMemoryException):
        return False
    return not cause(error).is_of_data


def explained(error: Exception) -> MLAssetsError:
    """An exception as an error that says what to do; what is no error of the user's names its place in the code."""
    if isinstance(error, MLAssetsError):
        return error
    if isinstance(error, duckdb.OutOfMemoryException):
        return lake_error(error, "DuckDB needs more memory than it is allowed.")
    if isinstance(error, OSError) and error.errno in FULL_NUMBERS:
        return LakeError(
            "The disk cannot be written.", found=str(error), fix="Make room on the disk, then run the same again."
        )
    if isinstance(error, duckdb.Error):
        known = cause(error)
        if known.where or known.is_busy or is_full(error):
            return lake_error(error, "DuckDB cannot compute or read this.")
        return SourceError(
            "DuckDB cannot compute this from the data.",
            found=named(error),
            fix="Correct the value in the file, or the SQL that reads it: TRY_CAST gives NULL where CAST fails.",
        )
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return SourceError(
        "It fails with an error that ml_assets does not expect of data.",
        found=f"{named(error)}{place}",
        fix="Compare the file with others that are ingested; if it is as they are, report the error.",
    )


def first_line(error: BaseException) -> str:
    """What an exception says first."""
    return next(iter(str(error).splitlines()), "")


def named(error: BaseException) -> str:
    """The class of an exception, and what it says first."""
    return f"{type(error).__name__}: {first_line(error)}"
