"""Files that nobody would send on purpose: each is rejected by name, read exactly, or quarantined; the others go on."""

from __future__ import annotations

import datetime as dt
import gzip
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_assets.errors import LakeBusy, SourceError
from ml_assets.graph.ingest import reading, rows, validation
from ml_assets.graph.ingest.arrivals import changed_batches, scan_source, superseded
from ml_assets.graph.ingest.files import Arrival, deliver, place_of
from ml_assets.graph.staleness.facts import read_facts
from ml_assets.lake import puts
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.pipeline_summary import summarize
from ml_assets.sources.references import load_references
from ml_assets.tables.arrivals import files_of, known, put
from ml_assets_tests.conftest import Project, failure_text, loans

ANY = r"(?P<batch>[^/]+?)\.(parquet|csv|csv\.gz)"


def stock(project: Project, earlier: list[Arrival] | None = None) -> dict[str, Arrival]:
    found = scan_source(project.spec, place_of(project.spec, project.paths), {a.path: a for a in earlier or []})
    return {Path(arrival.path).name: arrival for arrival in found}


def ingest(project: Project, lake: Lake, *batches: str) -> list[reading.RawBatch]:
    """arrivals and raw_data, as the assets write them."""
    spec, place = project.spec, place_of(project.spec, project.paths)
    found = scan_source(spec, place, known(lake, "loans"))
    lake.replace([put(lake, "loans", found)], Commit("loans/arrivals"))
    made = []
    for batch in batches:
        delivery = deliver(place, files_of(lake, "loans", spec.source.path, batch))
        commit = Commit("loans/raw_data", batch=batch)
        made.append(reading.write_batch(lake, spec, batch, delivery, superseded(lake, spec, place, batch), commit))
    return made


def rows_by_file(lake: Lake) -> dict[str, int]:
    return dict(
        lake.con.execute("SELECT source_file, count(*) FROM lake.loans.raw_data GROUP BY 1 ORDER BY 1").fetchall()
    )


def csv(project: Project, name: str, frame: pd.DataFrame) -> Path:
    file = project.source / name
    frame.to_csv(file, index=False)
    return file


def test_one_run_over_a_folder_of_traps(project: Project) -> None:
    project.spec_dict["source"]["pattern"] = ANY
    source = os.fsencode(project.source)
    for number, name in enumerate(["report[1].csv", "report1.csv", "a*b.csv", "axb.csv", "what?.csv", "whats.csv"]):
        csv(project, name, loans(number, rows=3 + number))
    for name in (b"caf\xe9.csv", b"notes\xff.txt"):
        Path(os.fsdecode(source + b"/" + name)).write_text("x\n1\n")
    for name, target in (("loop.csv", "loop.csv"), ("nowhere.csv", "gone.csv")):
        (project.source / name).symlink_to(target)
    os.mkfifo(project.source / "pipe.csv")
    far = csv(project, "far.csv", loans(8, rows=2))
    os.utime(far, (2e10, 2e10))  # the year 2603; beyond what a calendar has it counts as 1970
    csv(project, "red\x1b[31m.csv", loans(14, rows=2))
    csv(project, "extra.csv", loans(9, rows=2).assign(reasons="late"))
    csv(project, "target.csv", loans(10, rows=2).assign(Late=1))
    more = pd.DataFrame({f"c{n}": [n, n] for n in range(rows.MOST_NEW_COLUMNS + 1)})
    csv(project, "wide.csv", loans(11, rows=2).join(more))
    whole = gzip.compress(loans(12, rows=9).to_csv(index=False).encode())
    (project.source / "torn.csv.gz").write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    dates = pa.array([2**31 - 5], pa.date32())
    pq.write_table(
        pa.Table.from_pandas(loans(13, rows=1)).set_column(3, "signed", dates), project.source / "date.parquet"
    )
    result = project.ingest("a*b", "whats")  # from the first to the last that is registered
    assert result.success, failure_text(result)
    read = project.rows("SELECT batch, count(*) AS n, any_value(source_file) AS f FROM {p}.features f "
                        "JOIN {p}.raw_data USING (batch, row_id) GROUP BY 1 ORDER BY 2")  # fmt: skip
    good = ["far.csv", "report[1].csv", "report1.csv", "a*b.csv", "axb.csv", "what?.csv", "whats.csv"]
    assert [(row["f"], row["n"]) for row in read] == list(zip(good, range(2, 9), strict=True))
    told = {
        row["path"].rpartition("/")[2]: row["error"]
        for row in project.rows("SELECT path, error FROM {p}.arrivals WHERE status = 'refused'")
    }
    for name, text in {
        "caf\\xe9.csv": "not UTF-8",
        "loop.csv": "leads nowhere: Too many levels",
        "nowhere.csv": "leads nowhere: No such file",
        "pipe.csv": "a pipe, socket or device",
        "red\\x1b[31m.csv": "holds control characters",
        "extra.csv": "'reasons' is a name that ml_assets uses itself",
        "target.csv": "'Late' is the name of the target",
        "wide.csv": "at most 200 undeclared columns; with this file it would hold 201",
        "torn.csv.gz": "cut off, or its checksum",
    }.items():
        assert text in told.pop(name)
    assert set(told) <= {"date.parquet"}
    assert project.rows("SELECT path FROM {p}.arrivals WHERE status = 'unmatched'")[0]["path"].endswith(
        "notes\\xff.txt"
    )


