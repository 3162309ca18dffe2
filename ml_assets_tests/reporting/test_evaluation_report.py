"""The report and the card of each kind hold what a reader must find."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import escape

from ml_assets import metrics
from ml_assets.reporting.decision import verdict
from ml_assets.reporting.evaluation_document import Document, read
from ml_assets.reporting.evaluation_figures import worse_than_baseline
from ml_assets.reporting.evaluation_plots import SHOWN, shown
from ml_assets.reporting.evaluation_report import Contents, report
from ml_assets.reporting.evaluation_tables import slices, slices_text
from ml_assets.reporting.html import Cell
from ml_assets.reporting.model_card import model_card
from ml_assets.reporting.narrative import interval, number, summary
from ml_assets.reporting.plots import Figure
from ml_assets.spec import PipelineSpec
from ml_assets.tables.decisions import Decision, Gate
from ml_assets.tables.evaluations import EvaluatedNumber, Evaluation
from ml_assets.tables.versions import ModelVersion
from ml_assets_tests.graph.release.made import PIN, TYPES, VERSION, examined, of, spec_of

PLOTS = {
    "binary": [
        *("ROC curve", "Precision and recall", "Cumulative gain", "Lift", "Calibration", "Confusion matrix"),
        *("Precision and recall by threshold", "Cost by threshold"),
    ],
    "multiclass": ["Calibration", "Confusion matrix", "ROC curve of each class", "Accuracy of the surest predictions"],
    "regression": ["Predictions and outcomes", "Outcomes by predicted value", "Residuals", "Errors"],
}
HEADINGS = (
    "Model details",
    "Intended use",
    "Training data",
    "Evaluation data",
    "Metrics",
    "Decision rule",
    "Slices",
    "Fairness",
    "Robustness",
    "Target leakage",
    "Limitations",
    "Libraries",
    "How to rebuild it",
)


MOMENT = dt.datetime(2026, 1, 2, 3, 4)
TRAINED = {"created_at": MOMENT, "triggered_by": "sensor loans_retrain", "git_commit": "c0ffee" * 6}


def contents(
    spec: PipelineSpec,
    evaluation: Evaluation,
    searches: Sequence[Figure] = (),
    made: Sequence[Decision] = (),
    model: ModelVersion = VERSION,
) -> Contents:
    """What a report is rendered from, once its document has been written and read back."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "1.0.0.json")
        file.write_text(Document.of(spec, evaluation, searches).as_json())
        document = read(file)
    assert document is not None
    state = verdict(spec.name, model.version, made, "0.9.0")
    return Contents(spec.name, model, PIN, evaluation.found, MOMENT, TRAINED, state, document)


@pytest.mark.parametrize("kind", list(PLOTS))
def test_report_and_card(kind: str) -> None:
    costs = {"costs": {"false_positive": 1, "false_negative": 4, "unit": "EUR"}} if kind == "binary" else {}
    spec = spec_of(kind, description="Who pays <late>?", **costs)
    evaluation = examined(spec, champion=True)
    extra = Figure("How the search went", b"png", "Lower is better.")
    text = report(contents(spec, evaluation, [extra]), {"model card": "1.0.0.md"})
    card = model_card(spec, VERSION, PIN, evaluation.found, evaluation.suspects)
    sampled = replace(PIN, available=80_000_000, share=0.125)

    assert "a sample of" not in card
    assert "of 80,000,000 labelled rows (12.50% of each" in model_card(spec, VERSION, sampled, evaluation.found, ())
    assert "Who pays &lt;late&gt;?" in text
    assert "<late>" not in text
    assert "<l2>" not in text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,|1\.0\.0\.md|#)', text)
    shared = ["Metrics on test rows", "by region", "Permutation importance", "Missing features"]
    for title in [*shared, *PLOTS[kind], "How the search went", "Lower is better."]:
        assert title in text
    for words in (text, card):
        for metric in metrics.names(kind):
            assert metric in words
        (test,) = [f for f in of(evaluation, "test") if f.metric == spec.metric]
        assert interval(test) in words
        assert "version 0.9.0" in words
        assert "abc" in words
        assert (" EUR" in words) == (kind == "binary")
    assert "<h3>income</h3>" in text  # its partial dependence
    if kind != "regression":
        assert "champion 0.9.0</li>" in text
    tiles = re.findall(r"<span>gain over the (champion|baseline)</span><span>(.*?)</span>", text)
    assert [name for name, ends in tiles if ends.startswith("95% CI ")] == ["champion", "baseline"]
    anchors = re.findall(r'<li><a href="#([a-z-]+)">', text)
    assert len(anchors) > 8
    assert set(anchors) == set(re.findall(r'<section id="([a-z-]+)"', text))
    for heading in HEADINGS:
        assert f"\n## {heading}\n" in card
    assert "scikit-learn | 1." in card
    assert "region=C" in card  # too small to judge, named among the limitations
    assert "Too few test rows to judge (below 30): region=C" in card


