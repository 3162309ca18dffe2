"""The evaluation as one HTML page that needs nothing else: words, tables, pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from ml_assets.reporting import html, narrative
from ml_assets.reporting.evaluation_plots import page_figures
from ml_assets.reporting.plots import Figure
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import Evaluation, Finding
from ml_assets.tables.training_sets import PARTS, Pin
from ml_assets.tables.versions import ModelVersion


def write_page(
    file: Path,
    spec: PipelineSpec,
    model: ModelVersion,
    pin: Pin,
    evaluation: Evaluation,
    figures: Sequence[Figure] = (),
    links: Mapping[str, str] | None = None,
) -> None:
    """Write the page; it appears whole or not at all.

    Args:
        file: Where it goes.
        spec: The pipeline.
        model: The version.
        pin: Its training set.
        evaluation: What was found.
        figures: Further pictures, of the search.
        links: Text -> address of pages beside it.
    """
    html.write(file, page(spec, model, pin, evaluation, figures, links or {}))


def page(
    spec: PipelineSpec,
    model: ModelVersion,
    pin: Pin,
    evaluation: Evaluation,
    figures: Sequence[Figure],
    links: Mapping[str, str],
) -> str:
    """The page's HTML."""
    title = f"{spec.name} {model.version}: evaluation"
    pictures = page_figures(spec, evaluation)
    found = evaluation.found
    body = [
        f"<h1>{escape(spec.description or spec.name)}</h1>",
        f'<p class="by">Evaluation of {escape(spec.name)} version {escape(model.version)}',
        *(f' · <a href="{escape(address)}">{escape(text)}</a>' for text, address in links.items()),
        "</p>",
        _answer(spec, evaluation),
        _tiles(spec, found),
        html.section("How good is it?", _metrics_table(evaluation), *map(html.figure, pictures["metrics"])),
        html.section("How does it answer?", *map(html.figure, pictures["answers"])),
        html.section(
            "Parts of the data",
            *map(html.figure, pictures["slices"]),
            *html.paragraphs(narrative.limitations(spec, found)),
        ),
        html.section("Are groups served alike?", _fairness_table(found), *map(html.figure, pictures["fairness"])),
        html.section("What it relies on", *map(html.figure, pictures["features"])),
        html.section("What turns its answers", _robustness(spec, found), *map(html.figure, pictures["robustness"])),
        html.section("Could it have seen the answers?", _leak_table(spec, found)),
        html.section("Search", *map(html.figure, figures)),
        html.section("What was trained", _training_table(spec, model, pin)),
    ]
    return html.document(title, body)


def _answer(spec: PipelineSpec, evaluation: Evaluation) -> str:
    champion = evaluation.champion.version if evaluation.champion else None
    said = narrative.summary(spec, evaluation.judged.version, champion, evaluation.found, evaluation.suspects)
    alarm = " alarm" if evaluation.suspects else ""
    return f'<div class="answer{alarm}">{"".join(html.paragraphs(said))}</div>'


def _tiles(spec: PipelineSpec, found: Sequence[Finding]) -> str:
    wanted = [
        ("test", spec.metric, f"{spec.metric} on test rows"),
        ("gain_over_champion", spec.metric, "gain over the champion"),
        ("gain_over_baseline", spec.metric, "gain over ignoring every feature"),
        ("saved_over_baseline", "cost", f"{spec.costs.unit if spec.costs else ''} saved on test rows".strip()),
        ("calibration", "ece", "calibration error"),
    ]
    tiles = []
    for scope, metric, text in wanted:
        finding = narrative.one(found, scope, metric)
        if finding is not None:
            tiles.append((narrative.number(finding.value), text, narrative.interval(finding)))
    return html.tiles(tiles)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return (
        narrative.number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def _metrics_table(evaluation: Evaluation) -> str:
    baseline = evaluation.baseline.all_scores()
    champion = evaluation.champion.all_scores() if evaluation.champion else None
    names = ["metric", "this version", "95% interval", *(["champion"] if champion else []), "ignoring every feature"]
    return html.table(
        names,
        (
            [f.metric, f.value, narrative.interval(f), *([champion[f.metric]] if champion else []), baseline[f.metric]]
            for f in evaluation.found
            if f.scope == "test"
        ),
        _cell,
    )


def _fairness_table(found: Sequence[Finding]) -> str:
    gaps = [f for f in found if f.scope == "fairness"]
    return html.table(
        ["column", "measure", "largest gap", "95% interval", "between"],
        ([f.slice_by, f.metric, f.value, narrative.interval(f), f.note] for f in gaps),
        _cell,
    )


def _robustness(spec: PipelineSpec, found: Sequence[Finding]) -> str:
    noise, missing = narrative.one(found, "noise", "flips"), narrative.one(found, "missing", "flips")
    turned = "move by more than a tenth of the labels' spread" if spec.target.kind == "regression" else "turn"
    said = []
    if noise is not None:
        said.append(f"Under a little noise on every number, {noise.value:.2%} of answers {turned}.")
    if missing is not None:
        share = "not defined" if math.isnan(missing.value) else f"{missing.value:.2%}"
        said.append(f"With some of all values taken away: {share} of answers {turned}. {missing.note or ''}")
    return "".join(html.paragraphs(said))


def _leak_table(spec: PipelineSpec, found: Sequence[Finding]) -> str:
    notes = {f.slice: f.note for f in found if f.scope == "disguise"}
    alone = sorted((f for f in found if f.scope == "single"), key=lambda f: -f.value if f.value == f.value else 1.0)
    shown = [f for place, f in enumerate(alone) if place < 10 or f.slice in notes]
    rows = [[f.slice, f.metric, f.value, notes.get(f.slice, "")] for f in shown]
    same = narrative.one(found, "identical", "share")
    said = ["What each feature explains of the target by itself, on test rows; close to 1 is suspicious."]
    if len(shown) < len(alone):
        said.append(f"Shown are the strongest; {len(alone) - len(shown)} weaker features are left out.")
    if same is not None:
        said.append(
            f"{same.value:.2%} of the test rows stand among the train or validation rows too, "
            f"{spec.target.name} included."
        )
    return "".join(html.paragraphs([" ".join(said)])) + html.table(
        ["feature", "measure", "alone", "sign of a leak"], rows, _cell
    )


def _training_table(spec: PipelineSpec, model: ModelVersion, pin: Pin) -> str:
    params = ", ".join(f"{name}: {value}" for name, value in sorted(model.params.items())) or "defaults"
    rows: list[Sequence[object]] = [
        ["candidate", f"{model.candidate} ({model.estimator})"],
        ["parameters", params],
        ["decision threshold", "none" if model.threshold is None else model.threshold],
        ["training set", f"pin {pin.pin_id}, snapshot {pin.snapshot_id} of the lake"],
        *([f"{part} rows", f"{pin.rows[part]:,}{_span(spec, pin, part)}"] for part in PARTS),
        ["features", ", ".join(pin.features)],
        ["label", pin.target],
        ["bundle", f"{model.bundle}, SHA-256 {model.bundle_sha256}"],
    ]
    return html.table(["what", "which"], rows, _cell)


def _span(spec: PipelineSpec, pin: Pin, part: str) -> str:
    batches = pin.batches[part]
    if spec.split.by != "batch":
        return f", drawn from {len(batches)} batches"
    return f", batch {batches[0]}" if len(batches) == 1 else f", batches {batches[0]} to {batches[-1]}"