def test_folders_and_links_that_lead_round(project: Project) -> None:
    project.spec_dict["source"]["pattern"] = r"day=(?P<batch>\d)/.*\.csv"
    (project.source / "day=1").mkdir()
    csv(project, "day=1/a.csv", loans(1, rows=2))
    (project.source / "day=1" / "back").symlink_to(project.source)
    (project.source / "round").symlink_to("round")
    found = stock(project)
    assert {name: one.status for name, one in found.items()} == {"a.csv": "ready", "round": "unmatched"}


def test_values_are_exact_or_quarantined_by_column(project: Project, lake: Lake) -> None:
    text = "loan,income,region,signed,late_days\n"
    for loan, income, signed in (
        ("1", "10.5", "2024-01-01T10:00:00+02:00"),
        ("2", "inf", "2024-01-01"),
        ("3", "1e400", "2024-01-01"),
        ("4_0", "1", "2024-01-01"),
        ("5", "NaN", "infinity"),
        ("6.0", "-Infinity", "2024-01-01"),
        ("#7", "1", "2024-01-01"),
    ):
        text += f"{loan},{income},A,{signed},\n"
    (project.source / "loans_1.csv").write_text(text)
    project.write(2, loans(2, rows=3).assign(income=[1.0, float("inf"), float("nan")]))
    ingest(project, lake, "1", "2")
    held = {}
    for batch in ("1", "2"):
        validation.check_batch(lake, project.spec, batch)
        for row_id, reasons in lake.con.execute("SELECT row_id, reasons FROM _broken_batch ORDER BY 1").fetchall():
            held[batch, row_id] = [reason for reason in reasons if "null" not in reason]
    assert held == {
        ("1", 2): ["income.finite"],
        ("1", 3): ["type of income: '1e400'"],
        ("1", 4): ["type of loan: '4_0'"],
        ("1", 5): ["type of signed: 'infinity'"],
        ("1", 6): ["income.finite", "income.min"],
        ("1", 7): ["type of loan: '#7'"],
        ("2", 2): ["income.finite"],
    }
    (row,) = lake.rows("SELECT loan, income, signed FROM lake.loans.raw_data WHERE batch = '1' AND row_id = 1")
    assert row == {"loan": 1, "income": 10.5, "signed": dt.datetime(2024, 1, 1, 8)}


