"""The whole graph on a tiny pipeline: from files to a drift report."""

from __future__ import annotations

from ml_assets_tests.conftest import Project


def test_every_station_leaves_its_rows(trained: Project) -> None:
    assert trained.value("SELECT count(*) FROM {p}.raw_data") == 750
    assert trained.value("SELECT count(*) FROM {p}.validated_data") == 750
    assert trained.value("SELECT count(*) FROM {p}.quarantine") == 0
    assert trained.value("SELECT count(*) FROM {p}.features") == 750
    assert trained.value("SELECT count(*) FROM {p}.trials") == 4
    assert trained.value("SELECT count(DISTINCT model_version) FROM {p}.predictions WHERE batch = '5'") == 1
    assert trained.value("SELECT count(*) FROM {p}.drift_report") == 1
