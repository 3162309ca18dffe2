"""What is decided about versions, by gates and by persons, on lakes made by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.cli.status import print_newest
from ml_assets.errors import ModelError
from ml_assets.graph.release.promotion import approvals
from ml_assets.graph.release.promotion.decide import decide as judge_and_decide
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import table
from ml_assets.tables import decisions, deployments, versions
from ml_assets.tables.audit import last_writes
from ml_assets.tables.decisions import Decision, pending
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets_tests.graph.release.hand_made import BY, add_version, evaluate, spec


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a project whose version 1.0.0 is the champion."""
    root = tmp_path_factory.mktemp("promoted")
    paths = Paths(root, root / "data")
    with Lake(paths.lake) as lake:
        add_version(lake, paths, "1.0.0")
        assert decide(lake, "1.0.0").decision == "promoted"
    return paths.data


@pytest.fixture
def paths(tmp_path: Path, promoted: Path) -> Paths:
    shutil.copytree(promoted, tmp_path / "data")
    return Paths(tmp_path, tmp_path / "data")


@pytest.fixture
def store(paths: Paths) -> Iterator[Lake]:
    """A lake whose version 1.0.0 is the champion."""
    with Lake(paths.lake) as lake:
        yield lake


def decide(lake: Lake, version: str, commit: Commit = BY, **gates: object) -> Decision:
    return judge_and_decide(lake, spec(**gates), versions.need_version(lake, "loans", version), commit)


def champion(lake: Lake) -> str:
    return versions.need_alias(lake, "loans", "champion").version


def test_the_first_version_has_nobody_to_be_compared_with(store: Lake) -> None:
    (made,) = decisions.decisions(store, "loans")
    gates = {gate.gate: gate for gate in made.gates}
    assert gates["champion"].passed
    assert gates["champion"].detail == "no champion to compare with yet"
    assert (made.decided_by, made.previous_champion) == ("schedule loans_retrain_cron", None)
    assert champion(store) == "1.0.0"


