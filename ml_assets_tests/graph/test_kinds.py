"""Other kinds of targets and splits reach a champion too."""

from __future__ import annotations

from typing import Any

import pytest

from ml_assets_tests.conftest import Project, failure_text

GATES: dict[str, Any] = {
    "slices": {"by": ["region"], "min_rows": 10},
    "leakage": {"max_single": 1.0},  # income alone tells the band
    "serving": None,  # until release_candidate is there
}


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        (
            {
                "target": {
                    "name": "band",
                    "sql": "CASE WHEN income < 27 THEN 'low' WHEN income < 33 THEN 'mid' ELSE 'high' END",
                    "kind": "multiclass",
                },
                "candidates": {
                    "tree": {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 4}}
                },
                "split": {"by": "stratified", "validation": 0.2, "test": 0.2},
            },
            "balanced_accuracy",
        ),
        (
            {
                "target": {"name": "debt", "sql": "late_days * income", "kind": "regression"},
                "candidates": {"ridge": {"estimator": "sklearn.linear_model.Ridge", "search": {"alpha": [0.1, 1.0]}}},
                "split": {"by": "group", "group": "signed", "validation": 0.2, "test": 0.2},
            },
            "rmse",
        ),
    ],
    ids=["multiclass", "regression"],
)
def test_a_champion_of_another_kind(project: Project, changes: dict[str, Any], metric: str) -> None:
    project.spec_dict.update(changes)
    project.spec_dict["gates"] = GATES
    project.sql["region_history.sql"] = (
        "SELECT region, avg((late_days > 10)::INT) AS late_share FROM history GROUP BY 1"
    )
    for batch in (1, 2):
        project.write(batch)
    for result in (project.ingest("1", "2"), project.train(), project.watch("2")):
        assert result.success, failure_text(result)
    (test,) = project.rows(
        f"SELECT value, low, high FROM {{p}}.evaluation_report WHERE scope = 'test' AND metric = '{metric}'"
    )
    assert test["low"] <= test["value"] <= test["high"]
    assert project.value("SELECT decision FROM {p}.champion") == "promoted"
    assert project.value("SELECT count(score) FROM {p}.predictions") == 150
    if metric == "balanced_accuracy":
        assert test["value"] > 0.9
        assert {row["decision"] for row in project.rows("SELECT decision FROM {p}.predictions")} == {
            "low",
            "mid",
            "high",
        }
