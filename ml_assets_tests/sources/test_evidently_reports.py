"""Evidently's JSON of other jobs: both layouts as Evidently writes them, what is no report, and which files are new."""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_assets.errors import SourceError
from ml_assets.ml.drift_measures import beyond
from ml_assets.sources.evidently_reports import argument, read_report, scan

COUNT = {
    "metric_name": "DriftedColumnsCount(drift_share=0.7)",
    "config": {"drift_share": 0.7},
    "value": {"count": 2.0, "share": 0.66},
}


def frame(shift: float, rows: int = 1200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame({"a": rng.normal(shift, 1, rows), "b": rng.random(rows), "c": rng.choice(["x", "y"], rows)})


def written(folder: Path, content: Any, name: str = "report.json", age_s: float = 100) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def test_what_evidently_writes_today_is_read(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import Report
        from evidently.metrics import RowCount
        from evidently.presets import DataDriftPreset

        snapshot = Report([DataDriftPreset(drift_share=0.3), RowCount()]).run(frame(1.0), frame(0.0))
        snapshot.save_json(str(tmp_path / "report.json"))
    found = read_report(tmp_path / "report.json")
    assert (found.error, found.drifted, found.drifted_columns, found.rows) == ("", True, ["a"], 1200)
    assert found.share == pytest.approx(1 / 3)
    assert {column.column: column.method for column in found.columns} == {
        "a": "Wasserstein distance (normed)",
        "b": "Wasserstein distance (normed)",
        "c": "Jensen-Shannon distance",
    }


def test_what_evidently_06_wrote_is_read(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently.legacy.metric_preset import DataDriftPreset
        from evidently.legacy.metrics import DatasetSummaryMetric
        from evidently.legacy.report import Report

        report = Report([DataDriftPreset(drift_share=0.5), DatasetSummaryMetric()])
        report.run(reference_data=frame(0.0, 1100), current_data=frame(1.0))
        report.save_json(str(tmp_path / "report.json"))
    found = read_report(tmp_path / "report.json")
    assert (found.error, found.drifted, found.drifted_columns) == ("", False, ["a"])
    assert (found.rows, found.reference_rows) == (1200, 1100)
    assert len(found.columns) == 3


def test_the_share_that_the_report_was_given_decides(tmp_path: Path) -> None:
    found = read_report(written(tmp_path, {"metrics": [COUNT]}))
    assert (found.drifted, found.share, found.columns) == (False, 0.66, [])
    names_only = {"metric_id": "DriftedColumnsCount(drift_share=0.6)", "value": {"count": 2, "share": 0.66}}
    assert read_report(written(tmp_path, {"metrics": [names_only]})).drifted


def test_columns_alone_make_a_verdict(tmp_path: Path) -> None:
    name = "ValueDrift(column={},method={},threshold=0.05)"
    metrics = [
        {"metric_name": name.format("a,b", "K-S p_value"), "value": 0.01},
        {"metric_name": name.format("c", "K-S p_value"), "value": 0.4},
        {"metric_name": name.format("d", "Energy-distance"), "value": 0.4},
    ]
    found = read_report(written(tmp_path, {"metrics": metrics}))
    assert (found.drifted, found.drifted_columns) == (True, ["a,b", "d"])
    assert found.share == pytest.approx(2 / 3)


def test_a_p_value_drifts_below_and_a_distance_above() -> None:
    assert [beyond("psi", 0.2, 0.1), beyond("ks", 0.2, 0.1)] == [True, False]
    assert [beyond("psi", float("nan"), 0.1), beyond("ks", float("nan"), 0.1)] == [False, False]
    assert argument("ValueDrift(column=a,threshold=0.1)", "method") == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{ no", "no JSON"),
        ([1], "a JSON list"),
        ({"tests": [], "summary": {}}, "a test suite"),
        ({"report": {}, "metric_results": {}}, "a run of an Evidently workspace"),
        ({"rows": 3}, "an object with rows, but no list `metrics`"),
        ({"metrics": []}, "none of them is about drift"),
        ({"metrics": [{"metric_name": "RowCount()", "value": 3}]}, "none of them is about drift"),
        ({"metrics": ["a"]}, "a layout that is not known"),
        ({"metrics": [{"metric": "DatasetDriftMetric", "result": {}}]}, "dataset_drift"),
    ],
)
def test_another_file_says_what_it_is(tmp_path: Path, content: Any, said: str) -> None:
    found = read_report(written(tmp_path, content))
    assert found.drifted is None
    assert said in found.error
    assert "next:" in found.error


def test_a_file_is_answered_once_until_its_bytes_change(tmp_path: Path) -> None:
    written(tmp_path, {"metrics": [COUNT]}, "b.json", age_s=50)
    written(tmp_path, {"metrics": [COUNT, {"metric_name": "RowCount()", "value": 3}]}, "sub/a.json", age_s=90)
    written(tmp_path, {"metrics": [COUNT]}, ".hidden.json")
    first = scan(tmp_path, {})
    assert [report.file for report in first] == ["sub/a.json", "b.json"], "oldest first"
    seen = json.loads(json.dumps({report.file: report.stamp for report in first}))  # as a cursor keeps it
    assert scan(tmp_path, seen) == []
    os.utime(tmp_path / "b.json", (time.time() - 10,) * 2)
    (tmp_path / "b.json").rename(tmp_path / "c.json")
    assert scan(tmp_path, seen) == [], "the same bytes are no news, whatever their name and time"
    written(tmp_path, {"metrics": [{**COUNT, "value": {"count": 3, "share": 1.0}}]}, "b.json")
    assert [(report.file, report.drifted) for report in scan(tmp_path, seen)] == [("b.json", True)]


def test_a_file_in_the_making_waits(tmp_path: Path) -> None:
    written(tmp_path, {"metrics": [COUNT]}, "fresh.json", age_s=2)
    written(tmp_path, '{"metrics": [', "half.json", age_s=20)
    assert scan(tmp_path, {}) == []
    later = {report.file: bool(report.error) for report in scan(tmp_path, {}, now=time.time() + 60)}
    assert later == {"fresh.json": False, "half.json": True}


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        scan(tmp_path / "nowhere", {})
