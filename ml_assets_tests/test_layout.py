"""The house is as it is drawn: layers, the graph's picture, its snapshot, the file sizes."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import ml_assets.graph
from ml_assets.definitions import defs

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).parent / "graph.txt"


def drawn() -> str:
    """The flights graph as text: keys, groups, partitions, upstream assets, checks; then jobs and sensors."""
    graph = defs.resolve_asset_graph()
    lines = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        star = " *" if node.partitions_def else ""
        lines.append(f"{key.to_user_string()}{star}  [{node.group_name}] {', '.join(sorted(node.kinds))}")
        lines += [f"    <- {parent.to_user_string()}" for parent in sorted(node.parent_keys)]
        for check in sorted(node.check_keys, key=lambda check: check.name):
            blocking = " (blocking)" if graph.get(check).blocking else ""
            lines.append(f"    ? {check.name}{blocking}")
    lines += [f"job {job.name}" for job in sorted(defs.jobs or (), key=lambda job: job.name)]
    lines += [f"sensor {sensor.name}" for sensor in sorted(defs.sensors or (), key=lambda sensor: sensor.name)]
    return "\n".join(lines) + "\n"


def test_the_graph_is_its_snapshot() -> None:
    """A change of the graph shows as a diff of graph.txt; `python -m ml_assets_tests.test_layout` renews it."""
    assert drawn() == SNAPSHOT.read_text()


def test_the_docstring_draws_the_graph() -> None:
    drawing = ml_assets.graph.__doc__ or ""
    nodes = {key.path[-1] for key in defs.resolve_asset_graph().get_all_asset_keys()}
    nodes = {re.sub(r"^(lookup|candidate)_\w+", r"\1_NAME", asset_name) for asset_name in nodes}
    words = set(re.findall(r"[a-z]+_?(?:[a-z]+|NAME)\w*", drawing.split("\n\n* ")[0]))
    assert nodes <= words
    for key in defs.resolve_asset_graph().get_all_asset_keys():
        node = defs.resolve_asset_graph().get(key)
        asset_name = re.sub(r"^(lookup|candidate)_\w+", r"\1_NAME", key.path[-1])
        starred = bool(re.search(rf"\b{asset_name} \*", drawing))
        assert starred == bool(node.partitions_def), asset_name


def test_import_contracts_hold() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout
    assert "0 broken" in shown.stdout


@pytest.mark.parametrize("package", ["ml_assets", "benchmarks"])
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    """Not even inside functions: what must be imported there for that has no place of its own."""
    graph = grimp.build_graph(package)
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()


def test_loading_the_code_location_imports_nothing_heavy_and_nothing_of_an_extra() -> None:
    heavy = {"evidently", "sklearn", "pandas", "optuna", "skops", "matplotlib"}
    extras = {"psycopg2", "ray", "mlflow", "s3fs"}
    code = f"import sys, ml_assets.definitions; print(sorted({heavy | extras} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_files_stay_small() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for file in (ROOT / "ml_assets").rglob("*.py")
        if (lines := file.read_text().count("\n")) > 500
    }
    assert long == {}


def test_a_wheel_has_every_file_that_is_not_python() -> None:
    package = ROOT / "ml_assets"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["ml_assets"]
    packaged = {file for pattern in patterns for file in package.glob(pattern)}
    files = (file for file in package.rglob("*") if file.is_file() and file.parent.name != "__pycache__")
    there = {file for file in files if file.suffix != ".py"}
    assert there - packaged == set()
    assert package / "reporting" / "templates" / "base.html" in there


def test_every_stage_is_in_the_contract_of_stages() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / "setup.cfg")
    listed = contracts["importlinter:contract:stages"]["modules"].split()
    folders = [path.parent.name for path in (ROOT / "ml_assets" / "graph").glob("*/__init__.py")]
    assert sorted(listed) == sorted(f"ml_assets.graph.{name}" for name in folders)


def test_tests_mirror_the_stages() -> None:
    package, tests = ROOT / "ml_assets" / "graph", ROOT / "ml_assets_tests" / "graph"
    stages = {
        folder.name for folder in package.iterdir() if list(folder.glob("assets.py")) or list(folder.glob("sensors.py"))
    }
    assert stages == {folder.name for folder in tests.iterdir() if list(folder.glob("test_*.py"))}


if __name__ == "__main__":
    SNAPSHOT.write_text(drawn())
