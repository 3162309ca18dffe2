"""Every command that the README names, in a third party's project: of `dagster` and `ml-assets` some as processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import click
import pytest
from click.testing import CliRunner

from ml_assets.lake.lake import Lake
from ml_assets_tests.conftest import loans

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, write_project: Callable[..., Path]) -> Path:
    """A project as a third party has it, with three batches in its folder; five rows of the last break a rule."""
    root = write_project(tmp_path_factory.mktemp("credit"))
    for batch in (1, 2, 3):
        frame = loans(batch)
        if batch == 3:
            frame.loc[:4, "region"] = "AA"
        frame.to_parquet(root / f"data/incoming/loans/loans_{batch}.parquet")
    home = root / "data" / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return root


def run(project: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=project,
        env={
            **os.environ,
            "DAGSTER_HOME": str(project / "data" / "dagster"),
            "PYTHONPATH": str(project),
            "PYTHONWARNINGS": "ignore",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def here(project: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which saves 2 to 4 s of imports."""
    # Dagster's commands set variables, and take them along to the end of their process.
    with mock.patch.dict(os.environ), pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(project)
        patch.syspath_prepend(str(project))
        for name, value in {"DAGSTER_HOME": str(project / "data" / "dagster"), **environment}.items():
            patch.setenv(name, value)
        forget("credit")
        shown = CliRunner().invoke(program(command[0]), command[1:])
        forget("credit")
    return subprocess.CompletedProcess(command, shown.exit_code, shown.stdout, shown.stderr)


def program(name: str) -> click.Command:
    """What a script of this name calls."""
    from dagster._cli import create_dagster_cli
    from dagster_dg_cli.cli import create_dg_cli

    from ml_assets.cli import main

    return {"dagster": create_dagster_cli, "dg": create_dg_cli, "ml-assets": lambda: main}[name]()


