"""The evaluation as one HTML report: conclusions, tables and plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_assets.reporting import html, narrative
from ml_assets.reporting.evaluation_plots import report_plots
from ml_assets.reporting.html import Table, Tile
from ml_assets.reporting.plots import Figure
from ml_assets.spec import PipelineSpec
from ml_assets.spec.model import SensitivityGate
from ml_assets.tables.evaluations import Evaluation, Finding
from ml_assets.tables.training_sets import PARTS, Pin
from ml_assets.tables.versions import ModelVersion

STRONGEST = 10  # features of the table of leakage


def write_report(
    file: Path,
    spec: PipelineSpec,
    model: ModelVersion,
    pin: Pin,
    evaluation: Evaluation,
    searches: Sequence[Figure] = (),
    links: Mapping[str, str] | None = None,
) -> None:
    """Write the report; it appears whole or not at all.

    Args:
        file: Where it goes.
        spec: The pipeline.
        model: The version.
        pin: Its training set.
        evaluation: What was found.
        searches: Plots of the search.
        links: Text -> address of files beside it.
    """
    html.write(file, report(spec, model, pin, evaluation, searches, links or {}))


def report(
    spec: PipelineSpec,
    model: ModelVersion,
    pin: Pin,
    evaluation: Evaluation,
    searches: Sequence[Figure],
    links: Mapping[str, str],
) -> str:
    """The report's HTML."""
    found, suspects = evaluation.found, evaluation.suspects
    champion = evaluation.champion.version if evaluation.champion else None
    return html.render(
        "evaluation.html",
        title=f"{spec.name} {model.version}: evaluation",
        heading=spec.description or spec.name,
        pipeline=spec.name,
        version=model.version,
        links=links,
        conclusions=narrative.summary(spec, model.version, champion, found, suspects),
        suspects=suspects,
        numbers=_tiles(spec, found),
        plots=report_plots(spec, evaluation),
        scores=_scores(evaluation),
        limitations=narrative.limitations(spec, found),
        gaps=_gaps(found),
        robustness=_robustness(spec, found),
        leakage=_leakage(spec, found),
        single=_single_features(found),
        searches=searches,
        training=_training(spec, model, pin),
    )


def _tiles(spec: PipelineSpec, found: Sequence[Finding]) -> list[Tile]:
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
            tiles.append(Tile(narrative.number(finding.value), text, narrative.interval(finding)))
    return tiles


def _scores(evaluation: Evaluation) -> Table:
    others = {"champion": evaluation.champion, "baseline": evaluation.baseline}
    scores = {name: model.all_scores() for name, model in others.items() if model is not None}
    rows = [
        [
            f.metric,
            narrative.number(f.value),
            narrative.interval(f),
            *(narrative.number(of[f.metric]) for of in scores.values()),
        ]
        for f in evaluation.found
        if f.scope == "test"
    ]
    return Table(["metric", "this version", "95% CI", *scores], rows)


def _gaps(found: Sequence[Finding]) -> Table:
    rows = [
        [f.slice_by or "", f.metric, narrative.number(f.value), narrative.interval(f), f.note or ""]
        for f in found
        if f.scope == "fairness"
    ]
    return Table(["column", "metric", "largest gap", "95% CI", "between"], rows)


def _robustness(spec: PipelineSpec, found: Sequence[Finding]) -> list[str]:
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


def _leakage(spec: PipelineSpec, found: Sequence[Finding]) -> list[str]:
    sentences = ["How well each feature alone predicts the target on test rows; close to 1 is suspicious."]
    weaker = len([f for f in found if f.scope == "single"]) - len(_single_features(found).rows)
    if weaker:
        sentences.append(f"The strongest are shown; {weaker} weaker features are left out.")
    same = narrative.one(found, "identical", "share")
    if same is not None:
        sentences.append(f"{same.value:.2%} of the test rows repeat a training row, {spec.target.name} included.")
    return [" ".join(sentences)]


def _single_features(found: Sequence[Finding]) -> Table:
    notes = {f.slice: f.note for f in found if f.scope == "target_proxy"}
    ranked = sorted((f for f in found if f.scope == "single"), key=lambda f: -f.value if f.value == f.value else 1.0)
    rows = [
        [f.slice or "", f.metric, narrative.number(f.value), notes.get(f.slice) or ""]
        for place, f in enumerate(ranked)
        if place < STRONGEST or f.slice in notes
    ]
    return Table(["feature", "metric", "alone", "suspicious because it"], rows)


def _training(spec: PipelineSpec, model: ModelVersion, pin: Pin) -> Table:
    params = ", ".join(f"{name}: {value}" for name, value in sorted(model.params.items())) or "defaults"
    rows = [
        ["candidate", f"{model.candidate} ({model.estimator})"],
        ["parameters", params],
        ["decision threshold", "none" if model.threshold is None else narrative.number(model.threshold)],
        ["training set", f"pin {pin.pin_id}, snapshot {pin.snapshot_id} of the lake"],
        *([f"{part} rows", f"{pin.rows[part]:,}{_batches(spec, pin, part)}"] for part in PARTS),
        ["features", ", ".join(pin.features)],
        ["label", pin.target],
        ["bundle", f"{model.bundle}, SHA-256 {model.bundle_sha256}"],
    ]
    return Table(["what", "value"], rows)


def _batches(spec: PipelineSpec, pin: Pin, part: str) -> str:
    batches = pin.batches[part]
    if spec.split.by != "batch":
        return f", sampled from {len(batches)} batches"
    return f", batch {batches[0]}" if len(batches) == 1 else f", batches {batches[0]} to {batches[-1]}"
