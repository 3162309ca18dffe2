"""A release as an MLflow pyfunc: a frame of raw rows in, scores and decisions out. MLflow imports this by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ml_assets.server.requests import MAX_ROWS
from ml_assets.server.scorer import Scorer

if TYPE_CHECKING:
    import pandas as pd


class RawRows:
    """What MLflow calls a model.

    Args:
        scorer: The release.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Score rows, with the checks and the limits of a request for each.

        Args:
            rows: The columns of a request; those that may be missing can be left out.

        Returns:
            Columns score, decision and, with several classes, one of each class's probability; in the order and with
            the index of the rows.
        """
        import pandas as pd

        requests, names = self._as_requests(rows), ["score", "decision", *self._scorer.schema.probability_columns]
        made: list[tuple[Any, ...]] = []
        for start in range(0, len(requests), MAX_ROWS):
            try:
                request = self._scorer.decode(msgspec.json.encode({"rows": requests[start : start + MAX_ROWS]}))
                scored = self._scorer.score(request.rows, self._scorer.slow)
            except Exception as error:
                error.add_note(f"Rows are counted from row {start} of the frame.")
                raise
            each = zip(*scored.probabilities, strict=True) if scored.probabilities else ()
            made += zip(scored.scores, scored.decisions, *each, strict=True)
        return pd.DataFrame(made, columns=names, index=rows.index)

    def _as_requests(self, rows: pd.DataFrame) -> list[dict[str, Any]]:
        """Rows as a request has them: pandas knows neither a missing integer nor a date."""
        types, nullable = self._scorer.schema.columns, self._scorer.schema.nullable
        left_out = [name for name in nullable if name not in rows]
        requests: list[Any] = rows.astype(object).where(rows.notna(), None).to_dict("records")
        for row in requests:
            row.update(dict.fromkeys(left_out))
            row.update({name: _plain(value, types.get(name, "")) for name, value in row.items()})
        return requests


def _plain(value: Any, word: str) -> Any:
    if word == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if hasattr(value, "to_pydatetime"):
        return value.date() if word == "date" else value.to_pydatetime()
    return value.item() if hasattr(value, "item") else value  # numpy's numbers


def _load_pyfunc(folder: str, model_config: dict[str, Any]) -> RawRows:
    """MLflow's entry point."""
    return RawRows(Scorer(Path(folder), model_config["sha256"]))
