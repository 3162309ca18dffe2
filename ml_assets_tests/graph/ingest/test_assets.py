"""The ingest assets: what is in the lake after good, bad, changed and mixed batches."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pandas as pd
import pytest

from ml_assets.graph.alerting.events import FailedRun, FailedStep, happened
from ml_assets.lake.lake import Lake
from ml_assets_tests.conftest import Project, check_results, failure_text, loans


def spoiled(batch: int, rows: int) -> pd.DataFrame:
    """A batch whose first rows break two rules each."""
    frame = loans(batch)
    frame.loc[: rows - 1, "income"] = -1.0
    frame.loc[: rows - 1, "region"] = "??"
    return frame


Ingested = tuple[Project, dg.ExecuteInProcessResult]


@pytest.fixture(scope="module")
def six_broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingested]:
    """A batch of which six rows are broken. For reading only."""
    with dg.DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path_factory.mktemp("six_broken"), instance)
        project.write(1, spoiled(1, 6))
        yield project, project.ingest("1")


def test_broken_rows_go_to_quarantine_with_every_reason(six_broken: Ingested) -> None:
    project, result = six_broken
    assert result.success
    assert project.value("SELECT count(*) FROM {p}.validated_data") == 144
    rows = project.rows("SELECT row_id, reasons FROM {p}.quarantine ORDER BY row_id")
    assert [row["row_id"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["reasons"] == ["income.min", "region.regex"]
    assert check_results(result)[("validated_data", "no_row_is_lost", "1")]
    (event,) = [
        e for e in result.asset_materializations_for_node("loans__validate") if e.asset_key.path[-1] == "quarantine"
    ]
    assert event.metadata["dagster/row_count"].value == 6
    assert "| income.min | 6 |" in str(event.metadata["reasons"].value)


def test_a_batch_with_too_many_broken_rows_is_refused_alone(project: Project) -> None:
    for batch in (1, 2, 3):
        project.write(batch, spoiled(2, 100) if batch == 2 else None)
    result = project.ingest("1", "2", "3")
    assert result.success
    assert project.rows("SELECT DISTINCT batch FROM {p}.features ORDER BY 1") == [{"batch": "1"}, {"batch": "3"}]
    assert project.value("SELECT count(*) FROM {p}.quarantine WHERE batch = '2'") == 100
    checks = check_results(result)
    assert [checks[("validated_data", "within_tolerance", batch)] for batch in "123"] == [True, False, True]
    events = {e.partition: e for e in result.asset_materializations_for_node("loans__features")}
    assert "refused" not in events["1"].metadata
    assert "pipeline loans, batch 2" in str(events["2"].metadata["refused"].value)


def test_a_refused_batch_alone_fails_its_run_and_keeps_what_was_good(copied: Project) -> None:
    project = copied
    project.write(1, spoiled(1, 100))
    result = project.ingest("1")
    assert not result.success
    text = failure_text(result)
    assert "66.7% of the rows break a rule" in text
    assert "Traceback" not in text
    assert project.value("SELECT count(*) FROM {p}.validated_data WHERE batch = '1'") == 150
    assert project.value("SELECT count(*) FROM {p}.features WHERE batch = '1'") == 150


def test_changed_bytes_replace_the_batch(copied: Project) -> None:
    project, sha256 = copied, "SELECT min(source_sha256) FROM {p}.raw_data WHERE batch = '1'"
    before = project.value(sha256)
    project.write(1, loans(1, rows=40))
    assert project.ingest("1").success
    assert project.value("SELECT count(*) FROM {p}.features WHERE batch = '1'") == 40
    assert project.value(sha256) != before


def test_a_run_that_only_met_rejected_files_fails(project: Project) -> None:
    """The sensor tags it so. Where other files are ingested, the check fails and the run does not."""
    (project.source / "loans_3.parquet").write_text("no parquet")
    first = project.tick("loans_new_data")
    (request,) = first.run_requests
    assert request.tags["ml_assets/rejected"] == "loans_3.parquet"
    result = (
        project.defs()
        .resolve_job_def("loans_ingest")
        .execute_in_process(
            asset_selection=request.asset_selection, tags=request.tags, instance=project.instance, raise_on_error=False
        )
    )
    assert not result.success
    assert check_results(result) == {("arrivals", "every_file_is_accepted", None): False}
    text = failure_text(result)
    assert text.startswith("1 file is rejected: loans_3.parquet\n")
    step = FailedStep("arrivals_every_file_is_accepted", text, False)
    with Lake(project.paths.lake, read_only=True) as lake:
        told = happened(lake, "loans", [FailedRun(result.run_id, "loans_ingest", [step])])
    assert [alert.event for alert in told] == ["rejected_file"]  # which covers the failed run
    assert project.arrive().success


def test_arrivals_registers_batches_and_records_every_file(project: Project) -> None:
    project.write(2)
    project.write(1, suffix="csv")
    (project.source / "loans_3.parquet").touch()
    result = project.arrive()
    assert result.success
    assert project.instance.get_dynamic_partitions("loans_batches") == ["1", "2"]
    assert check_results(result) == {("arrivals", "every_file_is_accepted", None): False}
    assert project.rows("SELECT batch, status FROM {p}.arrivals ORDER BY batch") == [
        {"batch": "1", "status": "ready"},
        {"batch": "2", "status": "ready"},
        {"batch": "3", "status": "refused"},
    ]


def test_a_batch_that_never_arrived_names_the_next_step(project: Project) -> None:
    project.write(1)
    project.arrive()
    project.instance.add_dynamic_partitions("loans_batches", ["9"])
    assert "No file has arrived for the batch" in failure_text(project.materialize("raw_data", batches=["9"]))
    (project.source / "loans_1.parquet").write_bytes(b"other")
    text = failure_text(project.materialize("raw_data", batches=["1"]))
    assert "has changed since it was seen" in text
    assert "Materialize arrivals, then this batch again" in text


def test_the_same_batch_again_has_the_same_data_version(copied: Project) -> None:
    made = "SELECT (commit_extra_info -> 'data_versions') ->> 'loans.features' AS version FROM lake.snapshots() "
    of_batch = "WHERE commit_message = 'loans/features' AND (commit_extra_info ->> 'batch') = '1'"
    before = copied.value(made + of_batch)
    (event,) = copied.ingest("1").asset_materializations_for_node("loans__features")
    assert event.tags["dagster/data_version"] == before
    assert [row["version"] for row in copied.rows(made + of_batch)] == [before] * 2


def test_what_fails_is_rejected_with_its_error_and_blocks_nothing(project: Project) -> None:
    """A wrong header, and a file that breaks off inside: both are rows of ingest_errors, the other files go on."""
    project.spec_dict["source"]["pattern"] = r"loans_(?P<batch>\d+)(_part\d)?\.(parquet|csv)"
    project.write(1, loans(1, rows=5))
    (project.source / "loans_2.csv").write_text("a,b\n1,2\n")
    loans(3, rows=5).to_parquet(project.source / "loans_3_part1.parquet")
    torn = project.source / "loans_3_part2.parquet"
    loans(4, rows=5).to_parquet(torn)
    whole = torn.read_bytes()
    torn.write_bytes(whole[:4] + bytes(400) + whole[404:])  # the header can still be read
    result = project.ingest("1", "3")
    assert result.success
    assert project.rows("SELECT batch, count(*) AS n FROM {p}.features GROUP BY 1 ORDER BY 1") == [
        {"batch": "1", "n": 5},
        {"batch": "3", "n": 5},
    ]
    errors = project.rows("SELECT asset, batch, path, error FROM {p}.ingest_errors ORDER BY batch")
    assert [(row["asset"], row["batch"], row["path"].rpartition("/")[2]) for row in errors] == [
        ("loans/arrivals", "2", "loans_2.csv"),
        ("loans/raw_data", "3", "loans_3_part2.parquet"),
    ]
    assert "cannot be read" in errors[1]["error"]
    checks = check_results(result)
    assert checks[("raw_data", "every_file_is_read", "1")]
    assert not checks[("raw_data", "every_file_is_read", "3")]
    project.arrive()
    assert project.value("SELECT count(*) FROM {p}.ingest_errors") == 2  # the same failure is one row
    torn.write_bytes(whole)
    assert check_results(project.ingest("3", until="raw_data"))[("raw_data", "every_file_is_read", "3")]


def test_rows_of_a_vanished_file_stay_when_its_neighbour_changes(project: Project) -> None:
    project.spec_dict["source"]["pattern"] = r"loans_(?P<batch>\d+)_part\d\.parquet"
    for part in (1, 2):
        loans(part, rows=5).to_parquet(project.source / f"loans_7_part{part}.parquet")
    assert project.ingest("7", until="raw_data").success
    (project.source / "loans_7_part1.parquet").unlink()
    loans(3, rows=4).to_parquet(project.source / "loans_7_part2.parquet")
    assert project.ingest("7").success
    rows = project.rows(
        "SELECT source_file, count(*) AS n, count(DISTINCT row_id) AS ids FROM {p}.features f "
        "JOIN {p}.raw_data r USING (batch, row_id) GROUP BY 1 ORDER BY 1"
    )
    assert rows == [
        {"source_file": "loans_7_part1.parquet", "n": 5, "ids": 5},
        {"source_file": "loans_7_part2.parquet", "n": 4, "ids": 4},
    ]


def test_a_change_of_the_columns_is_an_event(project: Project) -> None:
    project.spec_dict["tolerate"]["missing_columns"] = "null"
    project.write(1, loans(1, rows=8))
    changed = loans(2, rows=8).drop(columns="income").assign(branch="north", loan=lambda f: f["loan"].astype("float"))
    project.write(2, changed)
    project.write(3, loans(3, rows=8))
    assert project.ingest("1", "2", "3").success
    events = project.rows(
        "SELECT batch, column_name, event, before, after, handling FROM {p}.schema_events WHERE event != 'first' "
        "ORDER BY batch, column_name"
    )
    assert [(e["batch"], e["column_name"], e["event"], e["before"], e["after"]) for e in events] == [
        ("2", "branch", "added", None, "VARCHAR"),
        ("2", "income", "removed", "DOUBLE", None),
        ("2", "loan", "retyped", "BIGINT", "DOUBLE"),
        ("3", "branch", "removed", "VARCHAR", None),
        ("3", "income", "added", None, "DOUBLE"),
        ("3", "loan", "retyped", "DOUBLE", "BIGINT"),
    ]
    assert [e["handling"] for e in events[:2]] == ["kept as text", "NULL in this batch"]
    before = project.value("SELECT count(*) FROM {p}.schema_events")
    assert project.ingest("1", "2", "3", until="raw_data").success
    assert project.value("SELECT count(*) FROM {p}.schema_events") == before  # known already


def test_statistics_of_every_validated_batch(six_broken: Ingested) -> None:
    (project, result), frame = six_broken, spoiled(1, 6)
    (row,) = project.rows("SELECT * FROM {p}.statistics WHERE batch = '1' AND column_name = 'income'")
    valid = frame["income"].iloc[6:]
    assert (row["row_count"], row["null_count"]) == (144, 0)
    assert (float(row["min_value"]), float(row["max_value"])) == (valid.min(), valid.max())
    assert row["quantiles"][4] == valid.median()
    assert sum(bin_["count"] for bin_ in row["histogram"]) == 144
    (event,) = [
        e for e in result.asset_materializations_for_node("loans__validate") if e.asset_key.path[-1] == "validated_data"
    ]
    assert "| income | 0 |" in str(event.metadata["statistics"].value)
