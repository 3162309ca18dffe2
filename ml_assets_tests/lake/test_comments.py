"""Any SQL client shows what a table and its columns mean; saying it again costs no snapshot and no change."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ml_assets.errors import SchemaChange
from ml_assets.lake.lake import Commit, Lake, Put, Rows, Written

BY = Commit(asset="t/x", batch="a")
MEANING = {"v": 'Value, in dollars; it\'s "rounded".', "absent": "A column that the table has not."}


def put(
    lake: Lake, sql: str, columns: Mapping[str, str] = MEANING, table: str = "Values.", **options: object
) -> Written:
    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE made AS {sql}")
    options = {"batch": "a", **options}
    return lake.replace([Put("t.x", "made", description=table, column_descriptions=columns, **options)], BY)[0]  # type: ignore[arg-type]


def shown(lake: Lake) -> dict[str, str | None]:
    """What a SQL client shows, as of the last commit."""
    columns = lake.con.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = 'lake' AND table_name = 'x'"
    ).fetchall()
    (table,) = lake.con.execute(
        "SELECT comment FROM duckdb_tables() WHERE database_name = 'lake' AND table_name = 'x'"
    ).fetchall()
    return {"": table[0], **dict(columns)}


def changes(lake: Lake, snapshot: int) -> str:
    rows = lake.con.execute(
        "SELECT changes_made FROM __ducklake_metadata_lake.ducklake_snapshot_changes WHERE snapshot_id = ?", [snapshot]
    ).fetchall()
    return str(rows[0][0])


def test_comments_come_with_the_rows_and_unchanged_ones_change_nothing(lake: Lake) -> None:
    first = put(lake, "SELECT 'a' AS batch, 1 AS v")
    assert shown(lake) == {"": "Values.", "batch": None, "v": MEANING["v"]}
    assert lake.snapshot() == first.snapshot_id  # one snapshot has both
    second = put(lake, "SELECT 'a' AS batch, 2 AS v")
    lake.close()  # another connection has to read what there is
    third = put(lake, "SELECT 'a' AS batch, 3 AS v")
    assert [two.snapshot_id for two in (second, third)] == [first.snapshot_id + 1, first.snapshot_id + 2]
    assert [changes(lake, two.snapshot_id) for two in (second, third)] == [changes(lake, second.snapshot_id)] * 2
    assert "altered" not in changes(lake, second.snapshot_id)
    assert put(lake, "SELECT 'a' AS batch, 3 AS v", {}, "").data_version == third.data_version
    assert shown(lake)[""] == "Values."  # an empty one leaves what is there


def test_a_comment_that_differs_is_written_alone(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v")
    changed = put(lake, "SELECT 'a' AS batch, 1 AS v", {**MEANING, "batch": "The batch."})
    assert shown(lake) == {"": "Values.", "batch": "The batch.", "v": MEANING["v"]}
    assert changes(lake, changed.snapshot_id).count("altered_table") == 1
    written = lake.con.execute("SELECT count(*) FROM __ducklake_metadata_lake.ducklake_column_tag").fetchall()
    assert written == [(2,)]


def test_columns_that_are_new_renamed_or_made_again_get_theirs(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS before", {"before": "Earlier."})
    put(lake, "SELECT 'a' AS batch, 1 AS v, 2 AS more", {"v": "Later.", "more": "M."}, renamed={"v": "before"})
    assert shown(lake) == {"": "Values.", "batch": None, "v": "Later.", "more": "M."}
    put(lake, "SELECT 'a' AS batch, 'text' AS v, 2 AS more", {"v": "Later.", "more": "M."}, reshape=True)
    assert shown(lake) == {"": "Values.", "batch": None, "v": "Later.", "more": "M."}
    put(lake, "SELECT 'a' AS batch, 'text' AS v", {"v": "Later."}, reshape=True, batch=None)
    assert shown(lake) == {"": "Values.", "batch": None, "v": "Later."}


def test_comments_of_a_write_that_failed_are_not_taken_for_written(lake: Lake) -> None:
    put(lake, "SELECT 'a' AS batch, 1 AS v", {"v": "Old."})

    def fails() -> None:
        raise SchemaChange("no")

    lake.con.execute("CREATE OR REPLACE TEMP TABLE made AS SELECT 'a' AS batch, 1 AS v")
    with pytest.raises(SchemaChange):
        lake.replace([Put("t.x", "made", "a", column_descriptions={"v": "New."})], BY, fails)
    assert shown(lake)["v"] == "Old."
    put(lake, "SELECT 'a' AS batch, 1 AS v", {"v": "New."})
    assert shown(lake)["v"] == "New."


def test_a_write_without_rows_keeps_the_description_and_makes_its_snapshot(lake: Lake) -> None:
    first = put(lake, "SELECT 'a' AS batch, 1 AS v LIMIT 0")
    again = put(lake, "SELECT 'a' AS batch, 1 AS v LIMIT 0")
    assert again.snapshot_id == first.snapshot_id + 1
    assert shown(lake)[""] == "Values."
    other = lake.append([Rows("t.y", {"v": "INTEGER"}, [])], BY)[0]  # a table that nobody describes
    assert other.snapshot_id == again.snapshot_id + 1
    put(lake, "SELECT 'a' AS batch, 1 AS v LIMIT 0", {}, "")
    assert (shown(lake)[""], lake.snapshot()) == ("Values.", other.snapshot_id + 1)


def test_rows_made_in_python_have_them_too(lake: Lake) -> None:
    rows = Rows("t.x", {"v": "INTEGER"}, [{"v": 1}], description="Events.", column_descriptions={"v": "Which."})
    lake.append([rows], BY)
    assert shown(lake) == {"": "Events.", "v": "Which."}
