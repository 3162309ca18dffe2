"""Features of an earlier version, made again from its bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ml_assets.errors import FeatureError
from ml_assets.graph.features.earlier import RECIPE, Earlier, features_of, same_features
from ml_assets.lake.lake import Lake
from ml_assets.ml import bundle
from ml_assets.tables import training_sets
from ml_assets_tests.conftest import Project


def earlier(project: Project) -> Earlier:
    folder = project.paths.bundles / "loans" / "1.0.0"
    release = project.paths.releases / "loans" / "1.0.0"
    return Earlier("1.0.0", folder, release, bundle.verify(folder), "late_days > 10")


def made(project: Project, of: Earlier, *batches: str) -> pd.DataFrame:
    with Lake(project.paths.lake, read_only=True) as lake:
        pin = replace(training_sets.newest(lake, "loans"), snapshot_id=lake.snapshot())
        return features_of(lake, project.paths, project.spec, of, pin, batches)


def test_they_are_those_that_the_batches_got_then(trained: Project) -> None:
    found = made(trained, earlier(trained), "2", "5")
    columns = ", ".join(found.columns)
    then = pd.DataFrame(trained.rows(f"SELECT {columns} FROM {{p}}.features WHERE batch IN ('2', '5')"))
    order = ["batch", "row_id"]
    found, then = (one.sort_values(order, ignore_index=True) for one in (found, then))
    pd.testing.assert_frame_equal(found, then.astype(found.dtypes.to_dict()))
    assert found["late_share"].notna().all()


def test_what_cannot_be_made_again_says_why(trained: Project, tmp_path: Path) -> None:
    of = earlier(trained)
    schema = replace(of.schema, columns={**of.schema.columns, "salary": "number"})
    with pytest.raises(FeatureError, match=r"1.0.0 cannot be asked about these rows: it needs the column 'salary'"):
        made(trained, replace(of, schema=schema), "5")
    folder = shutil.copytree(of.bundle, tmp_path / "bundle")
    recipe = json.loads((folder / RECIPE).read_text())
    for change, why in (
        ({"features": "own.features:build"}, "its features were made by a Python function"),
        ({"features": "older.sql"}, "its bundle does not say how older.sql was used"),
        ({"references": ["weather"]}, "the reference 'weather', which neither YAML nor release has"),
    ):
        (folder / RECIPE).write_text(json.dumps({**recipe, **change}))
        with pytest.raises(FeatureError, match=why):
            made(trained, replace(of, bundle=folder), "5")


def test_bundles_with_the_same_selects_have_the_same_features(trained: Project, tmp_path: Path) -> None:
    of = earlier(trained)
    folder = shutil.copytree(of.bundle, tmp_path / "bundle")
    assert same_features(of.bundle, folder)
    (folder / RECIPE).unlink()  # as an earlier ml_assets left it
    assert same_features(of.bundle, folder)
    (folder / "region_history.sql").write_text("SELECT region, 1 AS late_share FROM history GROUP BY region")
    assert not same_features(of.bundle, folder)
