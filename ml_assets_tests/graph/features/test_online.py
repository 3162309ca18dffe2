"""Features that are computed before a batch arrives equal those of the batch; what is written, and when."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_assets.lake.lake import Lake
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import ServingFacts
from ml_assets.server.features import Features
from ml_assets.tables import online
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets_tests.conftest import Project, failure_text, loans

SQL = {
    "features.sql": """
        SELECT b.row_id, b.income, b.region, hour(b.signed) AS signed_hour, r.unemployment,
            h.late_share, h.mean_days, h.open, h.loans, p.income_ever, coalesce(p.loans, 0) AS loans_ever,
            b.income / h.mean_income AS of_mean
        FROM batch b
        LEFT JOIN regions r ON r.region = b.region
        LEFT JOIN region_history h ON h.region IS NOT DISTINCT FROM b.region
        LEFT JOIN hours p ON p.hour = hour(b.signed) AND p.region = b.region
    """,
    "region_history.sql": """
        SELECT region, avg(late::INT) AS late_share, avg(late_days) AS mean_days, count(*) AS loans,
            count(*) FILTER (late_days IS NULL) AS open, avg(income) AS mean_income
        FROM history GROUP BY region
    """,
    "hours.sql": """
        SELECT hour(signed) AS hour, region, avg(income) AS income_ever, count(*) AS loans
        FROM history WHERE region IS NOT NULL GROUP BY ALL
    """,
}
ROWS = 10_000


@pytest.fixture
def asking(project: Project) -> Project:
    """A pipeline with lookups over outcomes, late ones too, keys that may be missing, and a reference."""
    project.sql = dict(SQL)
    for column in project.spec_dict["columns"]:
        column["nullable"] = column["name"] in ("income", "region", "late_days")
    project.spec_dict["lookups"]["hours"] = {"key": ["hour", "region"], "sql": "hours.sql", "batches": 1}
    project.spec_dict["outcomes"] = {
        "path": "data/outcomes",
        "pattern": r"paid_(?P<batch>\d+)\.csv",
        "settle_seconds": 0,
    }
    (project.root / "data/outcomes").mkdir()
    return project


def with_gaps(batch: int, rows: int) -> pd.DataFrame:
    """Loans without region or income, with outcomes that are not there yet, and in batch 4 a region never seen."""
    frame = loans(batch, rows)
    dice = np.random.default_rng(batch).random(rows)
    frame.loc[dice < 0.05, "region"] = None
    frame.loc[dice > 0.9, "income"] = None
    frame.loc[(dice > 0.4) & (dice < 0.7), "late_days"] = None
    if batch == 4:
        frame.loc[(dice > 0.1) & (dice < 0.2), "region"] = "Z"
    return frame.assign(loan=np.arange(rows) + 100_000 * batch)


def ingest(project: Project, *batches: int, rows: int = 150) -> None:
    for batch in batches:
        project.write(batch, with_gaps(batch, rows))
    result = project.ingest(*map(str, batches))
    assert result.success, failure_text(result)


def exported(project: Project, folder: Path) -> online.Age:
    with Lake(project.paths.lake, read_only=True) as lake:
        return online.export(lake, project.spec.name, folder)


def stamp_of(project: Project) -> str | None:
    with Lake(project.paths.lake, read_only=True) as lake:
        return online.stamp(lake, project.spec.name)


def engine(project: Project, folder: Path, types: dict[str, str]) -> Features:
    """The server's, over exported tables."""
    (folder / "bundle").mkdir()
    (folder / "bundle" / "features.sql").write_text(project.sql["features.sql"])
    spec = project.spec
    lookups = {name: list(lookup.key) for name, lookup in spec.lookups.items()}
    facts = ServingFacts(spec.name, "1.0.0", "3", "features.sql", None, [], lookups, list(spec.references))
    request = {column.name: column.type for column in spec.columns if not column.outcome}
    return Features(folder, facts, Schema("binary", "late", dict(request), types, ["0", "1"], 0.5, "a.B"))


def of_batch(project: Project, batch: str, names: list[str]) -> list[dict[str, Any]]:
    columns = ", ".join(names)
    return project.rows(f"SELECT {columns} FROM {{p}}.features WHERE batch = ? ORDER BY row_id", [batch])


