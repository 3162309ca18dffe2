"""A table as people bring it, to a pipeline that reads all of it: nothing vanishes, and each doubt is on the list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets.component import build_pipeline
from ml_assets.lake.paths import Paths
from ml_assets.scaffold.draft import Draft, draft
from ml_assets.scaffold.project import write_pipeline
from ml_assets.scaffold.render import decisions, defs_yaml, features_sql
from ml_assets.spec import PipelineSpec


def rides(year: int, rows: int = 240) -> pd.DataFrame:
    """A year of rides: `yr` is 0 in the first file and 1 in the second; text everywhere."""
    rng = np.random.default_rng(year)
    day = pd.Timestamp(f"{year}-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 365, rows)), unit="D")
    cost = rng.gamma(2, 700, rows)
    return pd.DataFrame(
        {
            "yr": year - 2011,
            "mnth": day.month,
            "holiday": rng.integers(0, 2, rows),
            "day": day.strftime("%d/%m/%Y"),
            "cost": [f"${one:,.2f}" for one in cost],
            "share": [f"{one:.0f}%" for one in rng.uniform(0, 100, rows)],
            "age": np.where(rng.random(rows) < 0.05, "NA", rng.integers(18, 80, rows).astype(str)),
            "rider": [f"R{number:05d}x" for number in rng.integers(0, 10**5, rows)],
            "late": np.where(rng.random(rows) < 0.03, "?", np.where(cost > 1400, "yes", "no")),
        }
    )


@pytest.fixture
def made(tmp_path: Path) -> Draft:
    for year in (2011, 2012):
        rides(year).to_csv(tmp_path / f"rides_{year}.csv", index=False)
    return draft("rides", str(tmp_path), "late", tmp_path, tmp_path)


def test_every_column_is_a_feature_or_on_the_list(made: Draft, tmp_path: Path) -> None:
    text = defs_yaml(made)
    spec = PipelineSpec.model_validate(yaml.safe_load(text)["attributes"])
    (tmp_path / "features.sql").write_text(features_sql(made))
    build_pipeline(spec, tmp_path, Paths(tmp_path, tmp_path / "data"))  # rules and SELECT bind
    listed = "\n".join(decisions(made))
    assert spec.source.missing == ["?", "NA"]
    assert set(made.target.classes or ()) == {"yes", "no"}
    assert {feature.name: feature.sql for feature in made.features}.items() >= {
        "cost": "TRY_CAST(replace(replace(b.cost, '$', ''), ',', '') AS DOUBLE)",
        "share": "TRY_CAST(replace(b.share, '%', '') AS DOUBLE)",
        "age": "b.age",
        "day_month": "month(CAST(try_strptime(b.day, '%d/%m/%Y') AS DATE))",
    }.items()
    assert set(spec.rules) == {"day_is_a_date", "cost_is_a_number", "share_is_a_number"}
    assert "cost" in made.suspects  # found in text, too
    assert "'?' in late" in listed
    assert "cost is text such as" in listed
    assert f"rider ({made.skipped['rider']})" in listed
    columns = {column.name: column for column in spec.columns}
    assert (columns["yr"].min, columns["yr"].max) == (None, None)  # the next year's file may hold a 2
    assert columns["mnth"].max == 18
    assert (columns["holiday"].min, columns["holiday"].max) == (0, 1)
    assert f"{pd.concat([rides(2011), rides(2012)])['rider'].nunique()} different" in text


def test_init_says_what_it_is_at(made: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    shown = CliRunner().invoke(main, ["init", "rides", "--source", "..", "--target", "rider"])
    assert shown.exit_code == 0, shown.output
    assert (
        shown.output.index("Reading 2 files") < shown.output.index("Looking at 9 columns") < shown.output.index("wrote")
    )
    assert "First write target.sql, in" in shown.output


@pytest.mark.parametrize(("rows", "stops"), [(1900, False), (2100, True)])
def test_boosting_stops_early_where_rows_are_many(tmp_path: Path, rows: int, stops: bool) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "y": rng.integers(0, 2, rows)})
    frame.to_parquet(tmp_path / "a.parquet")
    made = draft("some", "a.parquet", "y", tmp_path, tmp_path)
    write_pipeline(made, tmp_path / "defs")
    params = yaml.safe_load(defs_yaml(made))["attributes"]["candidates"]["boosting"]["params"]
    assert params["early_stopping"] == stops
    assert params["max_iter"] == (300 if stops else 80)
