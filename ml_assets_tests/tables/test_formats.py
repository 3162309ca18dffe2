"""A lake of a newer ml_assets is refused; the format of each table is stored with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets.errors import LakeError
from ml_assets.lake import comments
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.resources import LakeResource
from ml_assets.step_errors import UserFailure
from ml_assets.tables import formats
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.trials import TRIALS

BY = Commit("t/candidate_tree", "run", "v")
TRIAL = {"pin_id": "aa", "candidate": "tree", "trial": 0, "metric": "rmse", "score": 1.0, "params": {}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    with Lake(tmp_path / "data/lake") as lake:
        lake.append([ARRIVALS.rows("t", []), TRIALS.rows("t", [TRIAL])], BY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upgrade(project: Path, table: str) -> None:
    """What a newer version would leave: the next format of a table."""
    with Lake(project / "data/lake") as lake:
        text = f"COMMENT ON TABLE lake.t.{table} IS 'A trial. [format {TRIALS.format + 1}]'"
        lake.maintain(lambda: lake.con.execute(text).fetchall(), BY)


def test_the_format_is_stored_with_the_table(project: Path) -> None:
    with Lake(project / "data/lake", read_only=True) as lake:
        formats.check(lake)
        assert comments.of_tables(lake.con)["t.trials"] == f"{TRIALS.description} [format {TRIALS.format}]"


def test_a_newer_format_is_refused(project: Path) -> None:
    upgrade(project, "trials")
    expected = f"table t.trials in format {TRIALS.format + 1}; this version knows {TRIALS.format}"
    shown = CliRunner().invoke(main, ["trials", "t"])
    assert (shown.exit_code, expected in shown.output) == (1, True)
    assert "Install that version again" in shown.output
    with pytest.raises(UserFailure, match="newer version of ml_assets"):
        LakeResource(paths=Paths.of(project)).open()


def test_a_table_that_a_newer_version_has_renamed_is_refused_too(project: Path) -> None:
    with Lake(project / "data/lake") as lake:
        lake.maintain(lambda: lake.con.execute("ALTER TABLE lake.t.trials RENAME TO searches").fetchall(), BY)
    with Lake(project / "data/lake", read_only=True) as lake, pytest.raises(LakeError, match="knows no such table"):
        formats.check(lake)


def test_a_project_without_a_lake_has_nothing_to_check(tmp_path: Path) -> None:
    with Lake(tmp_path / "lake", read_only=True) as lake:
        formats.check(lake)
