"""What servers were asked, against the batch in which the same rows came later."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from ml_assets.graph.scoring import skew
from ml_assets.graph.scoring.checks import _no_skew
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.server.prediction_log import LogRules
from ml_assets_tests.conftest import Project, check_results
from ml_assets_tests.graph.online import Asked, ask, log, predicted
from ml_assets_tests.graph.scoring.test_prediction_log import ingest


@pytest.fixture(scope="module")
def asked(trained: Project) -> Asked:
    return ask(trained, "5")


def compared(project: Project, *records: bytes) -> tuple[int, dict[str, tuple[int, float | None]]]:
    hour = log(project, *records)
    ingest(project, hour)
    with Lake(project.paths.lake) as lake:
        rows, found = skew.compare(lake, project.spec, "5")
    return rows, {one.column: (one.rows, one.largest) for one in found}


def test_the_same_rows_do_not_differ(copied: Project, asked: Asked) -> None:
    zoned = [{**row, "signed": row["signed"].replace(tzinfo=dt.UTC)} for row in asked.rows]
    assert compared(copied, predicted(asked), predicted(asked, "zoned", rows=zoned)) == (300, {})


def test_every_column_that_differs_is_named_with_rows_and_distance(copied: Project, asked: Asked) -> None:
    features = {name: list(values) for name, values in asked.features.items()}
    features["late_share"][0] += 0.25
    features["late_share"][1] += 1e-12
    features["region"][2] = "Z"
    features["unemployment"][3] = None
    scores = [asked.scores[0] + 0.5, *asked.scores[1:]]
    rows = [{**row, "income": 1e6} if number == 4 else row for number, row in enumerate(asked.rows)]
    found = compared(copied, predicted(asked, features=features, scores=scores, rows=rows))
    assert found[0] == 150
    assert set(found[1]) == {"late_share", "region", "unemployment", "score", "request income"}
    assert found[1]["late_share"] == (1, pytest.approx(0.25))
    assert found[1]["region"] == (1, None)
    assert found[1]["unemployment"][0] == 1
    assert found[1]["score"] == (1, pytest.approx(0.5))
    assert found[1]["request income"][0] == 1


def test_another_version_is_compared_by_its_features_only(copied: Project, asked: Asked) -> None:
    other = [1 - score for score in asked.scores]
    assert compared(copied, predicted(asked, version="9.9.9", scores=other)) == (150, {})


def test_what_was_left_out_is_not_compared(copied: Project, asked: Asked) -> None:
    rules = LogRules(leave_out=frozenset({"income", "region"}), key=("loan",))
    assert compared(copied, predicted(asked, rules=rules)) == (150, {})


def test_rows_of_other_batches_are_not_compared(copied: Project) -> None:
    of_4 = ask(copied, "4")
    assert compared(copied, predicted(of_4, scores=[9.0] * 150)) == (0, {})


def verdict(project: Project) -> Any:
    with Lake(project.paths.lake) as lake:
        return _no_skew(lake, project.spec, "5")


def test_the_check_says_what_differs_and_blocks_nothing(copied: Project, asked: Asked) -> None:
    assert verdict(copied).description == "no logged request of this batch"
    hour = log(copied, predicted(asked, scores=[score + 0.5 for score in asked.scores]))
    ingest(copied, hour)
    result = copied.watch("5")
    assert result.success
    assert check_results(result)["predictions", "training_serving_skew", "5"] is False
    found = verdict(copied)
    assert found.description == "of 150 logged rows of this batch differ in score: 150 rows, by up to 0.5"
    assert found.metadata["logged_rows"] == 150


def test_stale_lookups_of_a_server_show(copied: Project, asked: Asked) -> None:
    """The batch's lookups were computed again, and the server still has the old ones."""
    hour = log(copied, predicted(asked))
    ingest(copied, hour)
    with Lake(copied.paths.lake) as lake:
        lake.con.execute(
            "CREATE TEMP TABLE moved AS SELECT * REPLACE (late_share + 0.125 AS late_share) "
            "FROM lake.loans.features WHERE batch = '5'"
        )
        lake.replace([Put("loans.features", "moved", "5")], Commit("loans/features", batch="5"))
    assert "late_share: 150 rows, by up to 0.125" in verdict(copied).description
