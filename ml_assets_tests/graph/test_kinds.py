"""A target of another kind and a split by groups reach a champion too; `test_pipelines` has more kinds on real data."""

from __future__ import annotations

from ml_assets_tests.conftest import Project, failure_text


def test_a_regression_split_by_groups(project: Project) -> None:
    project.spec_dict.update(
        {
            "target": {"name": "debt", "sql": "late_days * income", "kind": "regression"},
            "candidates": {"ridge": {"estimator": "sklearn.linear_model.Ridge", "search": {"alpha": [0.1, 1.0]}}},
            "split": {"by": "group", "group": "signed", "validation": 0.2, "test": 0.2},
            "gates": {"slices": {"by": ["region"], "min_rows": 10}, "serving": None},
        }
    )
    project.sql["region_history.sql"] = (
        "SELECT region, avg((late_days > 10)::INT) AS late_share FROM history GROUP BY 1"
    )
    for batch in (1, 2):
        project.write(batch)
    for step in (lambda: project.ingest("1", "2"), project.train, lambda: project.watch("2")):
        result = step()
        assert result.success, failure_text(result)
    (test,) = project.rows(
        "SELECT value, low, high FROM {p}.evaluation_report WHERE scope = 'test' AND metric = 'rmse'"
    )
    assert test["low"] <= test["value"] <= test["high"]
    assert project.value("SELECT decision FROM {p}.champion") == "promoted"
    assert project.value("SELECT count(score) FROM {p}.predictions") == 150
