"""Signs of a leak on columns whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml_assets.ml.leaks import explained, same_in_other_words, small_set

RNG = np.random.default_rng(0)
ROWS = 600
LABELS = RNG.integers(0, 2, ROWS)
CUT = 400


def alone(values: np.ndarray, labels: np.ndarray, kind: str = "binary", type_: str = "number") -> float:
    column = pd.Series(values)
    return explained(kind, type_, column[:CUT], labels[:CUT], column[CUT:], labels[CUT:])


def test_a_leaky_number_explains_all_in_either_direction_and_chance_does_not() -> None:
    assert alone(LABELS + RNG.random(ROWS) / 2, LABELS) == 1
    assert alone(-LABELS - RNG.random(ROWS) / 2, LABELS) == 1
    assert alone(RNG.random(ROWS), LABELS) < 0.62


def test_a_missing_value_may_tell() -> None:
    assert alone(np.where(LABELS == 1, np.nan, RNG.random(ROWS)), LABELS) == 1


def test_a_category_is_learned_on_train_rows_only() -> None:
    names = np.array([f"customer {number}" for number in range(ROWS)], dtype=object)
    assert alone(names, LABELS, type_="category") == 0.5  # each is new: on its own rows it would explain all
    assert alone(np.where(LABELS == 1, "yes", "no").astype(object), LABELS, type_="category") == 1


def test_several_classes_and_numbers() -> None:
    bands = RNG.choice(["low", "mid", "high"], ROWS)
    assert alone(bands.astype(object), bands, "multiclass", "category") == 1
    assert alone(RNG.random(ROWS), bands, "multiclass") < 0.65
    amounts = RNG.normal(size=ROWS)
    assert alone(amounts * 3 + 1, amounts, "regression") > 0.97
    assert alone(RNG.random(ROWS), amounts, "regression") < 0.2
    assert alone(np.where(amounts > 0, "up", "down").astype(object), amounts, "regression", "category") > 0.5
    assert np.isnan(alone(amounts, np.ones(ROWS), "regression"))


def together(labels: np.ndarray, kind: str, columns: dict[str, np.ndarray]) -> tuple[list[str], float]:
    frame = pd.DataFrame(columns)
    types = {name: "number" if frame[name].dtype.kind == "f" else "category" for name in frame}
    return small_set(kind, types, frame[:CUT], labels[:CUT], frame[CUT:], labels[CUT:], 0.999)


def test_columns_that_add_up_to_the_target_are_named() -> None:
    casual, registered = RNG.gamma(2, 100, ROWS), RNG.gamma(2, 400, ROWS)
    others = {"registered": registered, "noise": RNG.random(ROWS), "casual": casual, "more": RNG.random(ROWS)}
    names, value = together(casual + registered, "regression", others)
    assert (sorted(names), value) == (["casual", "registered"], pytest.approx(1))
    late = (casual + registered > 900).astype(int)
    names, value = together(late, "binary", others)
    assert set(names) >= {"casual", "registered"}
    assert value > 0.99
    third = np.select([casual + registered < 600, casual + registered < 1200], ["low", "mid"], "high")
    assert together(third, "multiclass", others)[1] > 0.9


def test_a_small_set_that_explains_little_is_no_sign() -> None:
    region = RNG.choice(["A", "B"], ROWS).astype(object)
    columns = {"a": RNG.random(ROWS), "b": np.where(RNG.random(ROWS) < 0.1, np.nan, RNG.random(ROWS)), "region": region}
    assert together(LABELS, "binary", columns)[1] < 0.65
    assert together(RNG.normal(size=ROWS), "regression", columns)[1] < 0.2
    names, value = together(np.ones(ROWS), "regression", columns)
    assert (names, np.isnan(value)) == ([], True)


@pytest.mark.parametrize(
    ("values", "other", "words"),
    [
        (LABELS.astype(float), LABELS, "equal to"),
        (1.0 - LABELS, LABELS, "the opposite of"),
        (np.where(LABELS == 1, 7.0, 3.0), LABELS, "one to one with"),
        (np.where(LABELS == 1, np.nan, 3.0), LABELS, "one to one with"),
        (np.where(LABELS == 1, "paid", "open").astype(object), LABELS, "one to one with"),
        (np.arange(ROWS) * 2.0 + 5, np.arange(ROWS), "one to one with"),
        (-np.arange(ROWS) * 1.0, np.arange(ROWS), "the opposite of"),
        (RNG.permutation(ROWS) * 1.0, np.arange(ROWS), None),  # different in each row: one to one by chance
        (np.where(np.arange(ROWS) == 0, 1 - LABELS, LABELS).astype(float), LABELS, None),
        (np.ones(ROWS), np.ones(ROWS), None),
    ],
)
def test_a_column_in_other_words(values: np.ndarray, other: np.ndarray, words: str | None) -> None:
    assert same_in_other_words(values, other) == words
