"""Evidently's report on a model's predictions of test rows."""

from __future__ import annotations

import warnings
from pathlib import Path

from ml_assets.ml.judged import Judged
from ml_assets.reporting import html

SAMPLE_ROWS = 20_000


def write_evidently(judged: Judged, file: Path, seed: int) -> None:
    """Write Evidently's classification or regression report as one HTML file.

    Args:
        judged: Predictions on test rows; at most 20,000 of them, sampled with the seed, go into the report.
        file: Where the report goes; it appears whole or not at all.
        seed: Seed of the sample.
    """
    import pandas as pd

    frame = pd.DataFrame({"target": judged.labels, "prediction": judged.decisions})
    if judged.schema.kind == "binary":
        frame["probability"] = judged.scores
    if len(frame) > SAMPLE_ROWS:
        frame = frame.sample(SAMPLE_ROWS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's own imports and plots warn
        snapshot = _report(frame, judged.schema.kind)
        page = snapshot.get_html_str(as_iframe=False)
    html.write(file, html.sealed(page))


def _report(frame, kind: str):  # type: ignore[no-untyped-def]
    from evidently import BinaryClassification, DataDefinition, Dataset, MulticlassClassification, Regression, Report
    from evidently.presets import ClassificationPreset, RegressionPreset

    if kind == "regression":
        definition = DataDefinition(
            numerical_columns=["target", "prediction"],
            regression=[Regression(target="target", prediction="prediction")],
        )
        return Report([RegressionPreset()]).run(Dataset.from_pandas(frame, definition))
    if kind == "binary":
        definition = DataDefinition(
            categorical_columns=["target", "prediction"],
            numerical_columns=["probability"],
            classification=[
                BinaryClassification(target="target", prediction_labels="prediction", prediction_probas="probability")
            ],
        )
    else:
        definition = DataDefinition(
            categorical_columns=["target", "prediction"],
            classification=[MulticlassClassification(target="target", prediction_labels="prediction")],
        )
    return Report([ClassificationPreset()]).run(Dataset.from_pandas(frame, definition))
