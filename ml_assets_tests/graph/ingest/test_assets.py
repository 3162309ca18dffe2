"""The ingest assets: what is in the lake after good, bad, changed and mixed batches."""

from __future__ import annotations

import pandas as pd

from ml_assets_tests.conftest import Project, check_results, failure_text, loans


def spoiled(batch: int, rows: int) -> pd.DataFrame:
    """A batch whose first rows break two rules each."""
    frame = loans(batch)
    frame.loc[: rows - 1, "income"] = -1.0
    frame.loc[: rows - 1, "region"] = "??"
    return frame


def test_broken_rows_go_to_quarantine_with_every_reason(project: Project) -> None:
    project.write(1, spoiled(1, 6))
    result = project.ingest("1")
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


def test_a_refused_batch_alone_fails_its_run_and_keeps_what_was_good(project: Project) -> None:
    project.write(1)
    assert project.ingest("1").success
    project.write(1, spoiled(1, 100))
    result = project.ingest("1")
    assert not result.success
    text = failure_text(result)
    assert "66.7% of the rows break a rule" in text
    assert "Traceback" not in text
    assert project.value("SELECT count(*) FROM {p}.validated_data") == 150
    assert project.value("SELECT count(*) FROM {p}.features") == 150


def test_changed_bytes_replace_the_batch(project: Project) -> None:
    project.write(1)
    assert project.ingest("1").success
    before = project.value("SELECT min(source_sha256) FROM {p}.raw_data")
    project.write(1, loans(1, rows=40))
    assert project.ingest("1").success
    assert project.value("SELECT count(*) FROM {p}.features") == 40
    assert project.value("SELECT min(source_sha256) FROM {p}.raw_data") != before


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
    assert "Materialize loans/arrivals" in text


def test_the_same_batch_again_has_the_same_data_version(project: Project) -> None:
    project.write(1)
    versions = []
    for _ in range(2):
        result = project.ingest("1")
        (event,) = result.asset_materializations_for_node("loans__features")
        versions.append(event.tags["dagster/data_version"])
    assert versions[0] == versions[1]
