"""What runs again leaves what one run leaves: one row a key, and whole batches in place of files that were lost."""

from __future__ import annotations

from ml_assets.lake.lake import Lake
from ml_assets.pipeline_summary import summarize
from ml_assets_tests.conftest import Project, failure_text

COUNTS = """SELECT (SELECT count(*) FROM {p}.training_set) AS training_set, (SELECT count(*) FROM {p}.trials) AS trials,
    (SELECT count(*) FROM {p}.candidates) AS candidates, (SELECT count(*) FROM {p}.evaluation_report) AS report"""
ROWS = "SELECT count(*) AS n, sum(hash(f)::HUGEINT)::VARCHAR AS content FROM {p}.features f"


def test_a_training_that_runs_again_leaves_one_row_a_key(copied: Project) -> None:
    before = copied.rows(COUNTS)[0]
    result = copied.materialize("evaluation_report")
    assert result.success, failure_text(result)
    assert copied.rows(COUNTS)[0] == before
    counts = []
    for _ in range(2):
        result = copied.materialize("training_set", "candidate_linear")
        assert result.success, failure_text(result)
        counts.append(copied.rows(COUNTS)[0])
    assert counts[0]["training_set"] == before["training_set"] + 1, "batch 5 makes another training set"
    assert counts[0]["trials"] == before["trials"] + 2
    assert counts[1] == counts[0]


def test_a_lost_file_is_named_and_making_its_batch_again_brings_it_back(copied: Project) -> None:
    before = copied.rows(ROWS)
    for asset_name in ("raw_data", "validated_data", "quarantine", "features"):
        for file in (copied.paths.lake / f"data/loans/{asset_name}/batch=2").glob("*.parquet"):
            file.unlink()
    with Lake(copied.paths.lake, read_only=True) as lake:
        problems = summarize(lake, "loans").problems
    lost = [problem for problem in problems if "is lost" in problem]
    assert len(lost) >= 3
    assert all("""--partition 2. Or put the file back""" in problem for problem in lost)
    found = failure_text(copied.materialize("features", batches=["2"]))
    assert "lookup_region_history" in found or "table loans." in found
    assert "Traceback" not in found
    result = copied.ingest("2")
    assert result.success, failure_text(result)
    assert copied.rows(ROWS) == before
    with Lake(copied.paths.lake, read_only=True) as lake:
        assert lake.damaged_files("loans") == []
