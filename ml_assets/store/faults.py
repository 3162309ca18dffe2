"""Whose fault an exception is: the file's or batch's in work, or the lake's and the machine's.

The first is recorded, and the run goes on with the next file or batch. The second would meet every other one, too, and
stops the run.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import traceback
from pathlib import Path

import duckdb

from ml_assets.errors import LakeBusy, LakeError, MLAssetsError, SourceError
from ml_assets.store.connection import ENV_MEMORY

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FULL_TEXTS = tuple(os.strerror(code) for code in FULL)
# The PEP 249 classes of what is wrong with a database rather than with data or SQL.
OF_DATABASE = (duckdb.OperationalError, duckdb.InternalError, duckdb.FatalException, sqlite3.OperationalError, OSError)


def stops_all(error: BaseException) -> bool:
    """Would every other file and batch fail alike: the lake is busy or cannot be written, the disk is full?"""
    if isinstance(error, duckdb.OutOfMemoryException):
        return False  # a smaller batch may fit
    if isinstance(error, LakeError):
        cause = error.__cause__
        return isinstance(error, LakeBusy) or (isinstance(cause, OF_DATABASE) and not _is_memory(cause))
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    is_database = isinstance(error, duckdb.FatalException | duckdb.InternalError | sqlite3.Error)
    return is_database or (isinstance(error, duckdb.IOException) and any(text in str(error) for text in FULL_TEXTS))


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, duckdb.OutOfMemoryException)


def explained(error: Exception) -> MLAssetsError:
    """An exception as an error that says what to do; what is no error of the user's names its place in the code."""
    if isinstance(error, MLAssetsError):
        return error
    if isinstance(error, duckdb.OutOfMemoryException):
        return LakeError(
            "DuckDB needs more memory than it is allowed.",
            found=first_line(error),
            fix=f"Set {ENV_MEMORY}, such as 8GiB, and run the same again.",
        )
    if isinstance(error, OSError) and error.errno in FULL:
        return LakeError(
            "The disk cannot be written.", found=str(error), fix="Make room on the disk, then run the same again."
        )
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return SourceError(
        "It fails with an error that ml_assets does not expect of data.",
        found=f"{type(error).__name__}: {first_line(error)}{place}",
        fix="Compare the file with others that are ingested; if it is as they are, report the error.",
    )


def first_line(error: BaseException) -> str:
    """What an exception says first."""
    return next(iter(str(error).splitlines()), "")
