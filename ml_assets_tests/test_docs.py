"""The docs say what is true: commands, links, keys, tables, versions."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
import yaml

import ml_assets
from docs.reference import PAGE, page
from ml_assets.cli import main
from ml_assets.tables.families import TABLES
from ml_assets_tests.conftest import Project, failure_text
from ml_assets_tests.graph.online import ask, log, observed, predicted, read

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "benchmarks").glob("*.md"),
    ROOT / "data/README.md",
]
ONLINE = ROOT / "docs/reference/online.md"
REPOSITORY = "https://github.com/ml-assets/ml-assets"
RAW = "https://raw.githubusercontent.com/ml-assets/ml-assets"


def test_the_reference_of_the_yaml_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "make fix"


def links(file: Path) -> set[str]:
    """Addresses that a page links to, outside of code."""
    text = re.sub(r"```.*?```|`[^`]*`", "", file.read_text(), flags=re.DOTALL)
    return set(re.findall(r"(?:\]\(|src=\")([^)\s\"]+)", text))


def anchors(file: Path) -> set[str]:
    """Anchors of a page's titles, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", file.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = [re.sub(r"\]\([^)]*\)", "]", title) for title in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    """Relative ones, and those to the repository's own address."""
    for link in links(file):
        address, _, anchor = re.sub(rf"^({REPOSITORY}/(blob|tree)|{RAW})/main/", f"{ROOT}/", link).partition("#")
        if "://" not in address and not address.startswith("mailto:"):
            target = (file.parent / address) if address else file
            assert target.exists(), link
            assert not anchor or target.suffix != ".md" or anchor in anchors(target), link


def test_the_readme_can_be_read_anywhere() -> None:
    """A package index shows it without the files beside it: every link and picture has a whole address."""
    assert [link for link in links(ROOT / "README.md") if "://" not in link and not link.startswith("#")] == []
    assert f'Repository = "{REPOSITORY}"' in (ROOT / "pyproject.toml").read_text()


def test_pages_named_in_the_code_exist() -> None:
    """Errors and comments send people to them."""
    code = [*(ROOT / "ml_assets").rglob("*.py"), *(ROOT / "ml_assets").rglob("*.yaml")]
    named = {name for file in code for name in re.findall(r"\bdocs/[\w/-]+\.md", file.read_text())}
    assert len(named) > 3
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_titles_of_the_troubleshooting_are_texts_of_the_code() -> None:
    """An error is found there by what it says; `…` stands for what differs."""
    source = "".join(file.read_text() for file in (ROOT / "ml_assets").rglob("*.py"))
    source = re.sub(r'"\s*f?"', "", source)  # a text that goes on in the next line
    titles = re.findall(r"^### `(.*)`$", (ROOT / "docs/troubleshooting.md").read_text(), flags=re.MULTILINE)
    assert len(titles) > 20
    parts = [part for title in titles for part in title.split("…")]
    assert [part for part in parts if part.strip(" ,.:") not in source] == []


def make_targets(text: str) -> set[str]:
    """What a page says of `make`: in a line of a block of code, or inline."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    return {*re.findall(r"^make ([\w-]+)", blocks, re.MULTILINE), *re.findall(r"`make ([\w-]+)", text)}


def test_make_targets_in_the_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    named = set().union(*(make_targets(file.read_text()) for file in PAGES))
    assert {"test", "bench-ingest"} <= named <= targets
    assert set(re.findall(r'@echo "make ([\w-]+)', makefile)) <= targets
    assert set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE).group(1).split()) == targets  # type: ignore[union-attr]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_of_the_docs_exist(file: Path) -> None:
    """With their options: those that stand at the beginning of a line of a block of code."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", file.read_text(), re.DOTALL | re.MULTILINE))
    for line in re.findall(r"^ml-assets ([^#\n|&>]+)", blocks, re.MULTILINE):
        command: Any = main
        words = line.split()
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.get_command(click.Context(command), words.pop(0))
            assert command, line
        known = {name for one in command.params for name in one.opts} | {"--help", "-h", "--version"}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


def test_the_readme_shows_the_pipeline_that_is_shipped() -> None:
    readme = (ROOT / "README.md").read_text()
    shipped = (ROOT / "ml_assets/defs/flights/defs.yaml").read_text()
    for line in ("target: {name: late, sql: arr_delay > 15, kind: binary}", "sql: carrier_history.sql, batches: 6}"):
        assert line in readme
        assert line in shipped


def statements_of(file: Path) -> list[str]:
    """The SQL of a page that reads the lake."""
    blocks = re.findall(r"```sql\n(.*?)```", file.read_text(), flags=re.DOTALL)
    return [part for block in blocks for part in re.sub(r"--.*", "", block).split(";") if "FROM lake." in part]


def test_sql_of_the_page_on_real_time_use_finds_something(copied: Project) -> None:
    asked = ask(copied, "5")
    read(copied, log(copied, predicted(asked), observed(asked, "r")))
    statements = statements_of(ONLINE)
    assert len(statements) == 5
    for statement in statements:
        assert copied.rows(statement.replace("lake.flights.", "lake.loans.")), statement


def test_sql_of_the_docs_runs(trained: Project) -> None:
    """Every statement over the lake in README and docs, on the tests' pipeline."""
    from ml_assets import open_lake

    statements = [sql for file in PAGES if file != ONLINE for sql in statements_of(file)]
    assert len(statements) >= 6
    with open_lake(trained.root) as lake:
        newest = str(lake.snapshot())
        for statement in statements:
            sql = statement.replace("lake.flights.", "lake.loans.").replace("VERSION => 42", f"VERSION => {newest}")
            lake.con.execute(sql).fetchall()


def test_python_of_the_readme_runs(trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(trained.root)
    exec(compile(code.replace("flights.", "loans."), "README.md", "exec"), {})


def test_python_of_the_page_on_own_assets_runs(trained: Project, tmp_path: Path) -> None:
    """Its assets, beside the tests' pipeline, on a copy of its lake."""
    import dagster as dg

    _, code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to/extend.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code.replace("flights", "loans").replace("distance_mile", "income"), "extend.md", "exec"), names)
    shutil.copytree(trained.root / "data/lake", tmp_path / "data/lake")
    with dg.DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path, instance)
        instance.add_dynamic_partitions("loans_batches", ["1", "2"])
        assets = [names["mean_score"], names["rows_by_distance"]]
        job = dg.Definitions.merge(project.defs(), dg.Definitions(assets)).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            asset_selection=[asset.key for asset in assets],
            instance=instance,
            tags={"dagster/asset_partition_range_start": "1", "dagster/asset_partition_range_end": "2"},
            raise_on_error=False,
        )
        assert result.success, failure_text(result)
        assert project.rows("SELECT batch FROM lake.reports.mean_score") == [{"batch": "5"}]
        assert project.value("SELECT sum(loans) FROM lake.reports.rows_by_distance WHERE batch IN ('1', '2')") == 300


def test_the_features_function_of_the_docs_is_the_flights_pipelines(tmp_path: Path) -> None:
    """Its views and columns are those of the pipeline that is shipped."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/reference/data.md").read_text(), flags=re.DOTALL)
    spec = yaml.safe_load((ROOT / "ml_assets/defs/flights/defs.yaml").read_text())["attributes"]
    names: dict[str, Any] = {}
    exec(compile(code, "data.md", "exec"), names)
    views = ["batch", *spec["lookups"], *spec["references"]]
    assert set(names["make_features"].__code__.co_varnames[:3]) <= set(views)
    columns = {column["name"]: [1] for column in spec["columns"] if not column.get("outcome")}
    batch = pd.DataFrame({"row_id": [1], **columns, "carrier": ["UA"]})
    made = names["make_features"](batch, pd.DataFrame(), pd.DataFrame({"carrier": ["UA"], "late_share": [0.2]}))
    assert made.to_dict("records") == [{"row_id": 1, "carrier": "UA", "departure_hour": 1 + 1 / 60, "late_share": 0.2}]


def test_the_changelog_names_the_version_and_the_public_names() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {ml_assets.__version__}" in changelog
    assert f'version = "{ml_assets.__version__}"' in (ROOT / "pyproject.toml").read_text()
    for name in ml_assets.__all__:
        assert f"`{name}`" in changelog


def test_every_table_is_in_the_docs(trained: Project) -> None:
    """Those that a training makes, and those that are written at other times."""
    names = trained.rows(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = 'loans'"
    )
    made = {re.sub(r"^(lookup|online_lookup|online_reference)_.*", r"\1_NAME", row["table_name"]) for row in names}
    declared = {table.name for table in TABLES}
    assert made < declared
    page = (ROOT / "docs/reference/tables.md").read_text()
    assert declared == set(re.findall(r"^## (\w+)$", page, flags=re.MULTILINE))


def test_every_dependency_has_its_reason() -> None:
    block = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]\n")[0]
    assert [line for line in block.splitlines() if line.strip().startswith('"') and "#" not in line] == []


def test_the_lock_has_hashes_and_no_addresses() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"https?://|--index-url|--find-links", text)
    packages = re.findall(r"^([a-z0-9_.-]+)==", text, flags=re.MULTILINE | re.IGNORECASE)
    assert len(packages) > 100
    assert text.count("--hash=sha256:") > len(packages)