def test_good_rows_stay_when_their_file_comes_back_bad(project: Project, lake: Lake) -> None:
    project.spec_dict["source"]["pattern"] = r"loans_(?P<batch>\d)(_[ab])?\.(parquet|csv)"
    for number, name in enumerate(["loans_1", "loans_2_a", "loans_2_b", "loans_3_a", "loans_3_b"]):
        csv(project, f"{name}.csv", loans(number, rows=5))
    ingest(project, lake, "1", "2", "3")
    head = "loan,income,region,signed,late_days\n"
    (project.source / "loans_1.csv").write_text(head)
    (project.source / "loans_2_a.csv").write_text(head + "\n")  # other bytes than batch 1, or it were a duplicate
    csv(project, "loans_2_b.csv", loans(7, rows=4))
    (project.source / "loans_3_a.csv").write_text("not,a,loan\n1,2,3\n")
    csv(project, "loans_3_b.csv", loans(8, rows=4))
    with pytest.raises(SourceError, match=r"a header and no rows. Earlier rows of it stay"):
        ingest(project, lake, "1")
    two, _ = ingest(project, lake, "2", "3")
    assert [(one.path or "")[-13:] for one in two.bad] == ["loans_2_a.csv"]
    assert rows_by_file(lake) == {
        "loans_1.csv": 5, "loans_2_a.csv": 5, "loans_2_b.csv": 4, "loans_3_a.csv": 5, "loans_3_b.csv": 4,
    }  # fmt: skip
    assert lake.rows("SELECT count(DISTINCT (batch, row_id)) - count(*) AS twice FROM lake.loans.raw_data") == [
        {"twice": 0}
    ]
    (project.source / "loans_3_a.csv").unlink()  # rejected, then gone: its good rows stay all the same
    csv(project, "loans_3_b.csv", loans(9, rows=3))
    ingest(project, lake, "3")
    assert rows_by_file(lake)["loans_3_a.csv"] == 5
    csv(project, "loans_3_a.csv", loans(10, rows=2))
    ingest(project, lake, "3")
    assert rows_by_file(lake)["loans_3_a.csv"] == 2
    (project.source / "loans_2_b.csv").write_text((project.source / "loans_3_a.csv").read_text())
    csv(project, "loans_2_a.csv", loans(11, rows=6))
    ingest(project, lake, "2")  # a file that is a duplicate now takes the place of nothing
    assert rows_by_file(lake) == {
        "loans_1.csv": 5, "loans_2_a.csv": 6, "loans_2_b.csv": 4, "loans_3_a.csv": 2, "loans_3_b.csv": 3,
    }  # fmt: skip


def test_bytes_of_a_rejected_file_are_no_duplicate_elsewhere(project: Project) -> None:
    good = loans(1, rows=5).to_csv(index=False)
    (project.source / "loans_1.parquet").write_text(good)  # CSV under the wrong suffix
    first = stock(project)
    assert first["loans_1.parquet"].status == "refused"
    (project.source / "loans_1.csv").write_text(good)
    for name in ("loans_2.csv", "loans_3.csv"):
        (project.source / name).touch()
    found = stock(project, list(first.values()))
    assert {name: one.status for name, one in found.items()} == {
        "loans_1.csv": "ready",
        "loans_1.parquet": "refused",
        "loans_2.csv": "refused",
        "loans_3.csv": "refused",
    }
    assert "empty (0 bytes)" in str(found["loans_3.csv"].error)


