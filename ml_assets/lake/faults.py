"""Whose fault an exception is: the file's or batch's in work, or the lake's and the machine's.

The first is recorded, and the run goes on with the next file or batch. The second would meet every other one, too, and
stops the run.
"""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

import duckdb

from ml_assets.errors import LakeBusy, LakeError, MLAssetsError, SourceError
from ml_assets.lake import causes

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# The PEP 249 classes of what is wrong with a database rather than with data or SQL.
OF_DATABASE = (duckdb.OperationalError, duckdb.InternalError, duckdb.FatalException, OSError)


def stops_all(error: BaseException) -> bool:
    """Would every other file and batch fail alike: the lake is busy or cannot be written, the disk is full?"""
    if isinstance(error, duckdb.OutOfMemoryException):
        return False  # a smaller batch may fit
    if isinstance(error, LakeError):
        return isinstance(error, LakeBusy) or _is_of_machine(error.__cause__)
    if isinstance(error, OSError):
        return error.errno in FULL
    is_database = isinstance(error, duckdb.FatalException | duckdb.InternalError)
    return is_database or (isinstance(error, duckdb.IOException) and causes.is_full(error))


def _is_of_machine(error: BaseException | None) -> bool:
    """Is it the lake or the machine, rather than one table's data file or the memory that one batch needs?"""
    if not isinstance(error, OF_DATABASE) or isinstance(error, duckdb.OutOfMemoryException):
        return False
    return not causes.cause(error).is_of_data


def explained(error: Exception) -> MLAssetsError:
    """An exception as an error that says what to do; what is no error of the user's names its place in the code."""
    if isinstance(error, MLAssetsError):
        return error
    if isinstance(error, duckdb.OutOfMemoryException):
        return causes.lake_error(error, "DuckDB needs more memory than it is allowed.")
    if isinstance(error, OSError) and error.errno in FULL:
        return LakeError(
            "The disk cannot be written.", found=str(error), fix="Make room on the disk, then run the same again."
        )
    if isinstance(error, duckdb.Error):
        known = causes.cause(error)
        if known.where or known.is_busy or causes.is_full(error):
            return causes.lake_error(error, "DuckDB cannot compute or read this.")
        return SourceError(
            "DuckDB cannot compute this from the data.",
            found=f"{type(error).__name__}: {first_line(error)}",
            fix="Correct the value in the file, or the SQL that reads it: TRY_CAST gives NULL where CAST fails.",
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