def test_a_refusal_is_recorded_and_the_champion_stays(
    store: Lake, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    add_version(store, paths, "1.0.1", roc_auc=0.55, gain=-0.25)
    made = decide(store, "1.0.1")
    assert made.decision == "refused"
    assert made.why == (
        "metrics.roc_auc: roc_auc >= 0.6, found 0.55; "
        "champion: not worse in roc_auc by more than 0, at 95% confidence, found -0.25 (gain between -0.26 and -0.24)"
    )
    print_newest(store, "loans")  # `ml-assets status` names it
    assert "version 1.0.1 refused (champion: 1.0.0): metrics.roc_auc: roc_auc >= 0.6, found" in capsys.readouterr().out
    assert champion(store) == "1.0.0"
    assert versions.need_alias(store, "loans", "challenger").version == "1.0.1"
    assert decide(store, "1.0.1", metrics={}, champion={"max_drop": 0.3}).decision == "promoted"  # today's gates


def test_without_a_comparison_a_version_passes_only_where_there_can_be_none(store: Lake, paths: Paths) -> None:
    add_version(store, paths, "1.0.1")
    made = decide(store, "1.0.1")
    assert made.decision == "refused"
    assert "not compared with today's champion: materialize loans/evaluation_report" in made.why
    add_version(store, paths, "2.0.0", schema="other")  # other features are no way around the comparison
    assert "not compared with today's champion" in decide(store, "2.0.0").why
    why = EvaluatedNumber("not_compared", "roc_auc", float("nan"), 100, note="Version 1.0.0 needs\n  'income'.")
    add_version(store, paths, "2.0.1", schema="other", more=[why])
    made = decide(store, "2.0.1")
    assert made.decision == "refused"
    assert "Version 1.0.0 needs 'income'. `ml-assets models promote` promotes it anyway" in made.why
    approvals.promote(store, paths, "loans", "2.0.1", "income is not asked for any more")
    assert champion(store) == "2.0.1"


def test_a_comparison_with_an_earlier_champion_does_not_count(store: Lake, paths: Paths) -> None:
    add_version(store, paths, "1.0.1", gain=0.01)
    add_version(store, paths, "1.0.2", gain=0.01)
    assert decide(store, "1.0.1").decision == "promoted"
    assert "not compared with today's champion" in decide(store, "1.0.2").why
    evaluate(store, "1.0.2", gain=0.01)
    assert decide(store, "1.0.2").decision == "promoted"


def test_a_champion_that_fails_today_is_kept_and_says_so(store: Lake) -> None:
    made = decide(store, "1.0.0", metrics={"roc_auc": {"min": 0.9}})
    assert made.decision == "kept"
    assert made.why == "it is the champion already, but fails today: metrics.roc_auc: roc_auc >= 0.9, found 0.8"
    assert len(versions.alias_events(store, "loans")) == 1


def test_an_older_pending_version_is_not_dropped(store: Lake, paths: Paths) -> None:
    for version in ("1.0.1", "1.0.2"):
        add_version(store, paths, version, gain=0.01)
        assert decide(store, version, approval="manual").decision == "pending"
    add_version(store, paths, "1.0.3", gain=0.01)
    assert decide(store, "1.0.3").decision == "promoted"
    assert list(pending(store, "loans")) == ["1.0.1", "1.0.2"]
    made = approvals.approve(store, paths, "loans", "1.0.1", "looked at the slices", "ana", "run-7")
    assert (made.decision, made.decided_by, made.previous_champion) == ("promoted", "ana", "1.0.3")
    assert [gate.gate for gate in made.gates] == ["metrics.roc_auc", "champion"]
    assert champion(store) == "1.0.1"
    approvals.reject(store, paths, "loans", "1.0.2", "too late", "ben")
    assert pending(store, "loans") == {}
    assert champion(store) == "1.0.1"
    (row,) = store.rows(f"SELECT * FROM {table('loans.champion')} WHERE run_id = 'run-7'")
    assert (row["why"], row["decided_by"], row["version"]) == ("looked at the slices", "ana", "1.0.1")


def test_what_a_person_refused_no_training_brings_back(store: Lake, paths: Paths) -> None:
    add_version(store, paths, "1.0.1", gain=0.01)
    decide(store, "1.0.1", approval="manual")
    approvals.reject(store, paths, "loans", "1.0.1", "odd at night", "ana")
    made = decide(store, "1.0.1", approval="manual")
    assert made.decision == "refused"
    assert made.why.startswith("rejected by ana: odd at night;")
    approvals.promote(store, paths, "loans", "1.0.1", "it was the clock", "ana")
    approvals.rollback(store, paths, "loans", "it was not", by="ben")
    evaluate(store, "1.0.1", gain=0.01)
    assert decide(store, "1.0.1").why.startswith("rolled back by ben: it was not;")
    assert champion(store) == "1.0.0"


def test_only_what_waits_is_approved_and_only_with_a_reason(store: Lake, paths: Paths) -> None:
    add_version(store, paths, "1.0.1", gain=0.01)
    decide(store, "1.0.1", approval="manual")
    with pytest.raises(ModelError, match=r"(?s)1.0.0 does not wait for approval.*did you mean '1.0.1'"):
        approvals.approve(store, paths, "loans", "1.0.0", "because")
    with pytest.raises(ModelError, match="needs a reason"):
        approvals.approve(store, paths, "loans", "1.0.1", " ")
    with pytest.raises(ModelError, match="needs a reason and a name"):
        approvals.reject(store, paths, "loans", "1.0.1", "because", by="")
    approvals.approve(store, paths, "loans", "1.0.1", "because")
    with pytest.raises(ModelError, match=r"(?s)does not wait.*No version of the pipeline waits"):
        approvals.approve(store, paths, "loans", "1.0.1", "because")


def test_a_changed_bundle_never_becomes_champion(store: Lake, paths: Paths) -> None:
    add_version(store, paths, "1.0.1", gain=0.01)
    decide(store, "1.0.1", approval="manual")
    (paths.bundles / "loans/1.0.1/features.sql").write_text("SELECT 1")
    for answer in (approvals.approve, approvals.promote):
        with pytest.raises(ModelError, match="A file of the bundle was changed"):
            answer(store, paths, "loans", "1.0.1", "because")
    with pytest.raises(ModelError, match="A file of the bundle was changed"):
        approvals.rollback(store, paths, "loans", "because", to="1.0.1")
    assert champion(store) == "1.0.0"
    assert list(pending(store, "loans")) == ["1.0.1"]


def test_a_second_rollback_goes_one_further_back(store: Lake, paths: Paths) -> None:
    for version in ("1.0.1", "1.0.2"):
        add_version(store, paths, version, gain=0.01)
        assert decide(store, version).decision == "promoted"
    made = approvals.rollback(store, paths, "loans", "complaints", by="ana")
    assert (made.decision, made.version, made.previous_champion) == ("rolled_back", "1.0.1", "1.0.2")
    assert champion(store) == "1.0.1"
    approvals.rollback(store, paths, "loans", "more complaints")
    assert champion(store) == "1.0.0"
    with pytest.raises(ModelError, match=r"(?s)No champion before 1.0.0.*--to VERSION"):
        approvals.rollback(store, paths, "loans", "still")
    approvals.rollback(store, paths, "loans", "it was the data", to="1.0.2")
    assert champion(store) == "1.0.2"
    with pytest.raises(ModelError, match="is the champion already"):
        approvals.promote(store, paths, "loans", "1.0.2", "again")
    with pytest.raises(ModelError, match=r"did you mean '1.0.2'"):
        approvals.promote(store, paths, "loans", "1.0.22", "again")


def test_a_score_that_is_too_good_waits_for_a_person_once(store: Lake, paths: Paths) -> None:
    def add(version: str, schema: str) -> Decision:
        found = [
            EvaluatedNumber("single", "roc_auc", 0.9, 100, slice_by="feature", slice="a"),
            EvaluatedNumber("score", "roc_auc", 1, 9),
        ]
        found.append(EvaluatedNumber("together", "roc_auc", 1.0, 100, slice_by="feature", slice="casual + registered"))
        add_version(store, paths, version, gain=0.2, schema=schema, more=found)
        return decide(store, version, leakage={})

    made = add("1.0.1", "s")
    assert made.decision == "pending"
    assert made.why.startswith("too good to be true: leakage.score: roc_auc on test rows <= 0.999 ")
    assert made.why.endswith(
        "found 1 (casual + registered together reach roc_auc 1; it reaches roc_auc 1); "
        "waits for `ml-assets approve loans 1.0.1`"
    )
    assert champion(store) == "1.0.0"
    approvals.approve(store, paths, "loans", "1.0.1", "both are known the evening before")
    made = add("1.0.2", "s")  # the same features: asked and answered
    assert made.decision == "promoted"
    assert "as that of champion 1.0.1" in {gate.gate: gate.detail for gate in made.gates}["leakage.score"]
    assert add("1.0.3", "s").decision == "promoted"
    add_version(store, paths, "1.0.4", roc_auc=0.55, gain=0.2, more=[EvaluatedNumber("score", "roc_auc", 1, 9)])
    assert decide(store, "1.0.4", leakage={}).decision == "refused"  # another gate failed, too


def test_an_answer_leaves_the_asset_as_fresh_as_it_was(store: Lake, paths: Paths) -> None:
    add_version(store, paths, "1.0.1", gain=0.01)
    decide(store, "1.0.1", Commit("loans/champion", "run", "c0de"), approval="manual")
    approvals.approve(store, paths, "loans", "1.0.1", "because", run_id="other")
    write = last_writes(store, "loans")[("loans/champion", None)]
    assert (write.run_id, write.code_version) == ("other", "c0de")


def test_tables_of_an_earlier_version_are_read(store: Lake) -> None:
    store.con.execute(f"ALTER TABLE {table('loans.evaluation_report')} DROP COLUMN note")
    for column in ("git_commit", "triggered_by"):
        store.con.execute(f"ALTER TABLE {table('loans.trained_model')} DROP COLUMN {column}")
    assert decide(store, "1.0.0").decision == "kept"
    (record,) = versions.records(store, "loans")
    assert (record["git_commit"], record["triggered_by"], record["params"]) == (None, None, {"max_depth": 3})


def test_a_lake_of_the_first_release_calls_the_names_by(store: Lake, paths: Paths) -> None:
    for name, column in (("champion", "decided_by"), ("alias_events", "moved_by")):
        store.con.execute(f'ALTER TABLE {table(f"loans.{name}")} RENAME COLUMN {column} TO "by"')
    (made,) = decisions.decisions(store, "loans")
    (move,) = deployments.moves(store, "loans")
    assert made.decided_by == move.by == "schedule loans_retrain_cron"
    add_version(store, paths, "1.0.1", gain=0.01)
    decide(store, "1.0.1")
    for name, column in (("champion", "decided_by"), ("alias_events", "moved_by")):
        rows = store.rows(f"SELECT {column}, version FROM {table(f'loans.{name}')} ORDER BY version")
        assert [(row[column], row["version"]) for row in rows] == [
            ("schedule loans_retrain_cron", "1.0.0"),
            ("schedule loans_retrain_cron", "1.0.1"),
        ]
    assert "by" not in store.columns(table("loans.champion"))