def test_new_bytes_of_the_old_size_and_time_are_seen(project: Project, lake: Lake) -> None:
    file = csv(project, "loans_1.csv", loans(1, rows=5))
    before, stat = stock(project), file.stat()
    file.write_text(file.read_text().replace("A", "B").replace("C", "A"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    place = place_of(project.spec, project.paths)
    with pytest.raises(SourceError, match="has changed since it was seen"):
        deliver(place, list(before.values()))
    after = stock(project, list(before.values()))
    assert list(changed_batches(after.values(), {a.path: a for a in before.values()})) == ["1"]
    file.chmod(0o600)  # another time of change, the same bytes: it is read as it is
    assert deliver(place, list(after.values())).sha256 == [after["loans_1.csv"].sha256]


def test_a_file_that_changes_while_it_is_read_leaves_the_lake_as_it_was(
    project: Project, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project.write(1)
    ingest(project, lake, "1")
    project.write(1, loans(1, rows=40))
    real = puts.write

    def slow(con: Any, put: Put, *rest: Any) -> int:
        if put.table == "loans.raw_data":
            loans(1, rows=39).to_parquet(file)
        return real(con, put, *rest)

    monkeypatch.setattr(puts, "write", slow)
    with pytest.raises(SourceError, match="changed while it was read"):
        ingest(project, lake, "1")
    assert rows_by_file(lake) == {"loans_1.parquet": 150}


def test_undeclared_columns_are_limited_over_all_files(
    project: Project, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_NEW_COLUMNS", 3)
    for batch, names in ((1, "ab"), (2, "bcd"), (3, "ac")):
        project.write(batch, loans(batch, rows=4).assign(**dict.fromkeys(names, 1)))
    ingest(project, lake, "1")
    with pytest.raises(SourceError, match=r"with this file it would hold 4(.|\n)*tolerate.new_columns: ignore"):
        ingest(project, lake, "2")
    ingest(project, lake, "3")
    assert rows_by_file(lake) == {"loans_1.parquet": 4, "loans_3.parquet": 4}
    (project.source / "loans_4.parquet").touch()
    ingest(project, lake)
    summary = summarize(lake, "loans")
    assert summary.seen == read_facts(lake, "loans").batches() == ["1", "2", "3", "4"]  # as `ml-assets status` counts
    assert summary.batches == []


def test_a_reference_is_the_file_of_its_name(project: Project, lake: Lake) -> None:
    folder = project.root / "data/reference"
    (folder / "codes[1].csv").write_text("region\nA\n")
    (folder / "codes1.csv").write_text("region\nB\n")
    project.spec_dict["references"]["regions"] = {"path": "data/reference/codes[1].csv"}
    load_references(lake, project.spec, project.paths, ["regions"])
    assert lake.con.execute("FROM regions").fetchall() == [("A",)]
    (folder / "codes1.csv").write_bytes("region,name\nA,Süd\n".encode("latin-1"))
    project.spec_dict["references"]["regions"] = {"path": "data/reference/codes1.csv"}
    with pytest.raises(SourceError, match=r"line 2 holds the byte 0xfc(.|\n)*iconv"):
        load_references(lake, project.spec, project.paths, ["regions"])
    (folder / "codes.csv.gz").write_bytes(gzip.compress(b"region\nA\n")[:-3])
    project.spec_dict["references"]["regions"] = {"path": "data/reference/codes.csv.gz"}
    with pytest.raises(SourceError, match=r"reference 'regions' cannot be read(.|\n)*damaged"):
        load_references(lake, project.spec, project.paths, ["regions"])


def test_whatever_a_batch_raises_is_its_own_and_a_failing_lake_stops_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.spec_dict["rules"]["coded"] = "CAST(region AS INTEGER) > 0 OR region = 'A'"
    project.spec_dict["columns"][2].pop("regex")
    for batch, region in ((1, "1"), (2, "x"), (3, "2")):
        project.write(batch, loans(batch, rows=4).assign(region=region))
    assert project.ingest("1", "2", "3", until="quarantine").success
    assert project.rows("SELECT DISTINCT batch FROM {p}.validated_data ORDER BY 1") == [{"batch": "1"}, {"batch": "3"}]
    (row,) = project.rows("SELECT batch, error FROM {p}.ingest_errors WHERE asset = 'loans/validated_data'")
    assert row["batch"] == "2"
    assert "ConversionException" in row["error"]
    tried = []

    def busy(lake: Lake, puts: Any, commit: Any, *rest: Any, **named: Any) -> Any:
        tried.append(commit.batch)
        raise LakeBusy("Another process has been writing to the lake for over 300 s.")

    monkeypatch.setattr(Lake, "replace", busy)
    text = failure_text(project.materialize("raw_data", batches=["1", "2", "3"]))
    assert set(tried) == {"1"}
    assert "batches not tried: 2, 3" in text


def test_a_file_that_is_rejected_or_skipped_alone_is_seen_in_the_ui(project: Project) -> None:
    (project.source / "loans_3.parquet").touch()
    (request,) = project.tick("loans_new_data").run_requests
    job = project.defs().resolve_job_def("loans_ingest")
    done = job.execute_in_process(asset_selection=request.asset_selection, instance=project.instance)
    (seen,) = done.get_asset_check_evaluations()
    assert (seen.passed, seen.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert seen.description == "1 file is rejected: loans_3.parquet (loans_3.parquet: The file is empty (0 bytes).)"
    (project.source / "loans_3.parquet").unlink()
    for batch in (1, 2):
        project.write(batch, loans(1))
    (seen,) = project.arrive().get_asset_check_evaluations()
    assert (seen.passed, seen.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert seen.description == "1 file is skipped as a duplicate: loans_2.parquet"
