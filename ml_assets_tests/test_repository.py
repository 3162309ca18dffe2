"""What is around the package: workflows, pre-commit, metadata, and what a wheel holds."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SHIPPED = {
    *("dagster.yaml", "py.typed", "defs/flights/defs.yaml", "defs/flights/features.sql"),
    *("defs/flights/carrier_history.sql", "spec/pipeline.schema.json"),
}


def workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows" / f"{name}.yml").read_text())
    return found


def check_release(*arguments: object) -> list[str]:
    spec = importlib.util.spec_from_file_location("check_release", ROOT / ".github/check_release.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[str] = module.problems(*arguments)
    return found


def test_tests_run_on_every_python_that_is_promised() -> None:
    tried = workflow("tests")["jobs"]["tests"]["strategy"]["matrix"]["python"]
    named = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)]
    first, last = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert tried == named == [f"3.{minor}" for minor in range(int(first), int(last))]
    runs = [step.get("run", "") for step in workflow("tests")["jobs"]["tests"]["steps"]]
    assert [one.split()[:2] for one in runs if one] == [
        ["make", "check"],
        ["make", "test"],
        ["make", "test-slow"],
    ]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_may_do_little(file: Path) -> None:
    text, found = file.read_text(), yaml.safe_load(file.read_text())
    assert found["permissions"] == {"contents": "read"}
    assert found["concurrency"]["group"]
    assert "secrets." not in text
    for name, job in found["jobs"].items():
        assert job.get("permissions", {}) == ({"id-token": "write"} if name == "publish" else {})
        assert "timeout-minutes" in job or "uses" in job
    actions = re.findall(r"uses: (.+)", text)
    assert actions
    assert all(re.fullmatch(r"\S+@(v\d+|release/v1)|\./\S+\.yml", one) for one in actions)


def test_a_release_is_tried_before_it_is_published() -> None:
    jobs = workflow("release")["jobs"]
    assert jobs["publish"]["needs"] == ["tests", "build"]
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert workflow("release")[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true


def test_a_tag_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    version, repository = PROJECT["version"], PROJECT["urls"]["Repository"]
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {version} (2026-12-01)\n")
    assert check_release(tmp_path, f"v{version}", repository) == []
    for tag, address, text in (("v9.0.0", repository, "the tag is v9.0.0"), (f"v{version}", "x", "Repository")):
        (found,) = check_release(tmp_path, tag, address)
        assert text in found
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {version} (unreleased)\n")
    assert "no line '## " in check_release(tmp_path, f"v{version}", repository)[0]


def test_pre_commit_has_the_ruff_of_the_lock() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {one["repo"].rpartition("/")[2]: one for one in repositories}
    (locked,) = re.findall(r"^ruff==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert hooks["ruff-pre-commit"]["rev"] == f"v{locked}"
    assert [hook["id"] for hook in hooks["ruff-pre-commit"]["hooks"]] == ["ruff-check", "ruff-format"]


def test_what_pypi_shows() -> None:
    assert PROJECT["readme"] == "README.md"
    assert PROJECT["license"] == "Apache-2.0"
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= set(PROJECT["urls"])
    assert not any(one.startswith("License ::") for one in PROJECT["classifiers"])  # the expression says it


def test_a_wheel_has_what_runs_and_no_tests(tmp_path: Path) -> None:
    """Built for real, since only that shows what the packaging leaves out: some seconds."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("ml_assets", "ml_assets_tests/pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    (wheel,) = (tmp_path / "dist").glob("ml_assets-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    source = {file.relative_to(ROOT).as_posix() for file in (ROOT / "ml_assets").rglob("*.py")}
    source |= {file.relative_to(ROOT).as_posix() for file in (ROOT / "ml_assets").rglob("*.html*")}
    assert {f"ml_assets/{name}" for name in SHIPPED} | source <= names
    assert any(name.startswith("ml_assets/") and name.endswith("hashes.txt") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ml_assets"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
