"""Batch scores: every row once, by one named version."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml_assets.graph.scoring import checks, routes, scoring
from ml_assets.lake.lake import Commit, Lake
from ml_assets.ml import bundle, estimators, routing
from ml_assets.ml.bundle import Bundle, Schema
from ml_assets.tables import versions
from ml_assets_tests.conftest import Project, check_results, failure_text


def test_scores_are_those_of_the_bundle_that_serves(trained: Project) -> None:
    loaded = bundle.load(trained.paths.bundles / "loans" / "1.0.0-refit")
    rows = trained.rows(
        """SELECT f.*, p.score, p.decision, p.threshold, p.model_version FROM {p}.predictions p
        JOIN {p}.features f USING (batch, row_id) ORDER BY row_id"""
    )
    frame = pd.DataFrame(rows)
    scores = estimators.predict_scores(loaded.model, estimators.feature_frame(frame, loaded.schema.features), "binary")
    np.testing.assert_array_equal(frame["score"], scores)
    assert set(frame["model_version"]) == {"1.0.0"}
    assert (frame["decision"].astype(int) == (frame["score"] >= frame["threshold"])).all()


def test_a_model_that_needs_gone_features_says_so(copied: Project) -> None:
    copied.sql["features.sql"] = "SELECT row_id, income FROM batch"
    assert copied.materialize("features", batches=["1", "2", "3", "4", "5"]).success
    text = failure_text(copied.materialize("predictions", batches=["3"]))
    assert "Version 1.0.0 needs features that are not made any more: late_share, region" in text


def test_scoring_again_replaces_the_batch(copied: Project) -> None:
    for _ in range(2):
        assert copied.materialize("predictions", batches=["3", "4", "5"]).success
    assert copied.value("SELECT count(*) FROM {p}.predictions") == 450


@pytest.fixture
def two_versions(copied: Project) -> Project:
    """1.0.0 is the champion; 1.0.1, the same model under another number, is the challenger."""
    shutil.copytree(copied.paths.bundles / "loans/1.0.0", copied.paths.bundles / "loans/1.0.1")
    with Lake(copied.paths.lake) as lake:
        (first,) = versions.records(lake, "loans")
        commit = Commit("loans/trained_model")
        versions.register(
            lake, "loans", {**first, "version": "1.0.1", "bundle": "loans/1.0.1", "created_at": versions.now()}, commit
        )
        lake.append([versions.alias_event("loans", "challenger", "1.0.1", "a test", "test", "")], commit)
    return copied


def scored_by(project: Project, batch: str = "5") -> dict[str, str]:
    """Version -> role of a batch's predictions, each with a row for every validated row."""
    rows = project.rows(
        "SELECT model_version, role, count(DISTINCT row_id) AS rows FROM {p}.predictions WHERE batch = ? GROUP BY ALL",
        [batch],
    )
    assert {row["rows"] for row in rows} == {150}
    return {row["model_version"]: row["role"] for row in rows}


def test_versions_that_serving_names_score_beside_the_champion(two_versions: Project) -> None:
    two_versions.spec_dict["serving"] = {
        "routes": {"champion": 0.9, "challenger": 0.1},
        "shadow": ["challenger", "1.0.0"],
    }
    result = two_versions.materialize("predictions", batches=["5"])
    assert result.success, failure_text(result)
    assert scored_by(two_versions) == {"1.0.0": "champion", "1.0.1": "challenger"}
    assert check_results(result)[("predictions", "every_row_is_scored_once", "5")]

    two_versions.spec_dict["serving"] = {"shadow": ["1.0.1"]}
    assert two_versions.materialize("predictions", batches=["5"]).success
    assert scored_by(two_versions) == {"1.0.0": "champion", "1.0.1": "shadow"}

    two_versions.spec_dict["serving"] = {"shadow": ["1.0.7"]}
    text = failure_text(two_versions.materialize("predictions", batches=["5"]))
    assert "no model version '1.0.7'" in text


def test_another_version_scores_beside_what_was_answered(two_versions: Project) -> None:
    config = {"ops": {"loans__predictions": {"config": {"version": "1.0.1"}}}}
    for _ in range(2):
        assert two_versions.materialize("predictions", batches=["5"], run_config=config).success
        assert scored_by(two_versions) == {"1.0.0": "champion", "1.0.1": "rescored"}
    assert two_versions.materialize("predictions", batches=["4"], run_config=config).success
    assert scored_by(two_versions, "4") == {"1.0.1": "champion"}  # nobody had scored it before


SPLIT = {"champion": 0.7, "challenger": 0.3}


def routed(project: Project, batch: str = "5") -> dict[int, str]:
    """Row -> the version that it is routed to, which must be one."""
    rows = project.rows("SELECT row_id, model_version FROM {p}.predictions WHERE batch = ? AND routed", [batch])
    assert len(rows) == len({row["row_id"] for row in rows}) == 150
    return {row["row_id"]: row["model_version"] for row in rows}


