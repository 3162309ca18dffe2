"""What the report of an evaluation is rendered from, beside the rows of the lake: kept as JSON, read back at any time.

A decision is known long after an evaluation, and may change for years. So the report is rendered again from this file
whenever its version is decided on: without the model, without a row of the test data, and as the YAML was then.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ml_assets.errors import MLAssetsError
from ml_assets.reporting.plots import Figure
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import EvaluatedNumber, Evaluation

FORMAT = 1


@dataclass(frozen=True)
class Document:
    """What was found about a version that no table of the lake has.

    Args:
        spec: The pipeline, as its YAML was at the evaluation.
        suspects: What may be a leak, one sentence each.
        shown: Findings that the report alone shows.
        figures: Name -> numbers of a plot, or rows of a list, as `graph/release/evaluation` makes them.
        searches: Plots of the hyperparameter search.
    """

    spec: PipelineSpec
    suspects: Sequence[str] = ()
    shown: Sequence[EvaluatedNumber] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    searches: Sequence[Figure] = ()

    @classmethod
    def of(cls, spec: PipelineSpec, evaluation: Evaluation, searches: Sequence[Figure] = ()) -> Document:
        """The document of an evaluation."""
        return cls(spec, evaluation.suspects, evaluation.shown, evaluation.figures, searches)

    def as_json(self) -> str:
        """The document as text; what is not defined is null, as JSON knows no NaN."""
        return json.dumps(
            _defined(
                {
                    "format": FORMAT,
                    "spec": json.loads(self.spec.model_dump_json(exclude_unset=True)),
                    "suspects": list(self.suspects),
                    "shown": [asdict(finding) for finding in self.shown],
                    "figures": self.figures,
                    "searches": [
                        {"title": one.title, "png": base64.b64encode(one.png).decode(), "reading": one.reading}
                        for one in self.searches
                    ],
                }
            ),
            default=str,
            allow_nan=False,
        )


def read(file: Path) -> Document | None:
    """The document in a file; None where there is none that this code can read, such as of an earlier ml_assets."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            return None
        return Document(
            PipelineSpec.model_validate(found["spec"]),
            found["suspects"],
            [
                EvaluatedNumber(**{**one, "value": math.nan if one["value"] is None else one["value"]})
                for one in found["shown"]
            ],
            found["figures"],
            [Figure(one["title"], base64.b64decode(one["png"]), one["reading"]) for one in found["searches"]],
        )
    except (OSError, ValueError, TypeError, LookupError, MLAssetsError):
        return None


def _defined(value: Any) -> Any:
    """The same with null for each number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _defined(one) for name, one in value.items()}
    return [_defined(one) for one in value] if isinstance(value, list | tuple) else value
