"""The best candidate by cross-validation and validation, each as far as it can be trusted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ml_assets.ml import selection
from ml_assets.ml.folds import folds


def candidate(name: str, cv: float, validation: float, cv_se: Any = 0.02, validation_se: Any = 0.02) -> dict[str, Any]:
    scores = {"cv_score": cv, "validation_score": validation, "cv_se": cv_se, "validation_se": validation_se}
    return {"candidate": name, **scores}


def first(rows: list[dict[str, Any]], metric: str = "balanced_accuracy") -> tuple[str, str]:
    best = selection.ranked(rows, metric)[0]
    return best["candidate"], best["selection_why"]


def test_a_few_validation_rows_do_not_overrule_cross_validation() -> None:
    rows = [candidate("boosting", 0.76, 0.70, 0.03, 0.08), candidate("linear", 0.58, 0.72, 0.03, 0.08)]
    assert first(rows) == (
        "boosting",
        "12% validation, 88% cross-validation, by their standard errors; by validation alone: linear",
    )
    (best, _) = selection.ranked(rows, "balanced_accuracy")
    assert best["selection_score"] == pytest.approx((0.70 * 9 + 0.76 * 64) / 73)


def test_many_validation_rows_decide_where_folds_differ() -> None:
    rows = [candidate("boosting", 0.76, 0.70, 0.05, 0.003), candidate("linear", 0.74, 0.71, 0.05, 0.003)]
    assert first(rows) == ("linear", "100% validation, 0% cross-validation, by their standard errors")


def test_all_candidates_have_the_same_weights_although_one_is_noisier() -> None:
    """With weights of its own, the one that is trusted where rows are easy would win by that alone."""
    rows = [candidate("a", 0.90, 0.60, 0.01, 0.05), candidate("b", 0.91, 0.61, 0.05, 0.01)]
    assert first(rows)[0] == "b"


def test_a_smaller_error_is_better_and_an_undefined_score_is_last() -> None:
    rows = [candidate("no", math.nan, math.nan), candidate("worse", 3.0, 3.1), candidate("better", 2.0, 2.1)]
    assert [row["candidate"] for row in selection.ranked(rows, "rmse")] == ["better", "worse", "no"]


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_without_an_error_validation_alone_decides(unknown: float | None) -> None:
    rows = [candidate("a", 0.9, 0.6, unknown), candidate("b", 0.5, 0.7)]
    assert first(rows)[0] == "b"
    assert selection.ranked(rows, "roc_auc")[0]["selection_score"] == 0.7


def test_the_error_of_a_validation_score_is_that_of_its_rows() -> None:
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 40_000), rng.random(40_000)

    def error(rows: int) -> float:
        return selection.validation_error("accuracy", labels[:rows], scores[:rows], "binary", 0.5, [], 1)

    assert error(42) == pytest.approx(0.5 / math.sqrt(42), rel=0.2)
    assert error(40_000) == pytest.approx(0.5 / math.sqrt(40_000), rel=0.2)  # of a sample of them


@pytest.mark.parametrize("by", ["batch", "random"])
def test_folds_that_agree_by_chance_are_no_more_exact_than_their_rows(by: str) -> None:
    labels = np.arange(128) % 2
    scored = sum(len(rows) for _, rows in folds(by, 3, labels, None, 0))
    assert scored == {"batch": 96, "random": 128}[by]
    assert selection.cv_error([0.7, 0.7, 0.7], scored, 32, 0.08) == pytest.approx(0.08 / math.sqrt(scored / 32))
    assert selection.cv_error([0.5, 0.7, 0.9], scored, 32, 0.08) == pytest.approx(0.2 / math.sqrt(3))
    assert selection.cv_error([math.nan, 0.7], scored, 32, 0.08) == pytest.approx(0.08 / math.sqrt(scored / 32))