def test_rows_are_divided_by_their_keys_as_requests_are(two_versions: Project) -> None:
    assert two_versions.materialize("predictions", batches=["5"]).success
    assert set(routed(two_versions).values()) == {"1.0.0"}  # one route
    two_versions.spec_dict["serving"] = {"routes": SPLIT}
    result = two_versions.materialize("predictions", batches=["5"])
    assert result.success, failure_text(result)
    keys = two_versions.rows("SELECT row_id, loan FROM {p}.validated_data WHERE batch = '5'")
    shares = {row["row_id"]: routing.share_of("loans", [row["loan"]]) for row in keys}
    assert routed(two_versions) == {row: "1.0.0" if share < 0.7 else "1.0.1" for row, share in shares.items()}
    assert {"1.0.0", "1.0.1"} == set(routed(two_versions).values())
    assert check_results(result)[("predictions", "every_row_is_scored_once", "5")]
    before, divided = versions_of_data(two_versions), routed(two_versions)
    two_versions.spec_dict["serving"] = {"routes": {"champion": 0.2, "challenger": 0.8}}
    assert two_versions.materialize("predictions", batches=["5"]).success
    assert routed(two_versions) != divided
    assert versions_of_data(two_versions) == before  # the division is no part of the data version


def versions_of_data(project: Project) -> str:
    return str(
        project.value(
            """SELECT max_by(commit_extra_info -> 'data_versions', snapshot_id) FROM lake.snapshots()
            WHERE commit_message = 'loans/predictions'"""
        )
    )


def test_rows_without_a_key_in_requests_are_divided_too(two_versions: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "CHUNK_ROWS", 7)
    two_versions.spec_dict |= {"key": ["late_days"], "serving": {"routes": SPLIT}}  # an outcome: no request has it
    with Lake(two_versions.paths.lake) as lake:
        routes.route_batch(lake, two_versions.spec, "5", {"champion", "challenger"})
        rows = lake.rows(f"SELECT * FROM {routes.ROUTED}")
        shares = {row: routing.share_of("loans", ["5", row]) for row in range(1, 151)}
        assert {row["row_id"] for row in rows} == {row for row, share in shares.items() if share >= 0.7}
        routes.route_batch(lake, two_versions.spec, "5", {"champion", "shadow"})  # there is no challenger
        assert lake.rows(f"SELECT * FROM {routes.ROUTED}") == []


def test_a_version_that_scores_later_takes_no_row_from_the_others(two_versions: Project) -> None:
    two_versions.spec_dict["serving"] = {"routes": SPLIT}
    assert two_versions.materialize("predictions", batches=["5"]).success
    before = routed(two_versions)
    for version in ("1.0.1", "1.0.0"):  # the challenger, then the champion
        config = {"ops": {"loans__predictions": {"config": {"version": version}}}}
        result = two_versions.materialize("predictions", batches=["5"], run_config=config)
        assert result.success
        assert routed(two_versions) == before
        assert check_results(result)[("predictions", "every_row_is_scored_once", "5")]


@pytest.mark.parametrize("broken", ["routed = true", "routed = false"])
def test_the_check_sees_rows_that_are_routed_to_two_versions_or_none(two_versions: Project, broken: str) -> None:
    two_versions.spec_dict["serving"] = {"routes": SPLIT}
    assert two_versions.materialize("predictions", batches=["5"]).success
    with Lake(two_versions.paths.lake) as lake:
        assert checks._scored_once(lake, "loans", "5").passed
        lake.con.execute(f"UPDATE lake.loans.predictions SET {broken} WHERE batch = '5'")
        assert not checks._scored_once(lake, "loans", "5").passed
        lake.con.execute("UPDATE lake.loans.predictions SET routed = NULL WHERE batch = '5'")  # as in earlier formats
        assert checks._scored_once(lake, "loans", "5").passed


def test_what_a_version_has_seen_is_said(copied: Project) -> None:
    assert copied.materialize("predictions", batches=["3", "4", "5"]).success
    seen = copied.rows("SELECT batch, bool_and(seen) AS seen FROM {p}.predictions GROUP BY batch ORDER BY batch")
    assert [row["seen"] for row in seen] == [True, True, False]


def test_a_chunk_at_a_time_says_the_same(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = copied.rows("SELECT row_id, score, decision FROM {p}.predictions WHERE batch = '5' ORDER BY row_id")
    monkeypatch.setattr(scoring, "CHUNK_ROWS", 7)
    assert copied.materialize("predictions", batches=["5"]).success
    assert (
        copied.rows("SELECT row_id, score, decision FROM {p}.predictions WHERE batch = '5' ORDER BY row_id") == before
    )


def test_probabilities_of_every_class_are_kept() -> None:
    rows = pa.table({"row_id": [1, 2], "income": [10.0, 50.0]})
    schema = Schema("multiclass", "grade", {}, {"income": "number"}, ["a", "b", "c"], None, "x.Y")
    answers = scoring._predicted(rows, Bundle(schema, Thirds())).to_pylist()
    assert [row["decision"] for row in answers] == ["b", "b"]
    assert answers[0]["score"] == max(answers[0]["probabilities"]) == 0.5


class Thirds:
    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        return np.tile([0.2, 0.5, 0.3], (len(frame), 1))
