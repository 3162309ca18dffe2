"""The evaluation as one HTML report: the decision first, then conclusions, plots and tables.

It is rendered from rows of the lake and from the evaluation's document, so that it can be rendered again after each
decision. Where there is no document, as of an earlier ml_assets, it says what the lake knows.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_assets.reporting import evaluation_figures as plots
from ml_assets.reporting import evaluation_tables as tables
from ml_assets.reporting import html, narrative
from ml_assets.reporting.decision import VersionState, when
from ml_assets.reporting.evaluation_document import Document
from ml_assets.reporting.html import Section, Tile
from ml_assets.spec import PipelineSpec
from ml_assets.spec.model import SensitivityGate
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets.tables.training_sets import PARTS, Pin
from ml_assets.tables.versions import ModelVersion


@dataclass(frozen=True)
class Contents:
    """All that the report is about.

    Args:
        pipeline: Name of the pipeline.
        model: The version.
        pin: Its training set.
        found: Findings of its newest evaluation; none where it was never evaluated.
        evaluated_at: When that was, UTC.
        trained: created_at, triggered_by and git_commit of the version, where they are known.
        verdict: What became of it.
        document: What the lake does not have; None where it was written by an earlier ml_assets.
    """

    pipeline: str
    model: ModelVersion
    pin: Pin
    found: Sequence[EvaluatedNumber]
    evaluated_at: dt.datetime | None
    trained: Mapping[str, object]
    verdict: VersionState
    document: Document | None

    @property
    def all_found(self) -> list[EvaluatedNumber]:
        """The findings, and those that the report alone shows."""
        return [*self.found, *(self.document.shown if self.document else ())]

    @property
    def champion(self) -> str | None:
        """The champion that the version was compared with."""
        return next((f.note for f in self.found if f.scope == "champion"), None)


def report(contents: Contents, links: Mapping[str, str]) -> str:
    """The report's HTML.

    Args:
        contents: What it is about.
        links: Text -> address of files beside it.
    """
    document, version = contents.document, contents.model.version
    spec = document.spec if document else None
    sections = [section for section in _sections(contents) if section.parts]
    suspects = document.suspects if document else ()
    conclusions = (
        narrative.summary(spec, version, contents.champion, contents.all_found, suspects)
        if spec
        else ["This evaluation was made by an earlier ml_assets: its plots are not known any more."]
    )
    return html.render(
        "evaluation.html",
        title=f"{contents.pipeline} {version}: {contents.verdict.word.lower()}",
        heading=(spec.description if spec else "") or contents.pipeline,
        pipeline=contents.pipeline,
        version=version,
        links=links,
        verdict=contents.verdict,
        headline=_headline(spec, contents.found) if spec else "",
        facts=_facts(contents),
        conclusions=conclusions,
        suspects=suspects,
        numbers=_tiles(spec, contents.all_found) if spec else [],
        sections=sections,
    )


def _headline(spec: PipelineSpec, found: Sequence[EvaluatedNumber]) -> str:
    test = narrative.one(found, "test", spec.metric)
    if test is None:
        return ""
    between = narrative.interval(test)
    ends = f" (95% CI {between})" if between else ""
    return f"{spec.metric} {narrative.number(test.value)}{ends} on {test.rows:,} test rows."


def _facts(contents: Contents) -> dict[str, str]:
    """Who, when, on which data, against which version."""
    pin, trained, newest = contents.pin, contents.trained, contents.verdict.newest
    facts = {}
    if newest is not None:
        facts["Decided"] = f"{when(newest.decided_at)} by {newest.decided_by}"
    if isinstance(trained.get("created_at"), dt.datetime):
        by = f", triggered by {trained['triggered_by']}" if trained.get("triggered_by") else ""
        facts["Trained"] = when(trained["created_at"]) + by  # type: ignore[arg-type]
    if contents.evaluated_at is not None:
        facts["Evaluated"] = when(contents.evaluated_at)
    spec = contents.document.spec if contents.document else None
    facts["Trained on"] = _rows(pin, ("train", "validation"))
    facts["Evaluated on"] = f"{_rows(pin, ('test',))}, unseen by training and search"
    facts["Data version"] = f"training set {pin.pin_id}, snapshot {pin.snapshot_id} of the lake"
    before = newest.previous_champion if newest and newest.version == contents.model.version else None
    facts["Champion before"] = f"version {before}" if before else "none"
    facts["Compared with"] = f"version {contents.champion}" if contents.champion else _not_compared(contents)
    if trained.get("git_commit"):
        facts["Code"] = f"Git commit {str(trained['git_commit'])[:12]}"
    if spec is not None and spec.owners:
        facts["Owners"] = ", ".join(spec.owners)
    return facts


def _not_compared(contents: Contents) -> str:
    why = next((f.note for f in contents.found if f.scope == "not_compared"), None)
    return f"no champion: {why}" if why else "the baseline only: there was no other champion"


def _rows(pin: Pin, parts: Sequence[str]) -> str:
    batches = sorted({batch for part in parts for batch in pin.batches[part]})
    named = f"batch {batches[0]}" if len(batches) == 1 else f"{len(batches)} batches, {batches[0]} to {batches[-1]}"
    return f"{sum(pin.rows[part] for part in parts):,} rows of {named}"


def _tiles(spec: PipelineSpec, found: Sequence[EvaluatedNumber]) -> list[Tile]:
    shown = [
        ("test", spec.metric, f"{spec.metric} on test rows"),
        ("gain_over_champion", spec.metric, "gain over the champion"),
        ("gain_over_baseline", spec.metric, "gain over the baseline"),
        ("saved_over_baseline", "cost", f"{spec.costs.unit if spec.costs else ''} saved on test rows".strip()),
        ("calibration", "ece", "calibration error"),
    ]
    tiles = []
    for scope, metric, text in shown:
        finding = narrative.one(found, scope, metric)
        if finding is not None:
            ends = narrative.one(found, f"{scope}_95", metric) or finding
            is_wide = scope != "gain_over_champion" or ends is not finding
            between = narrative.interval(ends) if is_wide else ""
            tiles.append(Tile(narrative.number(finding.value), text, f"95% CI {between}" if between else ""))
    return tiles


def _sections(contents: Contents) -> list[Section]:
    document, found, model = contents.document, contents.all_found, contents.model
    if document is None:
        return [
            Section("Test scores", [tables.scores(found, {})]),
            Section("Slices", [tables.slices(found, set())]),
            Section("Fairness", [tables.gaps(found)]),
            Section("Target leakage", [tables.single_features(found)]),
            Section("Training", [_training(model, contents.pin)]),
        ]
    spec, figures = document.spec, document.figures
    names = plots.Names(model.version, contents.champion)
    known = figures.get("scores", {})
    of_others = {name: {k: math.nan if v is None else v for k, v in of.items()} for name, of in known.items()}
    marked = plots.worse_than_baseline(found)
    return [
        Section("Test scores", [tables.scores(found, of_others), *plots.scores(found, of_others, names)]),
        Section(
            "Decisions",
            [
                *tables.decided(spec, model, figures, names),
                *plots.thresholds(spec, figures, model.threshold),
                *tables.confusion(spec, figures),
            ],
        ),
        Section("Curves", [*plots.ranking(figures, names), *plots.classes(figures), *plots.coverage(figures, names)]),
        Section("Predictions", [*plots.regression(spec, figures, names), *plots.calibration(spec, figures, names)]),
        Section(
            "Slices and limitations",
            [
                *narrative.limitations(spec, found),
                *plots.slices(found, "slice", names),
                *tables.slices_text(found, marked),
                tables.slices(found, marked),
            ],
        ),
        Section("Fairness", [tables.gaps(found), *plots.slices(found, "group", names)]),
        Section("Features", [*plots.importance(spec, found), *plots.missing(found)]),
        Section("Dependence on features", [_READING, *plots.dependence(spec, figures)]),
        Section("Robustness", _robustness(spec, found)),
        Section("Worst rows", tables.worst(figures)),
        Section("Target leakage", [_leakage(spec, found), tables.single_features(found)]),
        Section("Hyperparameter search", document.searches),
        Section("Training", [_training(model, contents.pin)]),
    ]


_READING = (
    "What the model predicts on average when one feature is set to a value in every row (partial dependence). It says "
    "what the model does, not what causes the outcome."
)


def _robustness(spec: PipelineSpec, found: Sequence[EvaluatedNumber]) -> list[str]:
    noise, missing = narrative.one(found, "noise", "flips"), narrative.one(found, "missing", "flips")
    share = (spec.gates.sensitivity or SensitivityGate()).missing
    moved = spec.target.kind == "regression"
    sentences = []
    if noise is not None and moved:
        sentences.append(
            f"A little noise on every number moves {noise.value:.2%} of the predictions by more than a tenth of the "
            "labels' standard deviation."
        )
    elif noise is not None:
        sentences.append(f"A little noise on every number flips {noise.value:.2%} of the decisions.")
    if missing is None:
        return sentences
    what = f"With {share:.0%} of the values missing"
    if math.isnan(missing.value):
        sentences.append(f"{what}, {missing.note or 'the share of changed predictions is not defined'}.")
    else:
        flips = "predictions move that much" if moved else "decisions flip"
        sentences.append(f"{what}, {missing.value:.2%} of the {flips}.")
    return sentences


def _leakage(spec: PipelineSpec, found: Sequence[EvaluatedNumber]) -> str:
    sentences = ["How well each feature alone predicts the target on test rows; close to 1 is suspicious."]
    weaker = len([f for f in found if f.scope == "single"]) - len(tables.single_features(found).rows)
    if weaker:
        sentences.append(f"The strongest are shown; {weaker} weaker features are left out.")
    same = narrative.one(found, "identical", "share")
    if same is not None:
        sentences.append(f"{same.value:.2%} of the test rows repeat a training row, {spec.target.name} included.")
    return " ".join(sentences)


def _training(model: ModelVersion, pin: Pin) -> html.ReportTable:
    params = ", ".join(f"{name}: {value}" for name, value in sorted(model.params.items())) or "defaults"
    rows = [
        ["candidate", f"{model.candidate} ({model.estimator})"],
        ["parameters", params],
        ["decision threshold", "none" if model.threshold is None else narrative.number(model.threshold)],
        ["training set", f"pin {pin.pin_id}, snapshot {pin.snapshot_id} of the lake"],
        *([f"{part} rows", f"{pin.rows[part]:,}{_batches(pin, part)}"] for part in PARTS),
        ["features", ", ".join(pin.features)],
        ["label", pin.target],
        ["bundle", f"{model.bundle}, SHA-256 {model.bundle_sha256}"],
    ]
    return html.ReportTable(["what", "value"], rows, "Training")


def _batches(pin: Pin, part: str) -> str:
    batches = pin.batches[part]
    if pin.split["by"] != "batch":
        return f", sampled from {len(batches)} batches"
    return f", batch {batches[0]}" if len(batches) == 1 else f", batches {batches[0]} to {batches[-1]}"
