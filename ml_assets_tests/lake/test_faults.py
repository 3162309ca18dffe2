"""An exception belongs to the file or batch in work, unless the lake or the machine fails."""

from __future__ import annotations

import errno

import duckdb
import pytest

from ml_assets.errors import BatchRefused, LakeBusy, LakeError, SchemaChange
from ml_assets.lake.faults import explained, stops_all


def caused(cause: BaseException) -> LakeError:
    error = LakeError("A write to the lake failed.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (LakeBusy("locked"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (duckdb.IOException("Could not write file: No space left on device"), True),
        (caused(duckdb.IOException("Could not write file")), True),
        (caused(duckdb.TransactionException("Failed to commit")), True),
        (caused(duckdb.OutOfMemoryException("too small")), False),
        (caused(duckdb.ConversionException("1e999 is no DOUBLE")), False),
        (duckdb.InvalidInputException("Date out of range"), False),
        (duckdb.BinderException("Ambiguous reference to reasons"), False),
        (duckdb.IOException("No magic bytes found at end of file"), False),
        (duckdb.OutOfMemoryException("too small"), False),
        (SchemaChange("retyped"), False),
        (BatchRefused("too many broken rows"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), False),
        (ZeroDivisionError("division by zero"), False),
    ],
)
def test_who_is_at_fault(error: BaseException, stops: bool) -> None:
    assert stops_all(error) is stops


def test_an_unforeseen_error_names_its_class_text_and_place() -> None:
    try:
        [][1]
    except IndexError as caught:
        text = str(explained(caught))
    assert "IndexError: list index out of range (test_faults.py, line" in text
    assert "next:" in text
