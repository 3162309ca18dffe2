"""Files are seen, typed as declared, and nothing in them is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from ml_assets.errors import SourceError
from ml_assets.graph.ingest import files
from ml_assets.graph.ingest.arrivals import changed_batches, take_stock
from ml_assets_tests.conftest import Project, loans


def stock(project: Project, earlier: list[files.Arrival] | None = None) -> list[files.Arrival]:
    return take_stock(project.spec, project.source, {a.path: a for a in earlier or []})


def statuses(found: list[files.Arrival]) -> dict[str, str]:
    return {Path(arrival.path).name: arrival.status for arrival in found}


def test_what_becomes_of_each_file(project: Project) -> None:
    project.write(1)
    (project.source / "notes.txt").write_text("hello")
    (project.source / ".hidden").write_text("half a copy")
    (project.source / "loans_2.parquet").touch()
    (project.source / "loans_3.parquet").write_bytes(project.write(1).read_bytes()[:500])
    (project.source / "loans_4.csv").write_text("a,b\n1,2\n")
    found = stock(project)
    assert statuses(found) == {
        "loans_1.parquet": "ready",
        "loans_2.parquet": "refused",
        "loans_3.parquet": "refused",
        "loans_4.csv": "refused",
        "notes.txt": "unmatched",
    }
    errors = {Path(arrival.path).name: arrival.error or "" for arrival in found}
    assert "empty (0 bytes)" in errors["loans_2.parquet"]
    assert "cannot be read" in errors["loans_3.parquet"]
    assert "lacks 5 of 5 declared columns: loan, income" in errors["loans_4.csv"]
    assert "pipeline loans, batch 4" in errors["loans_4.csv"]
    assert "found: columns a, b" in errors["loans_4.csv"]


def test_a_missing_folder_is_named(project: Project) -> None:
    project.source.rmdir()
    with pytest.raises(SourceError, match="folder does not exist") as caught:
        stock(project)
    assert str(project.source) in str(caught.value)


def test_a_file_settles_first(project: Project) -> None:
    project.spec_dict["source"]["settle_seconds"] = 60
    file = project.write(1)
    assert statuses(stock(project)) == {"loans_1.parquet": "settling"}
    old = time.time() - 61
    os.utime(file, (old, old))
    assert statuses(stock(project)) == {"loans_1.parquet": "ready"}


def test_bytes_are_read_again_only_after_a_change(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project.write(1)
    first = stock(project)
    monkeypatch.setattr(files, "_sha256", lambda path: pytest.fail(f"{path} was read again"))
    again = stock(project, first)
    assert changed_batches(again, {a.path: a for a in first}) == {}
    monkeypatch.undo()
    os.utime(file, (0, 0))  # touched, same bytes
    assert changed_batches(stock(project, again), {a.path: a for a in again}) == {}
    project.write(1, loans(1, rows=10))
    assert list(changed_batches(stock(project, again), {a.path: a for a in again})) == ["1"]


def test_a_vanished_file_is_kept_on_record(project: Project) -> None:
    project.write(1)
    first = stock(project)
    (project.source / "loans_1.parquet").unlink()
    assert statuses(stock(project, first)) == {"loans_1.parquet": "vanished"}


def read(project: Project, path: Path) -> pd.DataFrame:
    with duckdb.connect() as con:
        found = files.header(con, project.spec, [str(path)])
        values = {"batch": "1", "files": [str(path)], "sha256": ["x"], **files.typed_parameters(project.spec, found)}
        return con.execute(files.typed_select(project.spec, found, [str(path)]), values).df()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_every_format_gives_the_same_rows(project: Project, suffix: str) -> None:
    rows = read(project, project.write(1, suffix=suffix)).drop(columns=["source_file", "unreadable"])
    expected = read(project, project.write(1)).drop(columns=["source_file", "unreadable"])
    pd.testing.assert_frame_equal(rows, expected)
    assert rows["row_id"].to_list() == list(range(1, 151))


def test_a_value_of_the_wrong_type_is_kept_as_text(project: Project) -> None:
    file = project.source / "loans_1.csv"
    file.write_text(
        "loan,income,region,signed,late_days\n"
        "1,abc,A,2024-01-01,\n"
        "1.5,nan,A,soon,2\n"
        "9007199254740993,1e3,A,2024-01-01T10:00:00Z,3\n"
    )
    rows = read(project, file)
    assert [list(bad) for bad in rows["unreadable"]] == [["income: 'abc'"], ["loan: '1.5'", "signed: 'soon'"], []]
    assert rows["loan"].to_list()[2] == 9007199254740993
    assert rows["income"].isna().to_list() == [True, True, False]
    assert rows["signed"].iloc[2] == pd.Timestamp("2024-01-01 10:00")


def test_floats_in_an_integer_column_are_never_rounded(project: Project) -> None:
    frame = loans(1, rows=3).assign(loan=[1.0, 1.7, float("nan")])
    rows = read(project, project.write(1, frame))
    assert [list(bad) for bad in rows["unreadable"]] == [[], ["loan: '1.7'"], []]
    assert rows["loan"].isna().to_list() == [False, True, True]


@pytest.mark.parametrize(
    ("rule", "outcome"), [("keep", "branch"), ("ignore", None), ("error", "columns that are not declared: branch")]
)
def test_new_columns(project: Project, rule: str, outcome: str | None) -> None:
    project.spec_dict["tolerate"]["new_columns"] = rule
    file = project.write(1, loans(1, rows=3).assign(branch=[1, 2, 3]))
    if rule == "error":
        with pytest.raises(SourceError, match=outcome):
            read(project, file)
    else:
        rows = read(project, file)
        assert ("branch" in rows) == (rule == "keep")
        if outcome:
            assert rows[outcome].to_list() == ["1", "2", "3"]


def test_missing_columns_may_be_null(project: Project) -> None:
    file = project.write(1, loans(1, rows=3).drop(columns="income"))
    with pytest.raises(SourceError, match="lacks 1 of 5 declared columns: income"):
        read(project, file)
    project.spec_dict["tolerate"]["missing_columns"] = "null"
    assert read(project, file)["income"].isna().all()


def test_several_files_make_one_batch(project: Project) -> None:
    project.spec_dict["source"]["pattern"] = r"loans_(?P<batch>\d+)_part\d\.parquet"
    for part in (1, 2):
        loans(part, rows=5).to_parquet(project.source / f"loans_7_part{part}.parquet")
    assert project.ingest("7").success
    rows = project.rows(
        "SELECT count(*) AS n, count(DISTINCT row_id) AS ids, count(DISTINCT source_file) AS files FROM {p}.raw_data"
    )
    assert rows == [{"n": 10, "ids": 10, "files": 2}]
