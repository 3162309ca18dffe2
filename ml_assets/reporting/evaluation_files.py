"""An evaluation as files beside each other, and as numbers to plot.

The report and the model card are rendered from the evaluation's document and from the lake, again after each decision
about their version. What is written once, by the evaluation itself, is in evaluation_publish.py.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_assets.lake.artifacts import Artifacts
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.reporting import evaluation_document, html
from ml_assets.reporting.decision import VersionState, verdict
from ml_assets.reporting.evaluation_document import Document
from ml_assets.reporting.evaluation_report import Contents, report
from ml_assets.reporting.model_card import model_card
from ml_assets.tables import evaluations, releases, training_sets, versions
from ml_assets.tables.decisions import decisions
from ml_assets.tables.evaluations import EvaluatedNumber

log = logging.getLogger("ml_assets.reporting")


@dataclass(frozen=True)
class Reports:
    """Names of one evaluation's files among the reports."""

    evaluation: str
    evidently: str
    card: str
    card_page: str
    document: str
    earlier: str

    @classmethod
    def of(cls, pipeline: str, version: str) -> Reports:
        ends = ("html", "evidently.html", "md", "card.html", "json", "earlier.html")
        return cls(*(evaluations.report_name(pipeline, version, end) for end in ends))


def refresh(lake: Lake, paths: Paths, pipeline: str, of: Iterable[str | None]) -> None:
    """Render the reports of versions again, after an evaluation or a decision; it raises nothing.

    A report that cannot be rendered is replaced by a short one with the decision: what was decided stands, and no page
    says otherwise.

    Args:
        lake: The lake.
        paths: Where reports are kept.
        pipeline: The pipeline.
        of: The versions; None among them is left out.
    """
    for version in dict.fromkeys(filter(None, of)):
        try:
            with lake.one_snapshot():
                _render(lake, paths, pipeline, version)
        except Exception as error:  # whatever an earlier document or a full disk may have against it
            log.warning("The report of %s %s was not rendered: %s", pipeline, version, error)
            _render_decision(lake, paths, pipeline, version, error)


def _render(lake: Lake, paths: Paths, pipeline: str, version: str) -> None:
    reports, store = Reports.of(pipeline, version), paths.artifacts.reports
    contents = _contents(lake, paths, pipeline, version)
    links = {
        "model card": reports.card_page,
        "Evidently's report": reports.evidently,
        "data of the plots": reports.document,
    }
    there = {text: Path(name).name for text, name in links.items() if name == reports.card_page or store.exists(name)}
    if contents.document is None:
        there.pop("model card")
        if _keep_earlier(store, reports):
            there["the report of that time"] = Path(reports.earlier).name
    else:
        card = _card(lake, contents, contents.document)
        with store.put(reports.card) as file:
            file.write_text(card, encoding="utf-8")
        with store.put(reports.card_page) as file:
            page = {"evaluation": Path(reports.evaluation).name, "Markdown": Path(reports.card).name}
            html.write(file, html.markdown_page(card, f"{pipeline} {version}: model card", page))
    with store.put(reports.evaluation) as file:
        html.write(file, report(contents, there))


def _keep_earlier(store: Artifacts, reports: Reports) -> bool:
    """Keep a report of an earlier ml_assets, whose plots are nowhere else, under another name; is there one?"""
    if store.exists(reports.evaluation) and not store.exists(reports.earlier):
        page = store.fetch(reports.evaluation).read_text(encoding="utf-8")
        if 'id="decision"' not in page:  # no report of today is without
            with store.put(reports.earlier) as file:
                html.write(file, page)
    return store.exists(reports.earlier)


def _contents(lake: Lake, paths: Paths, pipeline: str, version: str) -> Contents:
    model = versions.need_version(lake, pipeline, version)
    record = next(one for one in versions.records(lake, pipeline) if one["version"] == version)
    rows = evaluations.newest(lake, pipeline, [version])
    return Contents(
        pipeline,
        model,
        training_sets.newest(lake, pipeline, pin_id=model.pin_id),
        [evaluations.finding_of(row) for row in rows],
        rows[0]["evaluated_at"] if rows else None,
        {name: record[name] for name in ("created_at", "triggered_by", "git_commit")},
        _verdict(lake, pipeline, version),
        evaluation_document.read(paths.artifacts.reports.fetch(Reports.of(pipeline, version).document)),
    )


def _verdict(lake: Lake, pipeline: str, version: str) -> VersionState:
    champion = versions.alias(lake, pipeline, "champion")
    return verdict(pipeline, version, decisions(lake, pipeline), champion.version if champion else None)


def _card(lake: Lake, contents: Contents, document: Document) -> str:
    newest = contents.verdict.newest
    is_own = newest is not None and newest.version == contents.model.version
    packed = releases.newest(lake, contents.pipeline, contents.model.version) is not None
    return model_card(
        document.spec,
        contents.model,
        contents.pin,
        contents.all_found,
        document.suspects,
        releases.served(lake, contents.pipeline, contents.model) if packed else None,
        [gate.as_row() for gate in newest.gates] if newest and is_own else (),
        f"{contents.verdict.word}: {contents.verdict.sentence}",
    )


def _render_decision(lake: Lake, paths: Paths, pipeline: str, version: str, error: Exception) -> None:
    """A page with the decision alone, in place of one that would show an earlier one."""
    name = Reports.of(pipeline, version).evaluation
    try:
        made = _verdict(lake, pipeline, version)
        why = f"The rest of the report could not be rendered: {type(error).__name__}: {error}"
        shown = html.render(
            "evaluation.html",
            title=f"{pipeline} {version}: {made.word.lower()}",
            heading=pipeline,
            pipeline=pipeline,
            version=version,
            links={},
            verdict=made,
            headline="",
            facts={},
            conclusions=[why, f"Next: materialize {pipeline}/evaluation_report and {pipeline}/champion."],
            suspects=["unreadable"],
            numbers=[],
            sections=[],
        )
        with paths.artifacts.reports.put(name) as file:
            html.write(file, shown)
    except Exception as second:
        log.warning("%s is not up to date: %s", paths.artifacts.reports.link(name), second)


def plotted(found: Sequence[EvaluatedNumber]) -> dict[str, float]:
    """Numbers that Dagster plots over the versions; those that are not defined are left out."""
    scopes = ("gain_over_baseline", "gain_over_champion", "cost", "saved_over_baseline", "saved_over_champion")
    of_metric = ("train", "noise", "missing", "calibration", "identical")
    numbers = {f"test_{f.metric}": f.value for f in found if f.scope == "test"}
    numbers |= {f.scope: f.value for f in found if f.scope in scopes}
    numbers |= {f"{f.scope}_{f.metric}": f.value for f in found if f.scope in of_metric and f.slice_by is None}
    numbers |= {f"fairness_gap_{f.slice_by}": f.value for f in found if f.scope == "fairness"}
    for scope, name in (("importance", "largest_importance"), ("single", "largest_single")):
        values = [f.value for f in found if f.scope == scope and not math.isnan(f.value)]
        numbers |= {name: max(values)} if values else {}
    return {name: round(value, 6) for name, value in numbers.items() if not math.isnan(value)}
