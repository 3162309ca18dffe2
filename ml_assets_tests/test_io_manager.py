"""A user's own assets on the lake: what they are given, and where what they return goes."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from ml_assets import LakeIOManager
from ml_assets_tests.conftest import Project, failure_text

FEATURES = {"features": dg.AssetIn(key=["loans", "features"], input_manager_key="lake_io")}
BATCHES = dg.DynamicPartitionsDefinition(name="loans_batches")


def run(
    project: Project,
    instance: dg.DagsterInstance,
    *assets: Any,
    batches: tuple[str, ...] = (),
    io: Any = None,
    known: Sequence[dg.AssetSpec] = (),
) -> dg.ExecuteInProcessResult:
    """Materialize a user's own assets beside the pipeline, and nothing of the pipeline."""
    own = dg.Definitions(assets=[*assets, *known], resources={"io": io} if io else None)
    job = dg.Definitions.merge(project.defs(), own).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        asset_selection=[asset.key for asset in assets],
        instance=instance,
        tags={"dagster/asset_partition_range_start": batches[0], "dagster/asset_partition_range_end": batches[-1]}
        if batches
        else {},
        raise_on_error=False,
    )


@pytest.fixture
def registered() -> Iterator[dg.DagsterInstance]:
    """An instance that knows batches 2 to 4 of the five that the lake of `trained` holds."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("loans_batches", ["2", "3", "4"])
        yield instance


def test_the_annotation_chooses_the_form(trained: Project, registered: dg.DagsterInstance) -> None:
    seen: dict[str, Any] = {}

    @dg.asset(ins=FEATURES)
    def plain(features) -> None:
        seen["plain"] = (type(features), len(features))

    @dg.asset(ins=FEATURES)
    def frame(features: pd.DataFrame) -> None:
        seen["frame"] = (type(features), len(features))

    @dg.asset(ins=FEATURES)
    def arrow(features: pa.Table) -> None:
        seen["arrow"] = (type(features), features.num_rows)

    @dg.asset(ins=FEATURES)
    def relation(features: duckdb.DuckDBPyRelation) -> None:
        seen["relation"] = (type(features), features.aggregate("count(*)").fetchall()[0][0])

    result = run(trained, registered, plain, frame, arrow, relation)
    assert result.success, failure_text(result)
    # All rows, also of batches that this instance has not registered.
    assert seen == {
        "plain": (pd.DataFrame, 750),
        "frame": (pd.DataFrame, 750),
        "arrow": (pa.Table, 750),
        "relation": (duckdb.DuckDBPyRelation, 750),
    }


@pytest.mark.parametrize("batches", [("2",), ("2", "3")])
def test_a_partitioned_asset_sees_its_batches(
    trained: Project, registered: dg.DagsterInstance, batches: tuple[str, ...]
) -> None:
    seen = []

    @dg.asset(ins=FEATURES, partitions_def=BATCHES, backfill_policy=dg.BackfillPolicy.single_run())
    def sums(features: pd.DataFrame) -> None:
        seen.append(sorted(features["batch"].unique()))

    result = run(trained, registered, sums, batches=batches)
    assert result.success, failure_text(result)
    assert seen == [list(batches)]


def test_a_partition_mapping_and_columns_are_obeyed(trained: Project, registered: dg.DagsterInstance) -> None:
    seen = []
    last = dg.AssetIn(
        key=["loans", "features"],
        input_manager_key="lake_io",
        partition_mapping=dg.LastPartitionMapping(),
        metadata={"columns": ["batch", "income"]},
    )

    @dg.asset(ins={"features": last})
    def newest(features: pd.DataFrame) -> None:
        seen.append((list(features.columns), set(features["batch"])))

    result = run(trained, registered, newest)
    assert result.success, failure_text(result)
    assert seen == [(["batch", "income"], {"4"})]


@pytest.mark.parametrize(
    ("changes", "annotation", "text"),
    [
        ({}, dict, "found: the annotation dict"),
        ({"metadata": {"columns": ["incme"]}}, pd.DataFrame, "There is no column 'incme'; did you mean 'income'?"),
        ({"key": ["loans", "featurs"]}, pd.DataFrame, "The lake has no table loans.featurs; a table is named"),
        ({"key": ["a", "loans", "features"]}, pd.DataFrame, "has a key of one or two parts"),
    ],
)
def test_what_cannot_be_given_is_one_clear_error(
    trained: Project, registered: dg.DagsterInstance, changes: dict[str, Any], annotation: type, text: str
) -> None:
    source = {"key": ["loans", "features"], "input_manager_key": "lake_io", **changes}

    def compute(features) -> None:
        raise AssertionError("never called")

    compute.__annotations__["features"] = annotation
    own = dg.asset(name="own", ins={"features": dg.AssetIn(**source)})(compute)
    known = [] if source["key"] == ["loans", "features"] else [dg.AssetSpec(source["key"])]
    text_of_run = failure_text(run(trained, registered, own, known=known))
    assert text in text_of_run
    assert "input features" in text_of_run or "key of" in text
    assert "Traceback" not in text_of_run


def lake_with(project: Project, **tables: Any) -> LakeIOManager:
    """Assets of these names put the tables into the project's lake."""
    io = LakeIOManager(root=str(project.root))
    for name, value in tables.items():
        result = dg.materialize([_returning(name, value)], resources={"io": io}, raise_on_error=False)
        assert result.success, failure_text(result)
    return io


