"""Files are seen, typed as declared, and nothing in them is lost."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from ml_assets.errors import SourceError
from ml_assets.graph.ingest import files, rows
from ml_assets.graph.ingest.arrivals import changed_batches, scan_source
from ml_assets.sources.remote import Place
from ml_assets_tests.conftest import Project, loans


def stock(project: Project, earlier: list[files.Arrival] | None = None) -> list[files.Arrival]:
    place = files.place_of(project.spec, project.paths)
    return scan_source(project.spec, place, {a.path: a for a in earlier or []})


def statuses(found: list[files.Arrival]) -> dict[str, str]:
    return {Path(arrival.path).name: arrival.status for arrival in found}


def error_of(found: list[files.Arrival], name: str) -> str:
    return next(arrival.error or "" for arrival in found if arrival.path.endswith(name))


def test_what_becomes_of_each_file(project: Project) -> None:
    project.write(1)
    (project.source / "notes.txt").write_text("hello")
    (project.source / ".hidden").write_text("half a copy")
    (project.source / "_SUCCESS").touch()
    (project.source / "archive").mkdir()
    (project.source / "archive" / "loans_9.csv").write_text("a pattern without / looks into no subfolder")
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


def test_a_file_from_a_clock_that_is_ahead_settles_too(project: Project) -> None:
    project.spec_dict["source"]["settle_seconds"] = 60
    future = time.time() + 3600
    os.utime(project.write(1), (future, future))
    (first,) = stock(project)
    assert first.status == "settling"
    seen_long_ago = first._replace(seen_at=first.seen_at - dt.timedelta(seconds=61))
    assert statuses(stock(project, [seen_long_ago])) == {"loans_1.parquet": "ready"}


def test_a_marker_says_that_the_files_beside_it_are_complete(project: Project) -> None:
    project.spec_dict["source"] |= {"marker": "_SUCCESS", "pattern": r"day=(?P<batch>\d+)/.*", "settle_seconds": 3600}
    for day in (1, 2):
        (project.source / f"day={day}").mkdir()
        loans(day, rows=5).to_parquet(project.source / f"day={day}" / f"part-{day}.parquet")
    (project.source / "day=1" / "_SUCCESS").touch()
    found = stock(project)
    assert statuses(found) == {"part-1.parquet": "ready", "part-2.parquet": "settling"}
    assert "There is no _SUCCESS beside it yet" in error_of(found, "part-2.parquet")
    (project.source / "day=1" / "_SUCCESS").unlink()  # the folder is about to be written again
    assert statuses(stock(project, found)) == {"part-1.parquet": "settling", "part-2.parquet": "settling"}


def test_what_was_ready_stays_so_while_its_name_means_the_same_batch(project: Project) -> None:
    project.spec_dict["source"]["pattern"] = r"(?P<batch>loans_\d)\.parquet"
    project.write(1)
    first = stock(project)
    assert stock(project, first)[0] is first[0]
    project.spec_dict["source"]["pattern"] = r"loans_(?P<batch>\d)\.parquet"
    assert [(a.batch, a.status) for a in stock(project, first)] == [("1", "ready")]
    project.spec_dict["source"]["pattern"] = r"other_(?P<batch>\d)\.parquet"
    assert statuses(stock(project, first)) == {"loans_1.parquet": "unmatched"}


def test_the_same_bytes_under_any_name_are_ingested_once(project: Project) -> None:
    first_file = project.write(1)
    first = stock(project)
    for name in ("loans_0.parquet", "loans_2.parquet"):  # one sorts before, one after
        shutil.copy(first_file, project.source / name)
    second = stock(project, first)
    assert statuses(second) == {
        "loans_0.parquet": "duplicate",
        "loans_1.parquet": "ready",
        "loans_2.parquet": "duplicate",
    }
    assert f"same bytes as {first_file} (batch 1)" in error_of(second, "loans_2.parquet")
    assert changed_batches(second, {a.path: a for a in first}) == {}
    first_file.unlink()  # its rows stay, so the copies stay what they are
    assert statuses(stock(project, second))["loans_2.parquet"] == "duplicate"
    project.write(1, loans(3))  # the first is another content now: one of the copies counts
    assert sorted(statuses(stock(project, second)).values()) == ["duplicate", "ready", "ready"]


def test_a_renamed_file_takes_the_place_of_the_vanished_one(project: Project) -> None:
    file = project.write(1)
    first = stock(project)
    file.rename(file.with_name("loans_01.parquet"))
    project.spec_dict["source"]["pattern"] = r"loans_0?(?P<batch>\d+)\.parquet"
    second = stock(project, first)
    assert statuses(second) == {"loans_01.parquet": "ready", "loans_1.parquet": "vanished"}
    assert changed_batches(second, {a.path: a for a in first}) == {}


def test_reading_stops_at_the_deadline_and_goes_on_next_time(project: Project) -> None:
    project.write(1)
    place = files.place_of(project.spec, project.paths)
    found = scan_source(project.spec, place, {}, deadline=time.monotonic() - 1)
    assert statuses(found) == {"loans_1.parquet": "settling"}
    assert "Waits for its turn" in error_of(found, "loans_1.parquet")
    hashed = scan_source(project.spec, place, {a.path: a for a in found})
    assert statuses(hashed) == {"loans_1.parquet": "ready"}
    waiting = {a.path: a._replace(status="settling") for a in hashed}  # its bytes are known, its header is not
    assert statuses(scan_source(project.spec, place, waiting, deadline=time.monotonic() - 1)) == statuses(found)
    assert statuses(scan_source(project.spec, place, waiting)) == statuses(hashed)


def test_ten_thousand_files_are_seen_without_opening_one_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.spec_dict["source"]["pattern"] = r"(?P<batch>\d+)\.csv"
    place = files.place_of(project.spec, project.paths)
    for number in range(10_000):
        (project.source / f"{number:05}.csv").touch()
    entries = {entry.path: entry for entry in place.entries(deep=False)}
    known = {
        path: files.Arrival(path, "x", path, 0, entry.modified_at, entry.modified_at) for path, entry in entries.items()
    }
    monkeypatch.setattr(Place, "local", lambda *arguments: pytest.fail("a file was opened"))
    found = scan_source(project.spec, place, known)
    assert {arrival.status for arrival in found} == {"ready"}
    assert len(found) == 10_000


def test_bytes_are_read_again_only_after_a_change(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project.write(1)
    first = stock(project)
    monkeypatch.setattr(Place, "local", lambda *arguments: pytest.fail(f"{arguments} was read again"))
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
    delivery = files.Delivery([str(path)], [str(path)], [path.relative_to(project.source).as_posix()], ["x"])
    with duckdb.connect() as con:
        name, _ = rows.open_rows(con, project.spec, "1", delivery)
        return con.sql(f"FROM {name}").df()


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
    assert project.ingest("7", until="raw_data").success
    rows = project.rows(
        "SELECT count(*) AS n, count(DISTINCT row_id) AS ids, count(DISTINCT source_file) AS files FROM {p}.raw_data"
    )
    assert rows == [{"n": 10, "ids": 10, "files": 2}]


def test_hive_folders_are_columns_and_name_the_batch(project: Project) -> None:
    project.spec_dict["source"]["pattern"] = r"year=(?P<year>\d+)/month=(?P<month>\d+)/.*\.(parquet|csv|jsonl)"
    project.spec_dict["columns"].append({"name": "month", "type": "integer", "min": 1, "max": 12})
    frames = {"a.parquet": loans(1, rows=4), "b.parquet": loans(2, rows=4).assign(income=[1, 2, 3, 4])}
    folder = project.source / "year=2024/month=03"
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        frame[sorted(frame.columns)].to_parquet(folder / name)  # in another order, and income as whole numbers
    (project.source / "year=2024/month=04").mkdir()
    loans(3, rows=4).to_csv(project.source / "year=2024/month=04/c.csv", index=False)
    (project.source / "year=2024/month=05").mkdir()
    loans(4, rows=4).to_json(
        project.source / "year=2024/month=05/d.jsonl", orient="records", lines=True, date_format="iso"
    )
    assert project.ingest("2024-03", "2024-04", "2024-05", until="quarantine").success
    assert project.rows(
        "SELECT batch, month, count(*) AS n, max(source_file) AS f FROM {p}.validated_data GROUP BY ALL ORDER BY ALL"
    ) == [
        {"batch": "2024-03", "month": 3, "n": 8, "f": "year=2024/month=03/b.parquet"},
        {"batch": "2024-04", "month": 4, "n": 4, "f": "year=2024/month=04/c.csv"},
        {"batch": "2024-05", "month": 5, "n": 4, "f": "year=2024/month=05/d.jsonl"},
    ]


def test_a_hive_folder_may_be_called_batch(project: Project) -> None:
    project.spec_dict["source"]["pattern"] = r"batch=(?P<batch>\w+)/.*"
    (project.source / "batch=x").mkdir()
    loans(1, rows=5).to_parquet(project.source / "batch=x/part.parquet")
    assert project.ingest("x").success
    assert project.value("SELECT count(*) FROM {p}.features WHERE batch = 'x'") == 5


def test_a_column_of_our_own_name_is_refused_unless_new_columns_are_left_out(project: Project) -> None:
    file = project.write(1, loans(1, rows=3).assign(row_id=[7, 8, 9]))
    with pytest.raises(SourceError, match="'row_id' is a name that ml_assets uses itself"):
        read(project, file)
    project.spec_dict["tolerate"]["new_columns"] = "ignore"
    assert read(project, file)["row_id"].to_list() == [1, 2, 3]


def test_text_in_a_number_of_json_lines_spoils_its_row_only(project: Project) -> None:
    """A number for 30,000 rows and then a text: types told from a sample would refuse the whole file."""
    file = project.source / "loans_1.jsonl"
    row = '{{"loan": {}, "income": {}, "region": "A", "signed": "2024-01-01T00:00:00Z", "late_days": null{}}}\n'
    file.write_text("".join(row.format(n, n if n < 30_000 else '"abc"', "") for n in range(1, 30_001)))
    rows = read(project, file)
    assert rows["unreadable"].map(len).sum() == 1
    assert list(rows["unreadable"].iloc[-1]) == ["income: 'abc'"]


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_compressed_text_is_read(project: Project, compression: str) -> None:
    plain = project.write(1, suffix="csv")
    packed = plain.with_name(plain.name + "." + compression)
    with duckdb.connect() as con:
        kind = {"gz": "gzip", "zst": "zstd"}[compression]
        con.execute(f"COPY (FROM read_csv('{plain}', all_varchar = true)) TO '{packed}' (COMPRESSION {kind}, HEADER)")
    pd.testing.assert_frame_equal(
        read(project, packed).drop(columns="source_file"), read(project, plain).drop(columns="source_file")
    )
