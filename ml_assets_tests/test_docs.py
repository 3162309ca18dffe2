"""The docs say what is true: commands, links, keys, tables, versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ml_assets
from docs.reference import PAGE, page
from ml_assets_tests.conftest import Project

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "benchmarks").glob("*.md"),
    ROOT / "data/README.md",
]


def test_the_reference_of_the_yaml_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "make fix"


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (file.parent / target).exists(), target


def test_make_targets_in_the_docs_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for file in PAGES:
        assert (
            set(re.findall(r"`?\bmake ([a-z]+)\b`?(?=[`\s]*(?:#|\||$|,|`|  ))", file.read_text(), re.MULTILINE))
            <= targets
        )


def test_the_readme_shows_the_pipeline_that_is_shipped() -> None:
    readme = (ROOT / "README.md").read_text()
    shipped = (ROOT / "ml_assets/defs/flights/defs.yaml").read_text()
    for line in ("target: {name: late, sql: arr_delay > 15, kind: binary}", "sql: carrier_history.sql, batches: 6}"):
        assert line in readme
        assert line in shipped


def test_sql_of_the_docs_runs(trained: Project) -> None:
    """Every statement over the lake in README and docs, on the tests' pipeline."""
    from ml_assets import open_lake

    statements = []
    for file in PAGES:
        for block in re.findall(r"```sql\n(.*?)```", file.read_text(), flags=re.DOTALL):
            statements += [part for part in re.sub(r"--.*", "", block).split(";") if "FROM lake." in part]
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


def test_the_changelog_names_the_version_and_the_public_names() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {ml_assets.__version__}" in changelog
    assert f'version = "{ml_assets.__version__}"' in (ROOT / "pyproject.toml").read_text()
    for name in ml_assets.__all__:
        assert f"`{name}`" in changelog


def test_every_table_is_in_the_docs(trained: Project) -> None:
    text = (ROOT / "docs/lake.md").read_text()
    for row in trained.rows(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = 'loans'"
    ):
        noun = re.sub(r"^lookup_.*", "lookup_NAME", row["table_name"])
        assert f"`{noun}`" in text


def test_every_dependency_has_its_reason() -> None:
    block = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]\n")[0]
    assert [line for line in block.splitlines() if line.strip().startswith('"') and "#" not in line] == []


def test_the_lock_has_hashes_and_no_addresses() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"https?://|--index-url|--find-links", text)
    packages = re.findall(r"^([a-z0-9_.-]+)==", text, flags=re.MULTILINE | re.IGNORECASE)
    assert len(packages) > 100
    assert text.count("--hash=sha256:") > len(packages)