HOSTILE = "<script>alert(1)</script>{{7*7}}\"'&"


def test_names_and_values_of_the_data_are_text() -> None:
    types = {**TYPES, HOSTILE: "number"}
    spec = spec_of(description=HOSTILE)
    evaluation = examined(
        spec, types=types, add=lambda rows: {HOSTILE: rows["income"], "slice_region": rows["region"] + HOSTILE}
    )
    hostile = replace(VERSION, params={HOSTILE: HOSTILE})
    gate = Gate(HOSTILE, HOSTILE, 0.5, False, HOSTILE)
    made = [Decision("1.0.0", "pending", HOSTILE, [gate], None, HOSTILE)]
    shown = report(contents(spec, evaluation, made=made, model=hostile), {HOSTILE: HOSTILE})
    assert "<script" not in shown
    assert str(escape(f"{HOSTILE}: {HOSTILE}")) in shown
    assert str(escape(f"region=C{HOSTILE}")) in shown  # a slice among the limitations
    assert shown.count(str(escape(HOSTILE))) > 5


def test_slices_that_are_worse_than_the_baseline_are_marked_and_come_first() -> None:
    values = {"A": (0.70, 0.6, 0.8, 300), "B": (0.45, 0.3, 0.6, 20), "C": (0.40, 0.35, 0.45, 200)}
    found = [
        *(
            EvaluatedNumber("slice", "roc_auc", v, rows, low, high, "region", name)
            for name, (v, low, high, rows) in values.items()
        ),
        *(EvaluatedNumber("slice_baseline", "roc_auc", 0.5, 9, slice_by="region", slice=name) for name in values),
    ]
    marked = worse_than_baseline(found)
    assert marked == {("region", "B"), ("region", "C")}
    rows = slices(found, marked).rows
    assert [row[0] for row in rows] == ["region=C", "region=B", "region=A"]
    assert rows[0][-1] == Cell("▼ worse than the baseline", "bad")
    assert rows[1][-1] == Cell("▼ worse than the baseline, by chance perhaps", "bad")
    assert rows[2][-1] == ""
    assert slices_text(found, marked)[0].startswith("In 2 of 3 slices")


def gains(low: float, high: float) -> list[EvaluatedNumber]:
    middle = (low + high) / 2
    return [
        EvaluatedNumber("test", "roc_auc", 0.8, 400, 0.7, 0.9),
        EvaluatedNumber("champion", "roc_auc", 0.8 - middle, 400),
        EvaluatedNumber("gain_over_champion", "roc_auc", middle, 400, low, high),
    ]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (
            0.01,
            0.03,
            "It is better than the champion, version 3.0.0: roc_auc 0.8 against 0.78, a gain of 0.02",
        ),
        (-0.03, -0.01, "It is worse than the champion, version 3.0.0"),
        (-0.01, 0.02, "It does not differ significantly from the champion, version 3.0.0"),
        (float("nan"), float("nan"), "is not defined on these rows"),
    ],
)
def test_better_is_said_only_when_the_interval_says_so(low: float, high: float, words: str) -> None:
    assert words in " ".join(summary(spec_of(), "4.0.0", "3.0.0", gains(low, high), []))


def test_a_plot_shows_the_worst_and_the_largest() -> None:
    many = [
        EvaluatedNumber("slice", "roc_auc", 0.5 + n / 1000, 10 + n, slice_by="dest", slice=f"D{n}") for n in range(200)
    ] + [EvaluatedNumber("slice", "roc_auc", float("nan"), 999, slice_by="dest", slice="undefined")]
    chosen, left_out = shown(many, "roc_auc")
    names = {f.slice for f in chosen}
    assert {"D0", "D1", "D199"} <= names
    assert (len(chosen), left_out) == (SHOWN, 201 - SHOWN)
    worst, _ = shown(many, "log_loss")
    assert "D190" in {f.slice for f in worst}
    assert "D0" not in {f.slice for f in worst}


def test_numbers_are_short() -> None:
    assert [number(n) for n in (0.123456, 1234.5, float("nan"), None)] == ["0.1235", "1,234", "not defined", ""]
