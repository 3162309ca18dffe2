"""Reading the lake: one snapshot for several reads, and what DuckDB makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_assets.errors import LakeError
from ml_assets.lake.lake import Commit, Lake, Put, Rows
from ml_assets.tables.table import Column, Table

GAUGES = Table("gauges", "A tide gauge.", (Column("place", "VARCHAR", "Where it is."),), written_by="a test", format=2)
BY = Commit("tides/gauges")


def test_reads_of_one_snapshot_do_not_see_what_is_written_meanwhile(tmp_path: Path) -> None:
    with Lake(tmp_path / "lake") as writer, Lake(tmp_path / "lake") as reader:
        writer.replace(
            [Put("tides.gauges", "(SELECT 'spring' AS batch, 1 AS row_id)", "spring")], Commit("tides/gauges")
        )
        with reader.one_snapshot():
            assert reader.count("tides.gauges") == 1
            writer.replace(
                [Put("tides.gauges", "(SELECT 'neap' AS batch, 1 AS row_id)", "neap")], Commit("tides/gauges")
            )
            assert reader.count("tides.gauges") == 1
            with reader.one_snapshot():
                assert reader.rows("SELECT batch FROM lake.tides.gauges") == [{"batch": "spring"}]
            assert reader.count("tides.gauges", "neap") == 0
            reader.refresh()
            assert reader.count("tides.gauges", "neap") == 1
        assert reader.count("tides.gauges") == 2


def test_a_snapshot_ends_with_a_write_and_with_a_read_that_fails(tmp_path: Path) -> None:
    with Lake(tmp_path / "lake") as lake:
        put = Put("tides.gauges", "(SELECT 'spring' AS batch, 1 AS row_id, 'low' AS level)", "spring")
        with lake.one_snapshot():
            lake.replace([put], Commit("tides/gauges"))
            assert lake.count("tides.gauges", "spring") == 1
        with lake.one_snapshot():
            with pytest.raises(LakeError):
                lake.fetch("SELECT level::INT FROM lake.tides.gauges")
            assert lake.count("tides.gauges") == 1
        assert lake.count("tides.gauges") == 1


def test_within_one_snapshot_nothing_is_read_twice(lake: Lake) -> None:
    lake.append([GAUGES.rows("tides", [{"place": "Brest"}])], BY)
    calls: list[str] = []

    def gauges() -> list[dict[str, object]]:
        return GAUGES.query(lake, "tides", "SELECT place FROM {t} WHERE place <> ? ORDER BY place", ["Cuxhaven"])

    with lake.one_snapshot() as same:
        assert same is lake
        for value in ("first", "second"):
            assert lake.once("a key", lambda value=value: calls.append(value) or value) == "first"
        gauges()[0]["place"] = "changed by who asked"
        assert gauges() == [{"place": "Brest"}]
        lake.append([GAUGES.rows("tides", [{"place": "Aveiro"}, {"place": "Cuxhaven"}])], BY)
        assert gauges() == [{"place": "Aveiro"}, {"place": "Brest"}]
    assert calls == ["first"]
    assert lake.once("a key", lambda: "outside it is read each time") != "first"


def test_a_table_of_a_snapshot_is_there_or_not_whatever_is_made_meanwhile(tmp_path: Path) -> None:
    with Lake(tmp_path / "lake") as writer, Lake(tmp_path / "lake") as reader:
        writer.append([GAUGES.rows("tides", [{"place": "Brest"}])], BY)
        with reader.one_snapshot():
            assert not reader.exists("locks.gauges")
            before = reader.column_names("tides.gauges")
            writer.append([GAUGES.rows("locks", [{"place": "Brunsbüttel"}])], BY)
            assert not reader.exists("locks.gauges")
            assert GAUGES.query(reader, "locks", "SELECT * FROM {t}") == []
            reader.refresh()
            assert reader.exists("locks.gauges")
        assert before == ["place"]
        assert reader.column_names("tides.locks") == []


def test_the_newest_row_is_found_by_reading_the_table_once(lake: Lake) -> None:
    types = {"place": "VARCHAR", "level": "DOUBLE", "read_at": "TIMESTAMP"}
    lake.append([Rows("tides.levels", types, [{"place": "Brest", "level": 3.1, "read_at": "2031-05-04 06:00"}])], BY)
    newest = "SELECT level FROM lake.tides.levels WHERE place = 'Brest' ORDER BY read_at DESC LIMIT 1"
    assert lake.rows(newest) == [{"level": 3.1}]
    (plan,) = lake.fetch(f"EXPLAIN {newest}")
    assert plan[1].count("DUCKLAKE_SCAN") == 1


@pytest.mark.parametrize("is_named", [True, False])
def test_files_within_one_snapshot_are_of_it(tmp_path: Path, is_named: bool) -> None:
    """Also where only DuckLake can read them, here because a row was deleted."""
    with Lake(tmp_path / "lake") as writer, Lake(tmp_path / "lake") as reader:
        rows = "(SELECT 'spring' AS batch, unnest([1, 2]) AS row_id)"
        writer.replace([Put("tides.gauges", rows, "spring")], Commit("tides/gauges"))
        if not is_named:
            delete = "DELETE FROM lake.tides.gauges WHERE row_id = 2"
            writer.maintain(lambda: writer.con.execute(delete).fetchall(), Commit("tides/gauges"))
        kept = 2 if is_named else 1
        with reader.one_snapshot():
            assert reader.exists("tides.gauges")
            writer.replace(
                [Put("tides.gauges", "(SELECT 'spring' AS batch, 9 AS row_id)", "spring")], Commit("tides/gauges")
            )
            writer.replace([Put("tides.buoys", "(SELECT 'spring' AS batch)", "spring")], Commit("tides/buoys"))
            assert reader.count("tides.gauges", "spring") == reader.count("tides.gauges") == kept
            assert reader.fetch(f"SELECT max(row_id) FROM {reader.relation('tides.gauges', ['spring'])}") == [(kept,)]
            assert ("read_parquet" in reader.relation("tides.gauges", ["spring"])) == is_named
        assert reader.count("tides.gauges", "spring") == 1
        assert reader.relation("tides.gauges", []).endswith("WHERE false)")
