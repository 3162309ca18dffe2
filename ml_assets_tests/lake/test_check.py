"""A check finds whatever is not as it was written, and says what it touches and what to do."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import evaluations
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets_tests.conftest import shared
from ml_assets_tests.lake import kept
from ml_assets_tests.lake.history_helpers import rows, write
from ml_assets_tests.lake.kept import data_files

METADATA = "__ducklake_metadata_lake.ducklake_"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checked once, so that the hashes are known."""
    folder = tmp_path_factory.mktemp("made") / "copy"
    shutil.copytree(shared(tmp_path_factory, "shared_kept", kept.make), folder)
    (folder / "pyproject.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = checked()
        assert (found["faults"], found["files"], found["read"], found["compared"]) == ([], 6, 6, 0)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    shutil.copytree(made, tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    return Paths.of()


def checked(*options: str, code: int = 0) -> Any:
    shown = CliRunner().invoke(main, ["lake", "check", "--json", *options])
    assert shown.exit_code == code, shown.output
    return json.loads(shown.stdout)


def fault(*options: str) -> dict[str, Any]:
    """The only one."""
    (found,) = checked(*options, code=1)["faults"]
    return dict(found)


def flip(file: Path) -> None:
    """Change one bit."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_what_is_known_is_compared_and_what_is_new_is_read(project: Paths) -> None:
    with Lake.of(project) as lake:
        write(lake, "features", "c", rows({1: 4}))
    found = checked()
    assert (found["files"], found["read"], found["compared"]) == (7, 1, 6)
    assert checked()["compared"] == 7
    found = checked("--fast")
    assert (found["files"], found["read"], found["compared"]) == (7, 0, 0)


def test_a_lost_file_names_table_batch_snapshots_models_and_the_next_step(project: Paths) -> None:
    lost = next(file for file in data_files(project) if "batch=b" in str(file))
    lost.unlink()
    found = fault("--fast")
    assert (found["what"], found["table"], found["batch"]) == ("is lost", "t.features", "b")
    assert (found["snapshots"], found["models"]) == ([2, None], ["t@1.0.0"])
    assert "--partition b" in found["fix"]
    assert "`ml-assets lake recover --from BACKUP`" in found["fix"]
    shown = CliRunner().invoke(main, ["lake", "check"])
    assert "touches t.features b, snapshots 2 to the newest, models t@1.0.0" in shown.output
    assert "1 faults. 6 data files" in shown.output


def test_a_file_of_earlier_snapshots_alone_touches_no_batch(project: Paths) -> None:
    earliest = data_files(project)[0]
    earliest.write_bytes(earliest.read_bytes()[:-1])
    found = fault("--fast")
    assert found["snapshots"] == [1, 2]
    assert found["models"] == []
    assert found["fix"].startswith("Only earlier snapshots")
    assert "bytes, and was written with" in found["what"]


def test_one_bit_is_seen_once_the_hash_is_known(project: Paths) -> None:
    flip(data_files(project)[-1])
    assert fault()["what"] == "has other bytes than when its hash was taken"
    assert checked("--fast")["faults"] == []


def test_without_a_hash_a_file_is_read_to_its_end(project: Paths) -> None:
    (project.lake / "hashes.json").unlink()
    broken = data_files(project)[-1]
    broken.write_bytes(b"PAR1" + b"\0" * (broken.stat().st_size - 8) + b"PAR1")
    assert "cannot be read" in fault()["what"]
    (project.lake / "hashes.json").unlink()
    other = data_files(project, "trials")[0]
    with Lake.of(project) as lake:
        lake.con.execute(f"UPDATE {METADATA}data_file SET record_count = 7 WHERE path = ?", [other.name])
    assert "has 2 rows, and was written with 7" in [one["what"] for one in checked(code=1)["faults"]]


def test_a_file_that_nothing_needs_is_a_fault_after_a_day(project: Paths) -> None:
    leftover = data_files(project)[0].with_name("leftover.parquet")
    leftover.write_bytes(b"x")
    assert checked("--fast")["new_files"] == 1
    moment = time.time() - 2 * 86400
    os.utime(leftover, (moment, moment))
    assert "older than the lake" in fault("--fast")["fix"]
    with Lake.of(project) as lake:
        lake.con.execute(f"UPDATE {METADATA}snapshot SET snapshot_time = '2020-01-01 00:00:00+00'")
    assert fault("--fast")["fix"] == "`ml-assets lake maintenance t` removes it."


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM {}table WHERE table_name = 'trials'", "a data file belongs to no table"),
        ("UPDATE {}snapshot SET next_file_id = 0", "the next data file would have an id that is taken"),
        ("DELETE FROM {}snapshot WHERE snapshot_id > 3", "a data file is of a snapshot that does not exist"),
        ("DELETE FROM {}file_partition_value WHERE data_file_id = 1", "a data file has no batch"),
        ("DELETE FROM {}snapshot_changes WHERE snapshot_id = 2", "a snapshot says nothing of its writer"),
        ("UPDATE {}data_file SET path = (SELECT max(path) FROM {}data_file), table_id = 2 WHERE table_id > 2", "twice"),
    ],
)
def test_a_catalog_that_contradicts_itself(project: Paths, statement: str, what: str) -> None:
    with Lake.of(project) as lake:
        lake.con.execute(statement.replace("{}", METADATA))
    found = checked("--fast", code=1)["faults"]
    assert next(one["fix"] for one in found if what in one["what"]).startswith("Put the catalog back")


def test_rows_of_two_writers_at_once(project: Paths) -> None:
    with Lake.of(project) as lake:
        lake.con.execute(f"UPDATE {METADATA}data_file SET end_snapshot = NULL WHERE end_snapshot = 3")
    found = fault("--fast")
    assert found["what"] == "the batch has 2 rows, and its newest write had 1"
    assert (found["table"], found["batch"]) == ("t.features", "a")
    assert "--partition a" in found["fix"]


def test_a_catalog_that_is_damaged_or_lost(project: Paths) -> None:
    catalog = project.lake / "catalog.sqlite"
    content = bytearray(catalog.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    catalog.write_bytes(content)
    assert "lake recover" in fault()["fix"]
    catalog.unlink()
    assert "lake recover" in fault()["fix"]


def test_artifacts_that_tables_name(project: Paths) -> None:
    model = project.bundles / "t/1.0.0/model"
    model.write_bytes(b"weighty")
    found = fault()
    assert (found["what"], found["models"]) == ("the bundle has other bytes in model", ["t@1.0.0"])
    assert checked("--fast")["faults"] == []
    model.unlink()
    assert fault("--fast")["what"] == "the bundle has lost model"
    (project.bundles / "t/1.0.0/manifest.json").write_text('{"files": {}}')
    assert fault("--fast")["what"] == "the bundle is not the one that was registered"
    shutil.rmtree(project.bundles)
    assert fault("--fast")["what"] == "the bundle is lost"


def test_a_report_of_an_evaluation(project: Paths) -> None:
    with Lake.of(project) as lake:
        evaluations.record(
            lake, "t", [EvaluatedNumber("test", "roc_auc", 0.7, 9)], "1.0.0", "p", Commit("t/evaluation_report")
        )
    found = fault("--fast")
    assert (found["what"], found["models"]) == ("the evaluation report is lost", ["t@1.0.0"])
    assert found["where"] == "reports/t/evaluation/1.0.0.html"
    assert "lake recover --from" in found["fix"]
    with project.artifacts.reports.put("t/evaluation/1.0.0.html") as file:
        file.write_text("judged")
    assert checked("--fast")["faults"] == []


def test_without_a_lake_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    for command in (["check"], ["backup", "b"], ["recover", "--from", "b"], ["move"]):
        shown = CliRunner().invoke(main, ["lake", *command])
        assert shown.exit_code == 1, shown.output
        assert "Traceback" not in shown.output
        assert command[0] in ("recover", "move") or "`ml-assets run PIPELINE`" in shown.output
    assert not (tmp_path / "data/lake/catalog.sqlite").exists()
