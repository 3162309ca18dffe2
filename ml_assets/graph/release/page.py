"""The evaluation as one HTML page that needs nothing else: words, tables, pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from ml_assets.graph.release import words
from ml_assets.graph.release.evaluation import Evaluation, Finding
from ml_assets.graph.release.pictures import page_figures
from ml_assets.ml.pictures import Figure, inline
from ml_assets.spec import PipelineSpec
from ml_assets.store.pins import PARTS, Pin
from ml_assets.store.registry import ModelVersion

STYLE = """
@page { size: A4; margin: 14mm }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1c2733; background: #eef1f4; margin: 0 }
main { max-width: 960px; margin: 0 auto; padding: 36px 44px 60px; background: #fff }
h1 { font-size: 27px; margin: 0; line-height: 1.25 }
h2 { font-size: 19px; margin: 40px 0 8px; padding-bottom: 5px; border-bottom: 2px solid #0072B2 }
h3 { font-size: 15px; margin: 22px 0 4px }
.by { color: #5b6875; margin: 4px 0 20px }
.answer { background: #f2f7fb; border-left: 5px solid #0072B2; padding: 12px 20px; margin: 18px 0 }
.answer p { margin: 6px 0 }
.answer p:first-child { font-size: 17px; font-weight: 600 }
.alarm { background: #fdf1ea; border-left-color: #D55E00 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0 }
.tile { border: 1px solid #d5dce3; border-radius: 6px; padding: 10px 14px }
.tile b { display: block; font-size: 23px; line-height: 1.3 }
.tile span { color: #5b6875; font-size: 13px }
figure { margin: 10px 0 18px; break-inside: avoid }
figure img { max-width: 100%; display: block }
figcaption { color: #45525e; font-size: 13.5px; margin-top: 4px }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; margin: 8px 0 14px }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid #e3e8ec; vertical-align: top }
th { color: #5b6875; font-weight: 600 }
td { overflow-wrap: anywhere }
tr { break-inside: avoid }
h2, h3 { break-after: avoid }
code { font-size: 13px }
nav a, .by a { color: #00598c }
@media print { body { background: #fff; font-size: 12px } main { padding: 0; max-width: none } }
"""


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
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(page(spec, model, pin, evaluation, figures, links or {}), encoding="utf-8")
    new.replace(file)


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
        _section("How good is it?", _metrics_table(evaluation), *map(_figure, pictures["metrics"])),
        _section("How does it answer?", *map(_figure, pictures["answers"])),
        _section("Parts of the data", *map(_figure, pictures["slices"]), *_paragraphs(words.limitations(spec, found))),
        _section("Are groups served alike?", _fairness_table(found), *map(_figure, pictures["fairness"])),
        _section("What it relies on", *map(_figure, pictures["features"])),
        _section("What turns its answers", _robustness(spec, found), *map(_figure, pictures["robustness"])),
        _section("Could it have seen the answers?", _leak_table(spec, found)),
        _section("Search", *map(_figure, figures)),
        _section("What was trained", _training_table(spec, model, pin)),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _answer(spec: PipelineSpec, evaluation: Evaluation) -> str:
    champion = evaluation.champion.version if evaluation.champion else None
    said = words.answers(spec, evaluation.judged.version, champion, evaluation.found)
    alarm = " alarm" if words.alarms(spec, evaluation.found) else ""
    return f'<div class="answer{alarm}">{"".join(_paragraphs(said))}</div>'


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
        finding = words.one(found, scope, metric)
        if finding is not None:
            between = f"<br>{words.interval(finding)}" if words.interval(finding) else ""
            tiles.append(
                f'<div class="tile"><b>{words.number(finding.value)}</b><span>{escape(text)}{between}</span></div>'
            )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _section(title: str, *parts: str) -> str:
    """A section; nothing where it would be empty."""
    text = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{text}</section>" if text else ""


def _figure(figure: Figure) -> str:
    return (
        f'<h3>{escape(figure.title)}</h3><figure><img alt="{escape(figure.title)}" src="{inline(figure.png)}">'
        f"<figcaption>{escape(figure.reading)}</figcaption></figure>"
    )


def _paragraphs(sentences: Iterable[str]) -> list[str]:
    return [f"<p>{escape(sentence)}</p>" for sentence in sentences]


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = ["".join(f"<td>{escape(_cell(value))}</td>" for value in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if lines else ""


def _cell(value: object) -> str:
    if value is None:
        return ""
    return words.number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _metrics_table(evaluation: Evaluation) -> str:
    baseline = evaluation.baseline.all_scores()
    champion = evaluation.champion.all_scores() if evaluation.champion else None
    names = ["metric", "this version", "95% interval", *(["champion"] if champion else []), "ignoring every feature"]
    return _table(
        names,
        (
            [f.metric, f.value, words.interval(f), *([champion[f.metric]] if champion else []), baseline[f.metric]]
            for f in evaluation.found
            if f.scope == "test"
        ),
    )


def _fairness_table(found: Sequence[Finding]) -> str:
    gaps = [f for f in found if f.scope == "fairness"]
    return _table(
        ["column", "measure", "largest gap", "95% interval", "between"],
        ([f.slice_by, f.metric, f.value, words.interval(f), f.note] for f in gaps),
    )


def _robustness(spec: PipelineSpec, found: Sequence[Finding]) -> str:
    noise, missing = words.one(found, "noise", "flips"), words.one(found, "missing", "flips")
    turned = "move by more than a tenth of the labels' spread" if spec.target.kind == "regression" else "turn"
    said = []
    if noise is not None:
        said.append(f"Under a little noise on every number, {noise.value:.2%} of answers {turned}.")
    if missing is not None:
        share = "not defined" if math.isnan(missing.value) else f"{missing.value:.2%}"
        said.append(f"With some of all values taken away: {share} of answers {turned}. {missing.note or ''}")
    return "".join(_paragraphs(said))


def _leak_table(spec: PipelineSpec, found: Sequence[Finding]) -> str:
    notes = {f.slice: f.note for f in found if f.scope == "disguise"}
    alone = sorted((f for f in found if f.scope == "single"), key=lambda f: -f.value if f.value == f.value else 1.0)
    shown = [f for place, f in enumerate(alone) if place < 10 or f.slice in notes]
    rows = [[f.slice, f.metric, f.value, notes.get(f.slice, "")] for f in shown]
    same = words.one(found, "identical", "share")
    said = ["What each feature explains of the target by itself, on test rows; close to 1 is suspicious."]
    if len(shown) < len(alone):
        said.append(f"Shown are the strongest; {len(alone) - len(shown)} weaker features are left out.")
    if same is not None:
        said.append(
            f"{same.value:.2%} of the test rows stand among the train or validation rows too, "
            f"{spec.target.name} included."
        )
    return "".join(_paragraphs([" ".join(said)])) + _table(["feature", "measure", "alone", "sign of a leak"], rows)


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
    return _table(["what", "which"], rows)


def _span(spec: PipelineSpec, pin: Pin, part: str) -> str:
    batches = pin.batches[part]
    if spec.split.by != "batch":
        return f", drawn from {len(batches)} batches"
    return f", batch {batches[0]}" if len(batches) == 1 else f", batches {batches[0]} to {batches[-1]}"
