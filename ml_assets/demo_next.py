"""A further month of the demo, made from the same month of 2013: its dates moved, and the weather to match.

The same month comes out on every machine. In a drifted one most of the flights before 13:00 are missing: what the
champion relies on most, the hour of departure, has moved, while what makes a flight late has not.
"""

from __future__ import annotations

import calendar
import datetime as dt
import os
from pathlib import Path

import duckdb

from ml_assets.demo import BATCHES, YEAR, copy, prepared, write_months, write_reference
from ml_assets.errors import SourceError
from ml_assets.lake.database import in_memory
from ml_assets.lake.paths import Paths

MORNINGS = "hour < 13 AND flight % 6 != 0"  # what a drifted month does not have


def next_month(paths: Paths, drifted: bool = False) -> Path:
    """Let the month after the newest one arrive, and its weather with it.

    Args:
        paths: Folders of the project.
        drifted: Make it one that has drifted.

    Returns:
        The file.

    Raises:
        SourceError: No month has arrived yet.
    """
    folder = paths.data / "incoming" / "flights"
    there = sorted(file.stem.removeprefix("flights_") for file in folder.glob("flights_????-??.parquet"))
    if not there:
        raise SourceError("No month has arrived yet.", where={"folder": folder}, fix="Run `ml-assets demo` first.")
    year, month = map(int, there[-1].split("-"))
    year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    batch = f"{year}-{month:02d}"
    if batch in BATCHES and not drifted:
        write_reference(paths)
        return write_months(paths, [batch])[0]
    target = folder / f"flights_{batch}.parquet"
    with in_memory() as con:
        if year > YEAR:
            _move_weather(con, write_reference(paths), year, month)
        source = prepared(paths) / f"flights_{YEAR}-{month:02d}.parquet"
        con.execute("CREATE TABLE moved AS SELECT * FROM read_parquet(?)", [str(source)])
        _move_years(con, "moved", year)
        if drifted:
            con.execute(f"DELETE FROM moved WHERE {MORNINGS}")
        copy(con, "SELECT * FROM moved ORDER BY rowid", target)
    changed = dt.datetime(year, month, calendar.monthrange(year, month)[1], 23, 59, tzinfo=dt.UTC).timestamp()
    os.utime(target, (changed, changed))
    return target


def _move_years(con: duckdb.DuckDBPyConnection, table: str, year: int) -> None:
    con.execute("SET TimeZone = 'UTC'")  # the same moments on every machine
    con.execute(f"UPDATE {table} SET year = {year}, time_hour = time_hour + to_years({year - YEAR})")


def _move_weather(con: duckdb.DuckDBPyConnection, file: Path, year: int, month: int) -> None:
    """Write the month's weather into the reference, unless it is there."""
    con.execute("CREATE TABLE weather AS SELECT * FROM read_parquet(?)", [str(file)])
    con.execute(f"CREATE TABLE new AS SELECT * FROM weather WHERE year = {YEAR} AND month = {month} ORDER BY rowid")
    _move_years(con, "new", year)
    con.execute(f"DELETE FROM weather WHERE year = {year} AND month = {month}")
    con.execute("INSERT INTO weather SELECT * FROM new")
    copy(con, "SELECT * FROM weather ORDER BY rowid", file)
