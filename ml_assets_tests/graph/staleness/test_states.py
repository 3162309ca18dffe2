"""What exactly becomes stale, for each thing that can change."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from ml_assets.graph import code_version
from ml_assets.graph.staleness.facts import Files, PipelineFacts
from ml_assets.graph.staleness.sensors import unattended
from ml_assets.graph.staleness.states import AssetState, Node, evaluate, plan, spans
from ml_assets.tables.audit import LastWrite, Trail
from ml_assets_tests.conftest import Project
from ml_assets_tests.graph.staleness.conftest import TRAINING, not_fresh, short, variant, verdicts_of

BEHIND = dict.fromkeys(TRAINING, "behind")


def test_what_was_just_made_is_fresh_and_what_the_champion_predicted_is_frozen(trained: Project) -> None:
    """Batch 5 came after the training: a new batch makes no training stale."""
    verdicts = verdicts_of(trained)
    assert short(verdicts) == {}
    frozen = {(verdict.asset_name, verdict.batch) for verdict in verdicts if verdict.state == "frozen"}
    assert frozen == {("predictions", "5"), ("drift_report", "5"), ("performance_report", "5")}
    assert {verdict.asset_name for verdict in verdicts if verdict.state == "fresh"} >= {
        *TRAINING,
        "arrivals",
        "features",
    }


def test_another_features_select_makes_features_stale(trained: Project) -> None:
    changed = variant(trained)
    changed.sql["features.sql"] = changed.sql["features.sql"].replace("b.income,", "b.income * 2 AS income,")
    assert not_fresh(changed) == {"features": "stale 1 2 3 4 5", **BEHIND}


def test_a_comment_in_sql_makes_nothing_stale(trained: Project) -> None:
    changed = variant(trained)
    changed.sql = {name: f"-- why\n{text}\n" for name, text in changed.sql.items()}
    assert not_fresh(changed) == {}


def test_another_rule_makes_validation_stale_and_what_follows_behind(trained: Project) -> None:
    changed = variant(trained)
    changed.spec_dict["rules"]["paid_or_open"] = "late_days IS NULL OR late_days > 0"
    assert not_fresh(changed) == {
        "validated_data": "stale 1 2 3 4 5",
        "quarantine": "stale 1 2 3 4 5",
        "lookup_region_history": "behind 2 3 4 5",  # batch 1 has no history
        "features": "behind 1 2 3 4 5",
        "online_lookups": "behind",
        **BEHIND,
    }


def test_another_helper_function_makes_the_assets_stale_that_call_it(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = code_version._module_hash
    helper = "ml_assets.graph.features.select"
    monkeypatch.setattr(code_version, "_module_hash", lambda name: "other" if name == helper else real(name))
    assert not_fresh(variant(trained)) == {
        "lookup_region_history": "stale 1 2 3 4 5",
        "features": "stale 1 2 3 4 5",
        "online_lookups": "stale",
        **BEHIND,
    }


def test_a_new_lookup_is_missing_for_every_batch(trained: Project) -> None:
    changed = variant(trained)
    changed.spec_dict["lookups"]["all_history"] = {"key": ["region"], "sql": "region_history.sql", "batches": 1}
    verdicts = verdicts_of(changed)
    assert short(verdicts) == {
        "lookup_all_history": "missing 1 2 3 4 5",
        "features": "stale 1 2 3 4 5",
        "online_lookups": "stale",
        **BEHIND,
    }
    assert all(verdict.redo for verdict in verdicts if verdict.asset_name == "lookup_all_history")


def test_another_gate_is_the_business_of_a_training(trained: Project) -> None:
    changed = variant(trained)
    changed.spec_dict["gates"]["metrics"]["roc_auc"]["min"] = 0.61
    verdicts = verdicts_of(changed)
    assert short(verdicts) == {"evaluation_report": "stale", "release_candidate": "behind", "champion": "stale"}
    assert {(v.redo, v.todo) for v in verdicts if v.state == "stale"} == {(False, "job loans_train")}


def test_another_select_of_a_lookup_makes_the_servers_stale(trained: Project) -> None:
    changed = variant(trained)
    changed.sql["region_history.sql"] = changed.sql["region_history.sql"].replace("avg(", "1 - avg(")
    assert not_fresh(changed) == {
        "lookup_region_history": "stale 1 2 3 4 5",
        "features": "behind 1 2 3 4 5",
        "online_lookups": "stale",
        **BEHIND,
    }
    assert next(v for v in verdicts_of(changed) if v.asset_name == "online_lookups").redo


# -- by hand: what no tiny pipeline shows quickly ------------------------------------------------------------------

NODES = {
    node.key: node
    for node in (
        Node("p/arrivals", "v1", (), False, "rebuilt"),
        Node("p/raw_data", "v1", ("p/arrivals",), True, "rebuilt"),
        Node("p/validated_data", "v1", ("p/raw_data",), True, "rebuilt"),
        Node("p/quarantine", "v1", ("p/raw_data",), True, "rebuilt"),
        Node("p/features", "v1", ("p/validated_data",), True, "rebuilt"),
        Node("p/predictions", "v1", ("p/features",), True, "frozen"),
    )
}


def changed_code(*asset_names: str) -> dict[str, Node]:
    return {
        key: replace(node, code_version="v2") if node.asset_name in asset_names else node for key, node in NODES.items()
    }


WITH_LOOKUP = {
    **NODES,
    "p/lookup_x": Node("p/lookup_x", "v1", ("p/validated_data",), True, "rebuilt", {"p/validated_data": 2}),
    "p/features": replace(NODES["p/features"], upstream=("p/lookup_x", "p/validated_data")),
}


class Story:
    """Facts, told write by write."""

    def __init__(self) -> None:
        self.trail = Trail()
        self.errors: dict[tuple[str, str | None], str] = {}
        self.files: dict[str, Files] = {}
        self.snapshot = 0

    def write(self, asset_name: str, batch: str | None = None, content: str = "a", code: str = "v1") -> Story:
        place = self._place(asset_name, batch)
        self.trail.writes[place] = self._commit(place, code)
        snapshots, versions = self.trail.contents.setdefault(place, ([], []))
        if not versions or versions[-1] != content:
            snapshots.append(self.snapshot)
            versions.append(content)
        return self

    def fail(self, asset_name: str, batch: str, error: str = "wrong", code: str = "v1") -> Story:
        place = self._place(asset_name, batch)
        self.trail.failures[place] = self._commit(place, code)
        self.errors[place] = error
        return self

    def ingest(self, batch: str) -> Story:
        """A batch from its file to its features."""
        self.files[batch] = Files(ready=frozenset({batch}), read=frozenset({batch}))
        for asset_name in ("raw_data", "validated_data", "quarantine", "lookup_x", "features"):
            self.write(asset_name, batch)
        return self

    def verdicts(self, nodes: dict[str, Node] = NODES) -> list[AssetState]:
        return evaluate(nodes, self.facts())

    def told(self, nodes: dict[str, Node] = NODES) -> dict[str, str]:
        return short(self.verdicts(nodes))

    def facts(self) -> PipelineFacts:
        validated = sorted(str(batch) for key, batch in self.trail.contents if key == "p/validated_data")
        return PipelineFacts(self.trail, self.errors, self.files, validated)

    def _place(self, asset_name: str, batch: str | None) -> tuple[str, str | None]:
        self.snapshot += 1
        return f"p/{asset_name}", batch

    def _commit(self, place: tuple[str, str | None], code: str) -> LastWrite:
        return LastWrite(*place, self.snapshot, code, "run", dt.datetime(2024, 1, 1), {})


def story() -> Story:
    return Story().write("arrivals").ingest("1")


def test_a_changed_early_batch_reaches_as_far_as_the_lookup_looks_back() -> None:
    told = story().ingest("2").ingest("3").ingest("4")
    assert told.told(WITH_LOOKUP) == {}
    told.write("validated_data", "1", "b").write("features", "1")
    assert told.told(WITH_LOOKUP) == {"lookup_x": "stale 2 3", "features": "behind 2 3"}
    assert {(v.why, v.of) for v in told.verdicts(WITH_LOOKUP) if v.state == "stale"} == {
        ("data of validated_data", ("1",))
    }
    told.write("lookup_x", "2").write("lookup_x", "3", "other")  # only the second has other content
    assert told.told(WITH_LOOKUP) == {"features": "stale 3"}


ONLINE = Node("p/online", "v1", ("p/validated_data", "p/late"), False, "rebuilt", {"p/validated_data": 2})
WITH_ONLINE = {**NODES, "p/online": ONLINE, "p/late": Node("p/late", "v1", (), False, "frozen")}


def test_what_the_server_looks_up_is_of_the_newest_batches() -> None:
    told = story().ingest("2").ingest("3")
    assert told.told(WITH_ONLINE) == {"online": "missing"}
    assert [run.assets for run in plan(told.verdicts(WITH_ONLINE), told.facts(), ["1"])] == [("p/online",)]
    assert told.write("online").told(WITH_ONLINE) == {}
    told.write("validated_data", "1", "b").write("features", "1")  # older than it looks back
    assert told.told(WITH_ONLINE) == {}
    assert told.ingest("4").told(WITH_ONLINE) == {"online": "stale"}
    assert told.write("online").told(WITH_ONLINE) == {}
    told.write("validated_data", "3", "b").write("features", "3")
    assert told.told(WITH_ONLINE) == {"online": "stale"}
    assert told.write("online").write("late").told(WITH_ONLINE) == {"online": "stale"}
    assert told.write("online").told(WITH_ONLINE) == {}


def test_what_the_server_looks_up_waits_for_a_batch_and_goes_with_its_rebuilding() -> None:
    told = Story().write("arrivals")
    assert told.told(WITH_ONLINE) == {"online": "missing"}
    assert plan(told.verdicts(WITH_ONLINE), told.facts(), []) == []
    told.ingest("1").write("online")
    nodes = {**WITH_ONLINE, **changed_code("validated_data", "quarantine"), "p/online": ONLINE}
    assert told.told(nodes)["online"] == "behind"
    (run,) = plan(told.verdicts(nodes), told.facts(), ["1"])
    assert "p/online" in run.assets


def test_an_asset_may_look_back_on_itself() -> None:
    """Keys that are unique across batches: what one batch keeps decides what the next ones keep."""
    own = {"p/validated_data": 1}
    nodes = {**NODES, "p/validated_data": replace(NODES["p/validated_data"], looks_back=own)}
    told = story().ingest("2").ingest("3")
    assert told.told(nodes) == {}
    told.write("validated_data", "1", "b").write("features", "1")
    assert told.told(nodes) == {"validated_data": "stale 2; behind 3", "features": "behind 2 3"}


def test_a_batch_that_comes_late_is_in_the_history_of_those_after_it() -> None:
    told = story().ingest("3").ingest("4").ingest("5").ingest("2")
    assert told.told(WITH_LOOKUP) == {"lookup_x": "stale 3 4", "features": "behind 3 4"}


def test_a_refused_batch_is_failed_until_code_or_data_change() -> None:
    told = story().write("raw_data", "1", "b").write("quarantine", "1", "b").fail("validated_data", "1", "70 % broken")
    assert told.told() == {"validated_data": "failed 1"}
    (failed,) = [verdict for verdict in told.verdicts() if verdict.state == "failed"]
    assert (failed.why, failed.redo) == ("70 % broken", False)
    mended = changed_code("validated_data", "quarantine")
    assert told.told(mended) == {"validated_data": "stale 1", "quarantine": "stale 1", "features": "behind 1"}
    told.write("raw_data", "1", "c")
    assert told.told()["validated_data"] == "stale 1"
    told.write("validated_data", "1", "c").write("quarantine", "1", "c")
    assert told.told() == {"features": "stale 1"}


def test_a_batch_that_never_passed_waits_for_what_it_follows() -> None:
    told = story().write("raw_data", "2").fail("validated_data", "2")
    assert told.told() == {
        "validated_data": "failed 2",
        "quarantine": "failed 2",  # made by the same step, which left nothing
        "features": "missing 2",
    }
    (features,) = [v for v in told.verdicts() if v.asset_name == "features" and v.batch == "2"]
    assert (features.redo, features.todo) == (False, "follows validated_data")


def test_a_crash_between_two_assets_leaves_what_the_sensor_makes() -> None:
    told = story().write("raw_data", "2")
    assert told.told() == {"validated_data": "missing 2", "quarantine": "missing 2", "features": "missing 2"}
    assert all(verdict.redo for verdict in told.verdicts() if verdict.state == "missing")


def test_a_batch_that_was_never_read_is_not_for_this_sensor() -> None:
    told = story()
    told.files["2"] = Files(ready=frozenset({"x"}))
    told.files["3"] = Files(refused="The file is empty (0 bytes).")
    told.files["4"] = Files()  # vanished before anybody read it
    told.ingest("5").files["5"] = Files(ready=frozenset({"5"}), read=frozenset({"5"}), refused="One of two files.")
    assert told.told()["raw_data"] == "missing 2; failed 3 5"
    assert plan(told.verdicts(), told.facts(), ["1", "2", "3", "4"]) == []


def test_changed_files_are_the_other_sensors() -> None:
    told = story()
    told.files["1"] = Files(ready=frozenset({"new"}), read=frozenset({"1"}))
    (raw,) = [verdict for verdict in told.verdicts() if verdict.state == "stale"]
    assert (raw.asset_name, raw.redo, raw.todo) == ("raw_data", False, "sensor p_new_data")


def test_vanished_files_are_not_read_again() -> None:
    told = story().ingest("2").ingest("3")
    told.files["2"] = Files(read=frozenset({"2"}))
    nodes = changed_code("raw_data")
    assert told.told(nodes)["raw_data"] == "stale 1 2 3"
    assert told.told(nodes)["features"] == "behind 1 3"
    runs = plan(told.verdicts(nodes), told.facts(), ["1", "2", "3"])
    assert [run.batches for run in runs] == [("1",), ("3",)]
    nodes = changed_code("validated_data", "quarantine")
    (run,) = plan(told.verdicts(nodes), told.facts(), ["1", "2", "3"])
    assert run.batches == ("1", "2", "3")  # their rows are there
    assert "p/raw_data" not in run.assets


def test_one_run_goes_from_the_first_stale_batch_to_the_last_as_registered() -> None:
    told = story().ingest("2").ingest("3")
    for batch in ("3", "1"):
        told.write("validated_data", batch, "b")
    (run,) = plan(told.verdicts(), told.facts(), ["3", "2", "1"])
    assert run.batches == ("3", "1")
    assert run.assets == ("p/features",)


def test_content_that_returns_makes_nothing_stale() -> None:
    told = story().write("validated_data", "1", "b").write("validated_data", "1", "a")
    assert told.told() == {}


def test_predictions_are_frozen_and_their_failure_is_shown() -> None:
    told = story().write("predictions", "1").write("features", "1", "b")
    assert told.told(changed_code("predictions")) == {}
    assert told.fail("predictions", "1").told() == {"predictions": "failed 1"}


def test_arrivals_under_new_code_are_looked_at_again() -> None:
    nodes = changed_code("arrivals")
    told = story()
    assert told.told(nodes) == {"arrivals": "stale"}  # raw_data depends on the files themselves
    (run,) = plan(told.verdicts(nodes), told.facts(), ["1"])
    assert (run.assets, run.batches) == (("p/arrivals",), ())


def test_batches_as_ranges() -> None:
    known = [f"2013-{month:02d}" for month in range(1, 13)]
    assert spans([*known[:9], "2013-12"], known) == "2013-01…2013-09 (9), 2013-12"
    assert spans([], known) == ""


def test_what_no_sensor_rebuilds_waits_for_a_person() -> None:
    train, sensor = "job p_train", "sensor p_stale"
    verdicts = [
        AssetState("p/features", "1", "stale", "code", redo=True, todo=sensor),
        AssetState("p/training_set", None, "missing", "never made", todo=train),
        AssetState("p/trained_model", None, "stale", "code", todo=train),
        AssetState("p/candidate_x", None, "stale", "code", todo=train),
        AssetState("p/raw_data", "2", "stale", "code; its files have vanished", todo="bring the files back"),
    ]
    found = [(one.state, one.assets, one.batches, one.todo) for one in unattended(verdicts, ["1", "2"])]
    assert found == [
        ("stale", ["trained_model", "candidate_x"], "", train),
        ("stale", ["raw_data"], "2", "bring the files back"),
    ]
