"""What Dagster's launchpad offers for the lake."""

from __future__ import annotations

from typing import Any

import pytest

from ml_assets_tests.conftest import Project, failure_text


def test_a_run_can_be_given_more_memory_but_no_other_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_MEMORY_LIMIT", "3GiB")
    job: Any = project.defs().resolve_job_def("loans_ingest")
    resources = job.run_config_schema.config_type.fields["resources"]
    assert resources.default_value["lake"]["config"] == {"memory_limit": "3GiB"}
    fields = resources.config_type.fields["lake"].config_type.fields["config"].config_type.fields
    assert set(fields) == {"memory_limit"}
    assert "spills to disk" in fields["memory_limit"].description


def test_a_run_takes_the_memory_limit_of_its_config(project: Project) -> None:
    config = {"resources": {"lake": {"config": {"memory_limit": "a lot"}}}}
    result = project.materialize("arrivals", run_config=config)
    assert "Set ML_ASSETS_MEMORY_LIMIT, such as 8GiB" in failure_text(result)
