"""What the lake's history says: snapshots, the models that need them, and differences."""

from __future__ import annotations

import pytest

from ml_assets.errors import LakeError, UnknownPipeline
from ml_assets.lake.compare import BatchChange
from ml_assets.lake.history import diff, snapshots
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables.training_sets import pinned
from ml_assets_tests.conftest import Project
from ml_assets_tests.lake.history_helpers import log, model, rows, write


def test_snapshots_say_who_wrote_what_and_which_models_need_them(lake: Lake) -> None:
    first = write(lake, "features", "a", rows({1: 1, 2: 2}))
    write(lake, "features", "b", rows({1: 1}))
    write(lake, "features", "a", rows({1: 1}), pipeline="u")
    model(lake, "1.0.0", first.snapshot_id)
    model(lake, "2.0.0", first.snapshot_id, pipeline="u")
    newest, *_, oldest = snapshots(lake, pinned(lake), "t")
    assert newest.asset == "t/trained_model"
    assert (oldest.snapshot_id, oldest.batch, oldest.rows) == (first.snapshot_id, "a", {"t.features": 2})
    assert (oldest.run_id, oldest.code_version, oldest.models) == ("run", "v1", ["t@1.0.0", "u@2.0.0"])
    assert [one.asset for one in snapshots(lake, pinned(lake), "t", limit=2)] == ["t/trained_model", "t/features"]
    assert [one.batch for one in snapshots(lake, pinned(lake), "t", batch="b")] == ["b"]
    foreign = [one for one in snapshots(lake, pinned(lake), "u") if one.asset == "t/features"]
    assert [one.models for one in foreign] == [["t@1.0.0", "u@2.0.0"]], "what its own model was trained on is listed"
    assert snapshots(lake, pinned(lake))[-1].asset is None


def test_a_pin_counts_as_well_as_the_version_that_names_it(lake: Lake) -> None:
    ids = [write(lake, "features", "a", rows({1: value})).snapshot_id for value in range(3)]
    model(lake, "1.0.0", ids[0], pin_snapshot=ids[1])
    assert pinned(lake) == {ids[0]: ["t@1.0.0"], ids[1]: ["t@1.0.0"]}


def test_a_diff_counts_rows_by_their_key_and_names_the_columns(lake: Lake) -> None:
    def put(batch: str, sql: str) -> int:
        return write(lake, "features", batch, sql).snapshot_id

    put("a", "SELECT range AS row_id, range AS v, 'same' AS w FROM range(10)")
    before = put("b", "SELECT range AS row_id, 0 AS v, 'same' AS w FROM range(3)")
    after = put("a", "SELECT range AS row_id, if(range < 4, -1, range) AS v, 'same' AS w FROM range(2, 12)")
    (change,) = diff(lake, before, after)
    assert (change.table, change.state, change.key) == ("t.features", "changed", ["batch", "row_id"])
    assert change.batches == [BatchChange("a", added=2, removed=2, changed=2, columns={"v": 2})]
    (back,) = diff(lake, after, before, "t")
    assert back.batches == [BatchChange("a", added=2, removed=2, changed=2, columns={"v": 2})]
    assert diff(lake, after, after) == []


def test_a_diff_tells_columns_that_came_went_or_changed_type(lake: Lake) -> None:
    before = write(lake, "features", "a", "SELECT 1::BIGINT AS row_id, 1 AS v, 2 AS gone, 5 AS kind").snapshot_id
    after = write(lake, "features", "a", "SELECT 1::BIGINT AS row_id, 1 AS v, 3 AS new, 'x' AS kind").snapshot_id
    (change,) = diff(lake, before, after)
    assert change.columns_added == {"new": "INTEGER"}
    assert change.columns_removed == {"gone": "INTEGER"}
    assert change.retyped == {"kind": ("INTEGER", "VARCHAR")}
    assert change.batches == [BatchChange("a", 0, 0, 1, {"kind": 1})]


