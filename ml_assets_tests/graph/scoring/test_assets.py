"""Batch scores: every row once, by one named version."""

from __future__ import annotations

import numpy as np

from ml_assets.ml import bundle, estimators
from ml_assets_tests.conftest import Project, failure_text


def test_scores_are_those_of_the_bundle(trained: Project) -> None:
    loaded = bundle.load(trained.paths.bundles / "loans" / "1.0.0")
    rows = trained.rows(
        """SELECT f.*, p.score, p.decision, p.threshold, p.model_version FROM {p}.predictions p
        JOIN {p}.features f USING (batch, row_id) ORDER BY row_id"""
    )
    import pandas as pd

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
