"""Errors say the rule, what was found, where, and the next step."""

from __future__ import annotations

import pytest

from ml_assets.errors import FeatureError, MLAssetsError, did_you_mean


def test_error_text_has_all_four_parts() -> None:
    error = FeatureError(
        "It drops rows.", found="3 rows", where={"file": "features.sql", "column": None}, fix="LEFT JOIN."
    )
    error.at(pipeline="loans", batch="7")
    assert str(error).splitlines() == [
        "It drops rows.",
        "  found: 3 rows",
        "  where: pipeline loans, batch 7, file features.sql",
        "  next:  LEFT JOIN.",
    ]
    assert isinstance(error, MLAssetsError)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("targt", "did you mean 'target'?"),
        ("TARGET", "did you mean 'target'?"),
        ("xyz", "valid: name, target"),
    ],
)
def test_did_you_mean(word: str, answer: str) -> None:
    assert did_you_mean(word, ["target", "name"]) == answer


def test_of_many_valid_words_the_first_are_named() -> None:
    valid = [f"2024-{number:04}" for number in range(10_000)]
    assert did_you_mean("x", valid).endswith("2024-0048, 2024-0049 and 9,950 more")
    assert did_you_mean("x", valid[:50]).endswith("2024-0048, 2024-0049")
