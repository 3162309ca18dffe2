"""The texts are those that DuckDB 1.5.5 and SQLite gave on a full tmpfs, on damaged files and under a second writer."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.faults import cause, lake_error, one_line

COMMIT = "TransactionContext Error: Failed to commit: Failed to commit DuckLake transaction.\nFailed to commit: "
FILE = "/x/lake/data/loans/features/batch=2024%2F01/ducklake-01a1ff4a-206f-7b73-a38c-4db999c5d825.parquet"


@pytest.mark.parametrize(
    ("error", "said", "fix"),
    [
        (
            duckdb.TransactionException(COMMIT + 'Failed to execute query "COMMIT": database or disk is full'),
            "disk is full",
            "Free some disk space for /x/lake",
        ),
        (
            duckdb.IOException(f'IO Error: Could not write file "{FILE}": No space left on device'),
            "No space left",
            "Free some disk space",
        ),
        (duckdb.Error("Failed to probe DuckLake metadata: disk I/O error"), "disk I/O", "Check the disk"),
        (duckdb.Error('Failed to prepare query "x": file is not a database'), "no", "ml-assets lake recover"),
        (duckdb.Error("attempt to write a readonly database"), "readonly", "Give this user access"),
        (duckdb.OutOfMemoryException("Out of Memory Error: could not allocate"), "allocate", "ML_ASSETS_MEMORY_LIMIT"),
        (duckdb.ParserException("Memory must have a number (e.g. 1GB)"), "number", "ML_ASSETS_MEMORY_LIMIT"),
        (OSError(28, "No space left on device"), "No space left", "Free some disk space"),
    ],
)
def test_the_cause_is_said_with_its_next_step(error: Exception, said: str, fix: str) -> None:
    found = lake_error(error, "A write failed.", Path("/x/lake"))
    assert said in str(found.found)
    assert fix in str(found.fix)
    assert type(found) is LakeError
    assert "move" not in str(found), "nobody is told to give up a lake because its disk is full"


def test_a_disk_io_error_on_a_full_disk_is_the_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite says so where the 32 kB beside the catalog do not fit."""
    usage = type("usage", (), {"free": 4096})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    found = cause(duckdb.Error("Failed to probe DuckLake metadata: disk I/O error"), tmp_path)
    assert found.text.endswith("the disk is full")
    assert "Free some disk space" in found.fix


def test_what_passes_by_itself_is_busy() -> None:
    error = duckdb.TransactionException(COMMIT + "database is locked")
    assert isinstance(lake_error(error, "A read failed."), LakeBusy)
    assert cause(error).is_busy


def test_a_lost_file_is_named_with_its_table_and_batch() -> None:
    found = lake_error(duckdb.IOException(f'IO Error: Cannot open file "{FILE}": No such file'), "It cannot be read.")
    assert found.where == {"file": FILE, "table": "loans.features", "batch": "2024/01"}
    assert """--select 'key:"loans/features"' --partition 2024/01""" in str(found.fix)


def test_one_line_is_without_the_statement() -> None:
    error = duckdb.BinderException('Binder Error: no column "x"\nCandidate bindings: "y"\n\nLINE 1: SELECT x\n   ^')
    assert one_line(error) == 'Binder Error: no column "x" Candidate bindings: "y"'
    assert len(one_line(duckdb.Error("a" * 5000))) < 700