def test_a_diff_of_tables_without_row_id_finds_a_key_or_counts_whole_rows(lake: Lake) -> None:
    keyed = "SELECT unnest(['x', 'y']) AS carrier, unnest([1.5, {}])::DOUBLE AS share"
    write(lake, "lookup_history", "a", keyed.format(2.5))
    write(lake, "doubles", "a", "SELECT unnest([1, 1, 2])::DOUBLE AS v")
    before = lake.snapshot()
    write(lake, "lookup_history", "a", keyed.format(3.5))
    write(lake, "doubles", "a", "SELECT unnest([1, 2, 2])::DOUBLE AS v")
    log(lake, 1)
    doubles, lookup, trials = diff(lake, before, lake.snapshot())
    assert (doubles.key, doubles.batches) == ([], [BatchChange("a", 1, 1)])
    assert (lookup.key, lookup.batches) == (["batch", "carrier"], [BatchChange("a", 0, 0, 1, {"share": 1})])
    assert (trials.state, trials.batches) == ("created", [BatchChange(None, 2, 0)])


def test_only_batches_whose_files_differ_are_compared(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    write(lake, "features", "a", rows({1: 1}))
    before = write(lake, "features", "b", rows({1: 1})).snapshot_id
    after = write(lake, "features", "b", rows({1: 2})).snapshot_id
    looked = []
    monkeypatch.setattr("ml_assets.lake.history.compare", lambda *args: (looked.append(args[-1]), [])[1:] * 2)
    diff(lake, before, after)
    assert looked == [["b"]]


def test_a_diff_sees_through_merged_files(lake: Lake) -> None:
    """One file then holds rows of several snapshots, so the list of files does not tell."""
    for number in range(4):
        log(lake, number)
    newest = lake.snapshot()
    lake.con.execute("CALL ducklake_merge_adjacent_files('lake', 'trials', schema => 't')")
    (change,) = diff(lake, newest - 2, newest)
    assert change.batches == [BatchChange(None, 4, 0)]
    assert diff(lake, newest, lake.snapshot()) == []


def test_wrong_snapshots_and_pipelines_are_named(lake: Lake) -> None:
    ids = [write(lake, "features", "a", rows({1: value})).snapshot_id for value in range(4)]
    lake.con.execute(f"CALL ducklake_expire_snapshots('lake', versions => [{ids[1]}])")
    with pytest.raises(LakeError, match="maintenance has expired it") as caught:
        diff(lake, ids[1], ids[3])
    assert f"The nearest are {ids[0]} and {ids[2]}" in str(caught.value)
    with pytest.raises(LakeError, match=r"There is no snapshot 999\.\n"):
        diff(lake, ids[0], 999)
    with pytest.raises(UnknownPipeline, match="no pipeline 'tt'"):
        diff(lake, ids[0], ids[3], "tt")


def test_a_write_by_hand_does_not_confuse_the_list(lake: Lake) -> None:
    write(lake, "features", "a", rows({1: 1}))
    lake.con.execute("BEGIN; UPDATE lake.t.features SET v = 2")
    lake.con.execute("CALL lake.set_commit_message('ana', 't/features', extra_info => 'no JSON'); COMMIT")
    newest = snapshots(lake, pinned(lake), "t")[0]
    assert (newest.asset, newest.batch, newest.rows) == ("t/features", None, {})


def test_two_tables_of_one_write_are_one_snapshot(lake: Lake) -> None:
    lake.con.execute("CREATE TEMP TABLE one AS SELECT 'a' AS batch, 1 AS v")
    lake.replace([Put("t.x", "one", "a"), Put("t.y", "one", "a")], Commit(asset="t/x", batch="a"))
    assert snapshots(lake, pinned(lake), "t")[0].rows == {"t.x": 1, "t.y": 1}


def test_a_real_pipeline(trained: Project) -> None:
    with Lake(trained.paths.lake, read_only=True) as lake:
        (pin,) = pinned(lake)
        assert pinned(lake)[pin] == ["loans@1.0.0"]
        changes = {change.table: change for change in diff(lake, pin, lake.snapshot(), "loans")}
        assert changes["loans.features"].batches == [BatchChange("5", 150, 0)]
        assert changes["loans.champion"].state == "created"
        assert len(snapshots(lake, pinned(lake), "loans", limit=5)) == 5
