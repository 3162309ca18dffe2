"""The whole graph on a tiny pipeline: from files to a drift report."""

from __future__ import annotations

import pytest

from ml_assets.component import lake_resource
from ml_assets_tests.conftest import Project, failure_text, loans


def test_every_station_leaves_its_rows(trained: Project) -> None:
    assert trained.value("SELECT count(*) FROM {p}.raw_data") == 750
    assert trained.value("SELECT count(*) FROM {p}.validated_data") == 750
    assert trained.value("SELECT count(*) FROM {p}.quarantine") == 0
    assert trained.value("SELECT count(*) FROM {p}.features") == 750
    assert trained.value("SELECT count(*) FROM {p}.trials") == 4
    assert trained.value("SELECT count(DISTINCT model_version) FROM {p}.predictions WHERE batch = '5'") == 1
    assert trained.value("SELECT count(*) FROM {p}.drift_report") == 1


def test_too_little_memory_says_what_to_set(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is in the environment; what DuckDB raises beyond it becomes a text with the next step."""
    monkeypatch.setenv("ML_ASSETS_MEMORY_LIMIT", "12MiB")
    lake_resource.cache_clear()
    project.write(1, loans(1, rows=200_000))
    try:
        result = project.ingest("1")
    finally:
        lake_resource.cache_clear()
    assert not result.success
    assert "Set ML_ASSETS_MEMORY_LIMIT" in failure_text(result)