def _returning(name: str, value: Any, **options: Any) -> dg.AssetsDefinition:
    return dg.asset(key=["own", name], io_manager_key="io", code_version="7", **options)(lambda: value)


def test_what_an_asset_returns_is_a_table(project: Project) -> None:
    frame = pd.DataFrame({"share": [0.5, None]}, index=pd.Index(["EV", "UA"], name="carrier"))
    arrow = pa.table({"n": [1, 2, 3]})
    io = lake_with(project, frame=frame, arrow=arrow, relation=duckdb.connect().sql("SELECT 7 AS n"))
    lake = "lake.own."
    assert project.rows(f"SELECT * FROM {lake}frame ORDER BY 1") == [
        {"carrier": "EV", "share": 0.5},
        {"carrier": "UA", "share": None},
    ]
    assert project.value(f"SELECT sum(n) FROM {lake}arrow") == 6
    assert project.value(f"SELECT n FROM {lake}relation") == 7
    lake_with(project, arrow=pa.table({"m": ["other columns"]}))
    assert project.rows(f"SELECT * FROM {lake}arrow") == [{"m": "other columns"}]
    before = project.value("SELECT min(snapshot_id) FROM lake.snapshots() WHERE commit_message = 'own/arrow'")
    assert project.value(f"SELECT sum(n) FROM {lake}arrow AT (VERSION => {before})") == 6
    commits = project.rows("SELECT commit_message, commit_extra_info ->> 'code_version' v FROM lake.snapshots()")
    assert {"commit_message": "own/arrow", "v": "7"} in commits
    assert io.root == str(project.root)


def test_a_returned_table_is_described_and_versioned_by_its_content(project: Project) -> None:
    io = LakeIOManager(root=str(project.root))
    versions = []
    for frame in (pd.DataFrame({"n": [1, 2]}), pd.DataFrame({"n": [2, 1]}), pd.DataFrame({"n": [3]})):
        result = dg.materialize([_returning("t", frame)], resources={"io": io})
        (event,) = result.asset_materializations_for_node("own__t")
        assert event.metadata["dagster/row_count"].value == len(frame)
        assert event.metadata["dagster/table_name"].value == "lake.own.t"
        versions.append((event.tags or {})["dagster/data_version"])
    assert versions[0] == versions[1] != versions[2]


def test_a_partitioned_asset_replaces_its_batches(project: Project) -> None:
    project.instance.add_dynamic_partitions("loans_batches", ["1", "2", "3"])
    io = LakeIOManager(root=str(project.root))

    def write(frame: pd.DataFrame, *batches: str) -> dg.ExecuteInProcessResult:
        own = _returning("t", frame, partitions_def=BATCHES, backfill_policy=dg.BackfillPolicy.single_run())
        return run(project, project.instance, own, batches=batches, io=io)

    assert write(pd.DataFrame({"n": [1, 2]}), "1").success
    assert write(pd.DataFrame({"batch": ["2", "3"], "n": [3, 4]}), "2", "3").success
    assert write(pd.DataFrame({"n": [9]}), "1").success
    rows = [{"batch": "1", "n": 9}, {"batch": "2", "n": 3}, {"batch": "3", "n": 4}]
    by_batch = "SELECT batch, n FROM lake.own.t ORDER BY 1"
    assert project.rows(by_batch) == rows
    assert "no column `batch` that tells them apart" in failure_text(write(pd.DataFrame({"n": [1]}), "1", "2"))
    found = failure_text(write(pd.DataFrame({"batch": ["3"], "n": [1]}), "1"))
    assert "rows of batches that are not of this run.\n  found: 3" in found
    assert "cannot change from BIGINT to VARCHAR" in failure_text(write(pd.DataFrame({"n": ["x"]}), "2"))
    assert project.rows(by_batch) == rows


def test_what_cannot_be_stored_is_one_clear_error(project: Project) -> None:
    io = lake_with(project, t=pd.DataFrame({"n": [1]}))

    def refused(asset: Any) -> str:
        result = dg.materialize([asset], resources={"io": io}, raise_on_error=False)
        assert not result.success
        return failure_text(result)

    assert "not a table.\n  found: list" in refused(_returning("t", [1]))
    assert "values are not of one type" in refused(_returning("t", pd.DataFrame({"x": [1, "a"]})))
    assert project.value("SELECT n FROM lake.own.t") == 1


def test_a_table_of_the_pipeline_is_not_a_users_to_write(trained: Project, registered: dg.DagsterInstance) -> None:
    trials = trained.value("SELECT count(*) FROM {p}.trials")
    own = dg.asset(key=["loans", "trials"], io_manager_key="lake_io")(lambda: pd.DataFrame({"n": [1]}))
    found = failure_text(run(trained, registered, own))
    assert "The table loans.trials is not this asset's to write.\n  found: it is written by loans/candidate_" in found
    assert trained.value("SELECT count(*) FROM {p}.trials") == trials


def test_a_key_of_one_part_is_a_table_of_main(project: Project) -> None:
    own = dg.asset(name="alone", io_manager_key="io")(lambda: pd.DataFrame({"n": [1]}))
    assert dg.materialize([own], resources={"io": LakeIOManager(root=str(project.root))}).success
    assert project.value("SELECT n FROM lake.main.alone") == 1
