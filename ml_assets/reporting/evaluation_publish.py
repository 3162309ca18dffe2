"""What an evaluation itself writes: its document, and Evidently's own report."""

from __future__ import annotations

from collections.abc import Sequence

from ml_assets.lake.paths import Paths
from ml_assets.reporting.evaluation_document import Document
from ml_assets.reporting.evaluation_evidently import write_evidently
from ml_assets.reporting.evaluation_files import Reports
from ml_assets.reporting.plots import Figure
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import Evaluation


def publish(
    paths: Paths, spec: PipelineSpec, version: str, evaluation: Evaluation, searches: Sequence[Figure] = ()
) -> Reports:
    """Keep what the report of an evaluation is rendered from, and Evidently's own report.

    Args:
        paths: Where reports are kept.
        spec: The pipeline.
        version: The version.
        evaluation: What was found.
        searches: Plots of the search.
    """
    reports, store = Reports.of(spec.name, version), paths.artifacts.reports
    with store.put(reports.evidently) as file:
        write_evidently(evaluation.judged, file, spec.tuning.seed)
    with store.put(reports.document) as file:
        file.write_text(Document.of(spec, evaluation, searches).as_json(), encoding="utf-8")
    return reports
