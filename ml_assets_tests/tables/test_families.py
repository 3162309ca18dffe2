"""The tables as they are declared, and as a lake has them: columns, comments, docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs.reference import FOLDER, tables_page
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.lake.sql import table as quoted
from ml_assets.tables import online
from ml_assets.tables.data import VALIDATED_DATA, lookup
from ml_assets.tables.families import TABLES, table_of
from ml_assets.tables.online import ONLINE_LOOKUPS
from ml_assets.tables.table import Table
from ml_assets.tables.trials import TRIALS
from ml_assets_tests.conftest import Project

COMMENTS = """SELECT table_name, column_name, comment FROM duckdb_columns()
WHERE database_name = 'lake' AND schema_name = 'loans' AND comment IS NOT NULL"""


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_says_what_it_holds(table: Table) -> None:
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    assert set(table.key) <= set(names)
    assert table.written_by
    for text in (table.description, *table.descriptions.values()):
        assert text.endswith("."), text
    earlier = [column.earlier for column in table.columns if column.earlier] + [table.earlier_name] * bool(
        table.earlier_name
    )
    assert not earlier or table.format > 1


def test_names_are_told_from_others() -> None:
    assert len({table.name for table in TABLES}) == len(TABLES)
    assert table_of("validated_data") is VALIDATED_DATA
    assert table_of(lookup("carrier_history").name) is not None
    assert table_of(online.table_for(online.LOOKUPS, "carrier_history").name) is online.ONLINE_LOOKUP
    assert table_of(online.table_for(online.REFERENCES, "weather").name) is online.ONLINE_REFERENCE
    assert table_of(ONLINE_LOOKUPS.name) is ONLINE_LOOKUPS
    assert table_of("mean_score") is None


def test_the_page_of_the_tables_is_up_to_date() -> None:
    assert (FOLDER / "tables.md").read_text() == tables_page(), "make fix"


def test_a_lake_has_the_tables_as_they_are_declared(trained: Project) -> None:
    with Lake(trained.paths.lake, read_only=True) as lake:
        names = [name for name in lake.tables() if name.startswith("loans.")]
        assert len(names) > 20
        for name in names:
            declared, stored = table_of(name.partition(".")[2]), lake.columns(quoted(name))
            assert declared is not None, name
            columns = {column.name for column in declared.columns}
            assert columns <= set(stored), name
            assert declared.further or columns == set(stored), name


def test_every_table_and_column_has_its_comment(trained: Project) -> None:
    comments = {(row["table_name"], row["column_name"]): row["comment"] for row in trained.rows(COMMENTS)}
    of_tables = {
        row["table_name"]: row["comment"]
        for row in trained.rows("SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'loans'")
    }
    assert len(of_tables) > 20
    for name, comment in of_tables.items():
        declared = table_of(name)
        assert declared is not None
        assert comment == declared.comment, name
        for column, text in declared.descriptions.items():
            assert comments[name, column] == text, (name, column)


def test_a_reader_of_the_published_copy_sees_what_the_yaml_says(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (income,) = (column for column in project.spec_dict["columns"] if column["name"] == "income")
    income |= {"description": "What they earn in a year", "unit": "kEUR"}
    project.write(1)
    assert project.ingest("1").success
    comments = _published(project.paths.lake, monkeypatch)
    for name in ("raw_data", "validated_data", "quarantine"):
        assert comments[name, "income"] == "What they earn in a year [kEUR]", name
    assert comments["validated_data", "source_file"] == "The file that the row came in."


def _published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Any]:
    """The comments as a user sees them who may not write the lake."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with Lake(folder, read_only=True) as lake:
        return {(row["table_name"], row["column_name"]): row["comment"] for row in lake.rows(COMMENTS)}


def test_comments_and_names_change_no_data_version(lake: Lake) -> None:
    values = lake.values({"batch": "VARCHAR", "triggered_by": "VARCHAR"}, [{"batch": "1", "triggered_by": "x"}])
    before = lake.values({"batch": "VARCHAR", "asked_by": "VARCHAR"}, [{"batch": "1", "asked_by": "x"}])
    renamed = {"triggered_by": "asked_by"}
    described = Put("p.b", values, "1", renamed=renamed, description="D.", column_descriptions={"batch": "B."})
    puts = [Put("p.a", before, "1"), described, Put("p.c", values, "1", renamed=renamed)]
    versions = {written.data_version for written in lake.replace(puts, Commit("p/a"))}
    assert len(versions) == 1


def test_a_table_of_a_search_replaces_it(lake: Lake) -> None:
    row = {"pin_id": "p", "candidate": "tree", "code_version": "c"}
    for scores in ([0.1, 0.2], [0.3]):
        rows = [{**row, "trial": number, "score": score} for number, score in enumerate(scores)]
        lake.append([TRIALS.rows("p", rows)], Commit("p/candidate_tree"))
    assert [row["score"] for row in TRIALS.query(lake, "p", "SELECT score FROM {t}")] == [0.3]
