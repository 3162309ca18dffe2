"""What Dagster shows of a failed step: the text alone where a user can fix it, the stack where the bug is ours."""

from __future__ import annotations

import dagster as dg
import pytest

from ml_assets.graph.checks import Verdict
from ml_assets_tests.conftest import Project, failure_text, loans


def shown(result: dg.ExecuteInProcessResult) -> str:
    """What Dagster's log says of all failures."""
    assert not result.success
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return "\n".join(one.error_display_string for one in failed)


def test_a_rejected_batch_shows_no_stack(project: Project) -> None:
    project.write(1, loans(1).assign(region="unknown"))
    failed = project.ingest("1")
    assert shown(failed).strip() == failure_text(failed)
    assert failure_text(failed).startswith("100.0% of the rows break a rule")


def test_a_blocking_check_that_fails_shows_no_stack(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_assets.graph.ingest.checks._has_rows", lambda *_: Verdict(False, {}, "no rows"))
    project.write(1)
    failed = project.ingest("1")
    assert shown(failed).splitlines() == ["The check has_rows fails.", "  found: no rows"]


def test_a_damaged_bundle_shows_no_stack(copied: Project) -> None:
    for file in copied.paths.data.glob("bundles/**/*.skops"):
        file.write_bytes(b"damaged")
    failed = copied.materialize("champion")
    assert "The check champion_is_sound fails." in shown(failed)
    assert "Stack Trace" not in shown(failed)


def test_a_lake_that_cannot_be_opened_shows_no_stack(project: Project) -> None:
    project.write(1)
    project.arrive()
    for file in project.paths.lake.glob("catalog*"):
        file.write_bytes(b"no catalog" * 1000)
    failed = project.materialize("raw_data", batches=["1"])
    assert "Stack Trace" not in shown(failed)
    assert "  next: " in shown(failed)


def test_a_bug_keeps_its_stack(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ml_assets.graph.ingest.arrivals.scan_source", bug)
    assert "in bug" in shown(project.arrive())