def test_features_before_a_batch_arrives_are_those_of_the_batch(asking: Project, tmp_path: Path) -> None:
    ingest(asking, 1, 2, 3, rows=2_000)
    late = with_gaps(3, 2_000).assign(late_days=40.0)[["loan", "late_days"]]
    late.to_csv(asking.root / "data/outcomes/paid_3.csv", index=False)
    before = exported(asking, tmp_path / "stale").stamp
    result = asking.materialize("outcomes", "online_lookups")
    assert result.success, failure_text(result)
    assert stamp_of(asking) != before  # what has come late is known to the lookups

    folder = tmp_path / "fresh"
    exported(asking, folder)
    names = ["income", "region", "signed_hour", "unemployment", "late_share", "mean_days", "open", "loans"]
    names += ["income_ever", "loans_ever", "of_mean"]
    types = {name: "category" if name == "region" else "number" for name in names}
    asked = with_gaps(4, ROWS).astype({"region": object})
    rows = {name: asked[name].where(asked[name].notna(), None).tolist() for name in asked if name != "late_days"}
    rows["income"] = [None if value is None or math.isnan(value) else value for value in rows["income"]]
    rows["signed"] = [value.to_pydatetime() for value in asked["signed"]]
    answered = engine(asking, folder, types).of(rows, ROWS)

    ingest(asking, 4, rows=ROWS)
    arrived = of_batch(asking, "4", names)
    assert len(arrived) == ROWS
    for name in names:
        found, wanted = answered[name], [row[name] for row in arrived]
        assert [value is None for value in found] == [value is None for value in wanted], name
        pairs = [(one, other) for one, other in zip(found, wanted, strict=True) if one is not None]
        if types[name] == "category":
            assert all(one == other for one, other in pairs), name
        else:
            assert max(abs(one - other) for one, other in pairs) <= 1e-9, name
    # The rows are such that what is claimed can fail: keys that are missing or new, shares that outcomes move.
    assert {None, "Z"} < set(answered["region"])
    assert all(share is None for share, of in zip(answered["late_share"], answered["region"], strict=True) if of == "Z")
    assert any(
        share is not None for share, of in zip(answered["late_share"], answered["region"], strict=True) if not of
    )
    older = engine(asking, tmp_path / "stale", types).of(rows, ROWS)
    assert not set(older["late_share"]) & set(answered["late_share"]) - {None}


def test_only_what_has_changed_is_written(asking: Project, tmp_path: Path) -> None:
    ingest(asking, 1)
    tables = [online.table_for(*one).of("loans") for one in (("lookups", "hours"), ("references", "regions"))]
    first = {name: snapshots(asking, name) for name in tables}
    before = stamp_of(asking)
    again = asking.materialize("online_lookups")
    assert again.success
    (made,) = [event.step_materialization_data.materialization for event in again.get_asset_materialization_events()]
    assert made.metadata["tables_changed"].value == "0"
    assert {name: snapshots(asking, name) for name in tables} == first
    assert stamp_of(asking) == before

    ingest(asking, 2)
    assert stamp_of(asking) != before
    assert len(snapshots(asking, tables[0])) == 2
    assert len(snapshots(asking, tables[1])) == 1  # the reference is as it was
    age = exported(asking, tmp_path / "out")
    assert age.stamp == stamp_of(asking)
    assert set(age.tables) == {"lookups/region_history", "lookups/hours", "references/regions"}
    assert {one.newest_batch for one in age.tables.values()} == {"2"}
    assert sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.parquet")) == [
        f"{name}.parquet" for name in sorted(age.tables)
    ]


def snapshots(project: Project, table: str) -> list[int]:
    """Those that wrote a table."""
    rows = project.rows("SELECT snapshot_id, commit_extra_info ->> 'data_versions' AS of FROM lake.snapshots()")
    return [row["snapshot_id"] for row in rows if table in (row["of"] or "")]


def test_a_changed_reference_is_read_again_and_the_note_names_the_newest_batch(asking: Project, tmp_path: Path) -> None:
    ingest(asking, 1)
    (row,) = asking.rows(
        "SELECT commit_extra_info ->> 'newest_batch' AS newest FROM lake.snapshots() "
        "WHERE commit_message = 'loans/online_lookups'"
    )
    assert row["newest"] == "1"
    before = stamp_of(asking)
    (asking.root / "data/reference/regions.csv").write_text("region,unemployment\nA,0.5\n")
    assert asking.materialize("online_lookups").success
    assert stamp_of(asking) != before
    exported(asking, tmp_path / "out")
    (rows,) = asking.rows(f"SELECT count(*) AS n FROM '{tmp_path}/out/references/regions.parquet'")
    assert rows["n"] == 1


def test_without_a_batch_there_is_nothing_for_the_server(asking: Project, tmp_path: Path) -> None:
    result = asking.materialize("outcomes", "online_lookups")
    assert result.success, failure_text(result)
    assert stamp_of(asking) is None
    assert exported(asking, tmp_path / "out") == online.Age("", {})
    with Lake(asking.paths.lake, read_only=True) as lake:
        assert not lake.exists(VALIDATED_DATA.of("loans"))


def test_a_pipeline_without_lookups_and_references_has_no_such_asset(project: Project) -> None:
    project.spec_dict |= {"lookups": {}, "references": {}}
    project.sql = {"features.sql": "SELECT row_id, income, region FROM batch"}
    keys = {key.path[-1] for key in project.defs().resolve_asset_graph().get_all_asset_keys()}
    assert online.ONLINE_LOOKUPS.name not in keys
    project.write(1)
    assert project.ingest("1").success
