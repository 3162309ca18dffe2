"""`ml-assets init`, `dg scaffold` and `ml-assets suggest`: what is written where, and what is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from dagster.components.scaffold.scaffold import get_scaffolder

from ml_assets import MLPipeline
from ml_assets.cli import main
from ml_assets.component import build_pipeline
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import table
from ml_assets.scaffold.draft import draft
from ml_assets.scaffold.project import project_for
from ml_assets.scaffold.render import decisions, defs_yaml, features_sql
from ml_assets.scaffold.scaffolder import PipelineParams
from ml_assets.spec import PipelineSpec
from ml_assets.tables.statistics import STATISTICS, column_statistics


def customers(batch: int = 0, rows: int = 300) -> pd.DataFrame:
    """Who left: `closed_at` and `refund` are known afterwards only, `account` is an id, `note` is free text."""
    rng = np.random.default_rng(batch)
    months = rng.integers(1, 60, rows)
    left = rng.random(rows) < 1 / (1 + np.exp((months - 30) / 8))
    return pd.DataFrame(
        {
            "account": np.arange(rows) + rows * batch + 1,
            "months": months,
            "Monthly Fee": rng.normal(40, 9, rows).round(2),
            "plan": rng.choice(["basic", "plus", "pro"], rows),
            "region": [f"{chr(65 + n % 26)}{chr(65 + n % 25)}" for n in rng.integers(0, 60, rows)],
            "signed": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9000, rows), unit="h"),
            "note": [f"note {number}" for number in rng.integers(0, 10**9, rows)],
            "refund": np.where(left, rng.integers(1, 50, rows), 0),
            "unit": "EUR",
            "left": np.where(left, "yes", "no"),
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four batches beside a project folder that is empty."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    (tmp_path / "churny").mkdir()
    for batch in range(4):
        customers(batch).to_csv(folder / f"customers_2024-{batch + 1:02d}.csv", index=False)
    return folder


def invoke(folder: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return CliRunner().invoke(main, list(arguments))


def test_a_new_project_in_an_empty_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "churny"
    shown = invoke(root, "init", "churn", "--source", "../incoming", "--target", "left", monkeypatch=monkeypatch)
    assert shown.exit_code == 0, shown.output
    files = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}
    assert files == {
        *("pyproject.toml", ".gitignore", ".env", "data/dagster/dagster.yaml"),
        *("churny/__init__.py", "churny/definitions.py", "churny/defs/__init__.py"),
        "churny/defs/pipeline.schema.json",
        *("churny/defs/churn/defs.yaml", "churny/defs/churn/features.sql"),
    }
    assert "What you should decide:" in shown.output
    assert "  ml-assets ingest churn\n  ml-assets train churn\n" in shown.output
    monkeypatch.syspath_prepend(root)
    import churny.definitions  # type: ignore[import-not-found]

    assert {key.path[0] for key in churny.definitions.defs.resolve_asset_graph().get_all_asset_keys()} == {"churn"}

    text = (root / "churny/defs/churn/defs.yaml").read_text()
    again = invoke(root, "init", "churn", "--source", "../incoming", "--target", "plan", monkeypatch=monkeypatch)
    assert again.exit_code == 1
    assert "never overwritten" in again.output
    assert (root / "churny/defs/churn/defs.yaml").read_text() == text

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path]), "DAGSTER_HOME": str(tmp_path)}
    command = [str(Path(sys.executable).parent / "dg"), "scaffold", "defs", "ml_assets.MLPipeline", "plans"]
    scaffolded = subprocess.run(
        [*command, "--source", str(data / "*.csv"), "--target", "plan"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert scaffolded.returncode == 0, scaffolded.stdout + scaffolded.stderr
    assert "kind: multiclass" in (root / "churny/defs/plans/defs.yaml").read_text()


def test_what_is_inferred(data: Path, tmp_path: Path) -> None:
    made = draft("churn", "incoming", "left", tmp_path, tmp_path)
    text = defs_yaml(made)
    spec = PipelineSpec.model_validate(yaml.safe_load(text)["attributes"])
    (tmp_path / "features.sql").write_text(features_sql(made))
    build_pipeline(spec, tmp_path, Paths(tmp_path, tmp_path / "data"))  # the SELECT binds, the estimators exist
    columns = {column.name: column for column in spec.columns}
    assert spec.source.path == "incoming"
    assert spec.source.pattern == r"customers_(?P<batch>\d{4}-\d{2})\.csv"
    assert (spec.target.name, spec.target.sql, spec.target.kind) == ("left_label", "\"left\" = 'yes'", "binary")
    assert spec.outcome_columns == ["left"]
    assert spec.key == ["account"]
    assert columns["account"].max is None  # it goes on growing
    assert (columns["months"].min, columns["months"].max) == (0, 88)
    assert columns["plan"].allowed == ["basic", "plus", "pro"]
    assert columns["region"].regex == "[A-Z]{2}"
    assert columns["signed"].type == "timestamp"
    assert spec.split.by == "batch"
    assert [feature.name for feature in made.features] == [
        *("months", "monthly_fee", "plan", "region", "signed_hour", "signed_weekday", "signed_month", "refund")
    ]
    assert set(made.skipped) == {"account", "note", "unit"}
    assert list(made.suspects) == ["refund"]
    assert any("is refund known before the event" in line for line in decisions(made))
    assert "refund, type: integer, min: 0, max: 74}   # 0 to 49; outcome: true? alone it tells the target" in text


def test_what_is_missing_with_the_target_is_doubted(tmp_path: Path) -> None:
    frame = customers()
    frame["rating"] = np.random.default_rng(1).normal(size=300)
    frame.loc[:40, ["left", "rating"]] = None
    frame.to_parquet(tmp_path / "customers.parquet")
    made = draft("churn", "customers.parquet", "left", tmp_path, tmp_path)
    assert made.suspects["rating"] == "missing where the target is missing"
    assert made.split["by"] == "stratified"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["churn", "--source", "../incomming", "--target", "left"], "did you mean 'incoming'?"),
        (["churn", "--source", "../incoming", "--target", "lef"], "did you mean 'left'?"),
        (["churn", "--source", "../incoming", "--target", "unit"], "one value only"),
        (["churn", "--source", "../latin.csv", "--target", "left"], "line 2 holds the byte 0xe9"),
        (["Churn!", "--source", "../incoming", "--target", "left"], "Such as: churn"),
        (["churn", "--source", "../few.csv", "--target", "left"], "At least 80 rows"),
        (["churn", "--source", "../headless.csv", "--target", "2.5"], "The first line has values"),
        (["churn", "--source", "../broken.parquet", "--target", "left"], "cannot be read"),
    ],
)
def test_a_mistake_is_one_clear_error(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    customers(rows=50).to_csv(tmp_path / "few.csv", index=False)
    (tmp_path / "headless.csv").write_text("1,2.5,3\n" * 100)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "latin.csv").write_bytes("name,left\nRené,1\n".encode("latin-1"))
    shown = invoke(tmp_path / "churny", "init", *arguments, monkeypatch=monkeypatch)
    assert shown.exit_code == 1
    assert says in shown.output
    assert list((tmp_path / "churny").iterdir()) == []  # nothing is left behind


def test_dg_scaffold_ends_with_the_same_error(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "churny" / "churn"
    folder.mkdir()
    scaffolder = get_scaffolder(MLPipeline)
    assert not hasattr(scaffolder, "message")
    request: dg.ScaffoldRequest[Any] = dg.ScaffoldRequest(
        type_name="ml_assets.MLPipeline",
        target_path=folder,
        scaffold_format="yaml",
        project_root=tmp_path,
        params=PipelineParams(source=str(data), target="lef"),
    )
    with pytest.raises(click.ClickException, match="did you mean 'left'"):
        scaffolder.scaffold(request)  # type: ignore[union-attr]
    assert not folder.exists()  # dg made it, and would refuse it the next time


def test_where_a_pipeline_goes(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "credit"\n')
    assert project_for(tmp_path / "data" / "x")[0].defs == tmp_path / "credit" / "defs"
    (tmp_path / "src" / "credit").mkdir(parents=True)
    assert project_for(tmp_path)[0].defs == tmp_path / "src" / "credit" / "defs"
    other = tmp_path.parent / f"{tmp_path.name}_json"
    (other / "json").mkdir(parents=True)
    assert project_for(other / "json")[0].module == "json_pipelines"  # json is a module already
    (other / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(Exception, match="declares no Dagster project"):
        project_for(other)


def test_suggestions_from_the_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "credit"\n')
    folder = tmp_path / "credit" / "defs" / "churn"
    folder.mkdir(parents=True)
    declared = [
        {"name": "months", "type": "integer", "unit": "month"},
        {"name": "plan", "type": "string"},
        {"name": "refund", "type": "integer", "min": 0},
        {"name": "account_id", "type": "integer"},
    ]
    (folder / "defs.yaml").write_text(yaml.safe_dump({"attributes": {"name": "churn", "columns": declared}}))
    early = invoke(tmp_path, "suggest", "churn", monkeypatch=monkeypatch)
    assert early.exit_code == 1
    with Lake(tmp_path / "data" / "lake") as lake:
        for batch in range(2):
            frame = customers(batch)
            frame.loc[0, "months"] = 100 + batch
            lake.con.register("frame", frame)
            lake.con.execute(
                "CREATE OR REPLACE TEMP TABLE made AS "
                "SELECT account AS row_id, account AS account_id, months, plan, refund FROM frame"
            )
            rows = column_statistics(
                lake.con, "made", dict.fromkeys(("account_id", "months", "refund"), "BIGINT") | {"plan": "VARCHAR"}
            )
            rows = [{"batch": str(batch), **row} for row in rows]
            lake.append([STATISTICS.rows("churn", rows)], Commit("churn/validated_data"))
        assert lake.count("churn.statistics") == 8
        assert lake.columns(table("churn.statistics")) == STATISTICS.types
    shown = invoke(tmp_path, "suggest", "churn", monkeypatch=monkeypatch)
    assert shown.exit_code == 0, shown.output
    assert [yaml.safe_load(line) for line in shown.output.splitlines()] == [
        [{"name": "months", "type": "integer", "unit": "month", "min": 0, "max": 160}],
        [{"name": "plan", "type": "string", "allowed": ["basic", "plus", "pro"]}],
    ]
    listed = json.loads(invoke(tmp_path, "suggest", "churn", "--json", monkeypatch=monkeypatch).output)
    assert listed[1] == {"name": "plan", "type": "string", "allowed": ["basic", "plus", "pro"]}
    wrong = invoke(tmp_path, "suggest", "chrn", monkeypatch=monkeypatch)
    assert "did you mean 'churn'?" in wrong.output
