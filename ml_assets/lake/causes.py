"""What an error of DuckDB, DuckLake or SQLite means: its cause, and the next step.

DuckDB's first line often drops the cause ("Failed to commit DuckLake transaction."), and its class tells little: a full
disk is an IOException, a TransactionException or a plain Error, by the moment at which it is met.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import duckdb

from ml_assets.errors import LakeBusy, LakeError

ENV_MEMORY = "ML_ASSETS_MEMORY_LIMIT"
MOST_CHARACTERS = 600
LEAST_FREE = 1 << 20  # bytes; SQLite says "disk I/O error" where the 32 kB beside a WAL catalog do not fit
BUSY = ("database is locked", "database table is locked", "Transaction conflict", "Conflicting lock is held")
FULL = ("No space left on device", "disk is full", "File too large", "Disk quota exceeded")
DENIED = ("Permission denied", "readonly database", "Read-only file system")
BAD_CATALOG = (
    "no such table: ducklake_",
    "disk image is malformed",
    "file is not a database",
    "malformed database schema",
)
NOT_A_LAKE = "creating a new DuckLake is explicitly disabled"
WRITING = ("Could not write", "Could not create", "Could not sync", "Could not truncate")
# As DuckLake names its files: data/<schema>/<table>/[batch=<batch>/]ducklake-<uuid>.parquet
DATA_FILE = re.compile(r"/[^\"'\n]*?/data/([^/\"']+)/([^/\"']+)/(?:batch=([^/\"']*)/)?ducklake-[0-9a-f-]+\.parquet")
AGAIN = "run the same command again."


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
    if is_full(error):
        return Cause(text, f"Free some disk space for {place}, then {AGAIN}")
    if "disk I/O error" in text:
        if folder is not None and folder.exists() and shutil.disk_usage(folder).free < LEAST_FREE:
            return Cause(f"{text}: the disk is full", f"Free some disk space for {place}, then {AGAIN}")
        return Cause(text, f"Check the disk of {place}, then {AGAIN}")
    if any(word in text for word in DENIED):
        return Cause(text, f"Give this user access to {place}, then {AGAIN}")
    if any(word in text for word in BAD_CATALOG) or NOT_A_LAKE in text:
        return Cause(text, "Put the catalog back: `ml-assets lake recover` does, from its published copy or a backup.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return Cause(text, f"Set {ENV_MEMORY}, such as 8GiB, and {AGAIN}")
    found = DATA_FILE.search(text)
    if found and not any(word in text for word in WRITING):
        schema, table_name, batch = found[1], found[2], found[3] and unquote(found[3])
        where = {"file": found[0], "table": f"{schema}.{table_name}", **({"batch": batch} if batch else {})}
        return Cause(text, make_again(schema, table_name, batch), is_of_data=True, where=where)
    # What DuckDB's Parquet reader says of damaged bytes has no class of its own, and often no file.
    is_read = not any(word in text for word in WRITING)
    damaged = is_read and type(error) in (duckdb.Error, duckdb.InvalidInputException, duckdb.IOException)
    return Cause(text, AGAIN[0].upper() + AGAIN[1:], is_of_data=damaged)


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
        return f"Materialize {schema}/{table_name} again if it is an asset of whole tables; else put the file back."
    asset = "validated_data" if table_name in ("quarantine", "statistics") else table_name
    command = f"""dagster asset materialize -m MODULE --select 'key:"{schema}/{asset}"' --partition {batch}"""
    return f"Make the batch again: {command}. Or put the file back from a backup."
