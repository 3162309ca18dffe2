"""A snapshot can be named by its id, by a model version, or by a moment."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ml_assets.errors import LakeError
from ml_assets.lake.lake import Lake
from ml_assets.notebook import OpenLake
from ml_assets_tests.conftest import Project
from ml_assets_tests.lake.history_helpers import model, rows, write


@pytest.fixture
def written(lake: Lake) -> list[int]:
    """Ids of three writes of one batch: 0, 1, 2; model 1.2.0 was trained on the first."""
    ids = [write(lake, "features", "a", rows({1: value})).snapshot_id for value in range(3)]
    model(lake, "1.2.0", ids[0])
    return ids


def values(lake: Lake, snapshot: int | str | dt.datetime) -> list[int]:
    return [row[2] for row in OpenLake(lake.folder).table("t.features", snapshot=snapshot).fetchall()]


def written_at(lake: Lake, snapshot: int) -> dt.datetime:
    moment = lake.rows("SELECT snapshot_time FROM lake.snapshots() WHERE snapshot_id = ?", [snapshot])[0]
    return moment["snapshot_time"]


def test_a_model_version_stands_for_what_it_was_trained_on(lake: Lake, written: list[int]) -> None:
    assert values(lake, "1.2.0") == values(lake, "t@1.2.0") == values(lake, written[0]) == [0]
    assert values(lake, str(written[1])) == [1]
    with pytest.raises(LakeError, match=r"t has no model version '1\.3\.0'") as caught:
        values(lake, "1.3.0")
    assert "did you mean '1.2.0'?" in str(caught.value)
    with pytest.raises(LakeError, match="pipeline 'tt' is registered"):
        values(lake, "tt@1.2.0")


def test_a_moment_stands_for_what_the_lake_held_then(lake: Lake, written: list[int]) -> None:
    second = written_at(lake, written[1])
    just_before = second - dt.timedelta(microseconds=1)
    assert values(lake, second) == [1]
    assert values(lake, just_before) == [0]
    assert values(lake, just_before.astimezone(ZoneInfo("Asia/Tokyo"))) == [0]
    assert values(lake, second.astimezone(dt.UTC).replace(tzinfo=None)) == [1]
    assert values(lake, dt.datetime.now(dt.UTC)) == [2]
    with pytest.raises(LakeError, match="no snapshot as old as 2000-01-01"):
        values(lake, dt.datetime(2000, 1, 1))


def test_a_moment_whose_snapshot_is_gone_is_never_answered_with_other_data(lake: Lake, written: list[int]) -> None:
    gone = written_at(lake, written[1])
    lake.con.execute(f"CALL ducklake_expire_snapshots('lake', versions => [{written[1]}])")
    with pytest.raises(LakeError, match="cannot be told") as caught:
        values(lake, gone)
    assert f"Read snapshot {written[0]} or {written[2]}" in str(caught.value)
    with pytest.raises(LakeError, match=f"at snapshot {written[1]}"):
        values(lake, written[1])


def test_a_notebook_reads_the_past_without_dagster(trained: Project) -> None:
    """The lines of docs/reference/lake.md, in a process of its own."""
    page = (Path(__file__).parents[2] / "docs/reference/lake.md").read_text()
    code, *_ = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    code = code.replace("flights.", "loans.").replace("hours=1", "hours=0").replace("2013-11", "3")
    code += "import sys; print(len(trained_on), len(before), 'dagster' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=trained.root, capture_output=True, text=True, check=False)
    assert shown.stdout.strip() == "600 150 False", shown.stderr