def forget(package: str) -> None:
    """Let a package be imported anew, as in a process that starts."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def ok(shown: subprocess.CompletedProcess[str]) -> str:
    assert shown.returncode == 0, shown.stdout[-3000:] + shown.stderr[-3000:]
    return shown.stdout


M = ("-m", "credit.definitions")


def test_looking_at_a_project(project: Path) -> None:
    ok(here(project, "dg", "check", "yaml"))
    listed = json.loads(ok(here(project, "dg", "list", "defs", "--json")))
    assert "loans/champion" in json.dumps(listed)
    ok(here(project, "dagster", "definitions", "validate"))
    assert "loans/drift_report" in ok(here(project, "dagster", "asset", "list", *M)).split()


def test_materializing_from_the_command_line(project: Path) -> None:
    materialize = ("dagster", "asset", "materialize")
    arrivals, champion = 'key:"loans/arrivals"', '+key:"loans/champion"'
    unknown = here(project, *materialize, *M, "--select", 'key:"loans/raw_data"', "--partition", "1")
    assert unknown.returncode != 0  # a batch must be registered first
    ok(run(project, *materialize, "--select", arrivals, DAGSTER_MODULE_NAME="credit.definitions"))
    ok(here(project, *materialize, *M, "--select", 'key:"loans/raw_data"', "--partition", "1"))
    ok(here(project, *materialize, *M, "--select", champion, "--partition-range", "1...3"))
    selection = 'key:"loans/predictions" or key:"loans/online_lookups"'
    ok(here(project, "dg", "launch", "--assets", selection, "--partition-range", "2...3"))
    ok(here(project, *materialize, *M, "--select", 'key:"loans/drift_report"', "--partition-range", "2...3"))
    score = ("score", "loans", "1", "--version", "1.0.0")  # which spares the process the import of Evidently
    assert re.search(r"1\W+1\.0\.0\W+champion\W+150\b", ok(here(project, "ml-assets", *score)))
    with Lake(project / "data/lake", read_only=True) as lake:
        assert lake.batches("loans.predictions") == ["1", "2", "3"]
        assert lake.batches("loans.drift_report") == ["2", "3"]
        assert "1" in lake.batches("loans.performance_report")  # what is scored by name is measured, too
    shown = ok(here(project, "ml-assets", "summary"))
    assert "version 1.0.0" in shown
    assert "2 watched" in shown
    assert "stale" not in ok(here(project, "ml-assets", "status", "loans"))


def test_a_users_mistake_shows_its_text_and_fails(project: Path) -> None:
    features = project / "credit/defs/loans/features.sql"
    text = features.read_text()
    try:
        features.write_text("SELECT row_id, income FROM batch WHERE income > 30")
        shown = here(
            project, "dagster", "asset", "materialize", *M, "--select", 'key:"loans/features"', "--partition", "1"
        )
    finally:
        features.write_text(text)
    assert shown.returncode == 1
    assert "features.sql drops rows; it must give exactly one per validated row." in shown.stderr
    assert "where: pipeline loans, batch 1, file features.sql" in shown.stderr


def test_quarantined_rows_are_shown_and_taken_in_when_the_rule_changes(project: Path) -> None:
    shown = ok(here(project, "ml-assets", "quarantine", "show", "loans"))
    assert re.search(r"region\.regex\W+5\W+1\W+3\W+3\b", shown)
    assert re.search(r"3\W+5\W+loans_3\.parquet\W+AA\W+region\.regex", shown)
    file = project / "credit/defs/loans/defs.yaml"
    text = file.read_text()
    try:
        file.write_text(text.replace("regex: '[A-Z]'", "regex: '[A-Z]+'"))
        shown = ok(here(project, "ml-assets", "quarantine", "retry", "loans", "--batch", "3"))
    finally:
        file.write_text(text)
    assert re.search(r"3\W+5\W+0\b", shown.rpartition("before")[2])
    with Lake(project / "data/lake", read_only=True) as lake:
        assert lake.count("loans.features", "3") == 150
    assert "is empty" in ok(here(project, "ml-assets", "quarantine", "show", "loans"))
    wrong = here(project, "ml-assets", "quarantine", "retry", "loans", "--batch", "9")
    assert (wrong.returncode, "the quarantine is empty" in wrong.stderr) == (1, True)


def test_own_commands_never_show_a_traceback(project: Path, tmp_path: Path) -> None:
    nothing = run(tmp_path, "ml-assets", "summary")
    assert nothing.returncode == 1
    assert nothing.stderr.startswith("Error: There is no lake yet.")
    wrong = here(project, "ml-assets", "summary", "loan")
    assert wrong.returncode == 1
    assert "did you mean 'loans'?" in wrong.stderr
    refused = here(project, "ml-assets", "approve", "loans", "7.0.0", "--why", "x")
    assert refused.returncode == 1
    assert "does not wait for approval" in refused.stderr
    for shown in (nothing, wrong, refused):
        assert "Traceback" not in shown.stderr
    home = run(tmp_path, "ml-assets", "home", DAGSTER_HOME="")
    assert Path(home.stdout.strip(), "dagster.yaml").exists()
    assert "DAGSTER_HOME=" in (tmp_path / ".env").read_text()


def test_a_wrong_yaml_fails_with_file_and_line(project: Path) -> None:
    file = project / "credit/defs/loans/defs.yaml"
    text = file.read_text()
    try:
        file.write_text(text + "  targte: {}\n")
        shown = here(project, "dagster", "definitions", "validate")
        checked = here(project, "dg", "check", "yaml")
    finally:
        file.write_text(text)
    for one in (shown, checked):
        assert one.returncode != 0
        assert f"defs.yaml:{text.count(chr(10)) + 1}" in one.stdout + one.stderr
    assert "unknown key 'targte'; did you mean 'target'?" in shown.stdout + shown.stderr


def test_plain_duckdb_opens_the_lake(project: Path) -> None:
    """The lines of the README, in a process that knows nothing of ml_assets but the extensions' wheels."""
    code = (
        "import duckdb, pathlib, duckdb_extension_ducklake, duckdb_extension_sqlite_scanner\n"
        "con = duckdb.connect()\n"
        "for wheel in (duckdb_extension_ducklake, duckdb_extension_sqlite_scanner):\n"
        "    con.execute(f\"LOAD '{next(pathlib.Path(wheel.__file__).parent.rglob('*.duckdb_extension'))}'\")\n"
        "con.execute(\"ATTACH 'ducklake:sqlite:data/lake/public.sqlite' AS lake (READ_ONLY)\")\n"
        "print(con.execute('SELECT count(*), avg(score) > 0 FROM lake.loans.predictions').fetchall())\n"
    )
    assert ok(run(project, "python", "-c", code)).strip() == "[(445, True)]"
