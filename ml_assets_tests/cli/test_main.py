"""What all commands have in common: names, help, listings, the shell's completion."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

import ml_assets.cli
from ml_assets.cli import main
from ml_assets.cli.group import Group

FOLDER = Path(ml_assets.cli.__file__).parent
HELPERS = {
    *("__init__", "__main__", "group", "listing", "pipelines", "results"),
    *("lake.progress", "lake.values", "models.values", "quarantine.held"),
}
LISTINGS = {
    *("doctor", "experiment", "explain", "list"),
    *(
        "alerts",
        "lake backup",
        "lake check",
        "lake diff",
        "lake maintenance",
        "lake snapshots",
        "models champion",
        "models diff",
        "models list",
    ),
    *("models show", "quarantine show", "retraining", "status", "suggest", "summary", "trials", "validate"),
}
LIMITED = {"alerts", "explain", "list", "lake snapshots", "models list", "quarantine show", "retraining", "trials"}


def commands(group: click.Group = main, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def completed(*words: str, begun: str = "") -> list[str]:
    completion = BashComplete(main, {}, "ml-assets", "_ML_ASSETS_COMPLETE")
    return [one.value for one in completion.get_completions(list(words), begun)]


def test_a_module_has_the_name_of_its_command() -> None:
    modules = {".".join(file.relative_to(FOLDER).with_suffix("").parts) for file in FOLDER.rglob("*.py")}
    groups = {f"{name}.__init__" for name in ("lake", "models", "quarantine")}
    assert modules - HELPERS - groups == {name.replace(" ", ".") for name, _ in commands()}


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag: str) -> None:
    shown = CliRunner().invoke(main, [flag]).output
    assert "Start:" in shown
    assert "-h, --help" in shown
    for name, command in commands():
        result = CliRunner().invoke(main, [*name.split(), flag])
        assert result.exit_code == 0
        assert result.output.startswith("Usage: ")
        assert name.split()[0] in shown
        assert command.help
    assert CliRunner().invoke(main, ["retrains"]).exit_code == 2


@pytest.mark.parametrize("group", ["", "models", "lake", "quarantine"])
def test_no_short_help_is_cut_at_80_columns(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(main, [*group.split(), "-h"], terminal_width=80).output
    assert "..." not in shown.partition("Options:")[2]
    assert max(map(len, shown.splitlines())) <= 80


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.split()[-1] == importlib.metadata.version("ml-assets")


def test_all_listings_are_alike() -> None:
    options = {name: {one.name: one for one in command.params} for name, command in commands()}
    assert {name for name, found in options.items() if "as_json" in found} == LISTINGS
    assert {name for name, found in options.items() if "limit" in found} == LIMITED
    for found in options.values():
        for option, text in (("as_json", "Print JSON."), ("limit", "Maximum number of rows (default 20).")):
            assert getattr(found.get(option), "help", text) == text
    result = CliRunner().invoke(main, ["trials", "--limit", "0"])
    assert (result.exit_code, "0 is not in the range x>=1" in result.output) == (2, True)


def test_the_shell_completes_commands_pipelines_and_versions(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path)
    for version in ("1.0.0", "1.1.0", ".writing"):
        (root / "data/bundles/loans" / version).mkdir(parents=True)
    (root / "credit/defs/broken").mkdir()
    (root / "credit/defs/broken/defs.yaml").write_text("attributes: {name: [")
    monkeypatch.chdir(root)
    assert completed(begun="tr") == ["train", "trials"]
    assert completed("models", begun="ro") == ["rollback"]
    for words in (["trials"], ["models", "list"], ["serve"], ["lake", "snapshots"]):
        assert completed(*words) == ["loans"]
    assert completed("serve", begun="x") == []
    assert completed("approve", "loans") == ["1.0.0", "1.1.0"]
    assert completed("models", "rollback", "loans", "--to", begun="1.1") == ["1.1.0"]
    monkeypatch.chdir(tmp_path.parent)
    assert completed("trials") == []


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(import_module("ml_assets.cli.home").home, "callback", fails)
    assert isinstance(CliRunner().invoke(main, ["home"]).exception, ZeroDivisionError)


def test_an_unknown_command_is_refused() -> None:
    assert Group(package="ml_assets.cli", sections={}).get_command(click.Context(main), "group") is None


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from ml_assets.cli import main; "
        "assert 'Run:' in CliRunner().invoke(main, ['-h']).output; "
        "print(sorted({'dagster', 'evidently', 'sklearn', 'pandas', 'starlette'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/logs"), "file /data/logs\n  next:  Give this user"),
        (OSError(errno.ENOSPC, "No space left on device"), "found: No space left on device\n  next:  Free disk space."),
        (sqlite3.OperationalError("attempt to write a readonly database"), "Dagster's records cannot be used."),
    ],
)
def test_what_the_machine_refuses_ends_with_a_text(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(import_module("ml_assets.cli.home").home, "callback", fails)
    shown = CliRunner().invoke(main, ["home"])
    assert (shown.exit_code, said in shown.output) == (1, True), shown.output


def test_a_terminal_that_knows_ascii_only_shows_everything() -> None:
    program = (
        "import click; from ml_assets.cli import main; from ml_assets.cli.group import console; "
        "main.get_command = lambda *_: click.Command('x', callback=lambda: console.print('gr\\u00f6\\u00dfe\\u2026')); "
        "main(['x'])"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"gr\\xf6\\xdfe\\u2026\n")
