"""The picture of a search says what can be said, and never warns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml_assets.reporting.plots import as_markdown
from ml_assets.reporting.search_plots import search_figure


def trials(count: int, **params: Any) -> list[dict[str, Any]]:
    """`params` are functions of a trial's number; the score is that number."""
    return [
        {
            "params": {name: make(number) for name, make in params.items()},
            "score": float(number),
            "state": "pruned" if number % 5 == 4 else "complete",
        }
        for number in range(count)
    ]


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_a_search_of_several_parameters_has_lines_and_importance() -> None:
    rng = np.random.default_rng(0)
    rows = trials(
        20, depth=lambda n: n, rate=lambda n: float(10 ** rng.uniform(-4, 0)), kind=lambda n: ["a", None, True][n % 3]
    )
    rows.append({"params": {"depth": 99}, "score": None, "state": "failed"})
    figure = search_figure(rows, "roc_auc")
    assert titles(figure) == ["20 trials, dotted: pruned", "importance"]
    assert figure is not None
    (bars,) = (axes for axes in figure.axes if axes.get_title() == "importance")
    names = [tick.get_text() for tick in bars.get_yticklabels()]
    assert names[int(np.argmax([bar.get_width() for bar in bars.patches]))] == "depth"  # type: ignore[attr-defined]
    assert as_markdown(figure, "search").startswith("![search](data:image/png;base64,")


def test_one_parameter_or_few_trials_have_no_importance() -> None:
    assert titles(search_figure(trials(20, C=lambda n: n / 10), "rmse")) == ["20 trials, dotted: pruned"]
    assert titles(search_figure(trials(3, C=lambda n: n, D=lambda n: [n, 1]), "rmse")) == ["3 trials"]


def test_where_nothing_varies_there_is_no_picture() -> None:
    assert search_figure([], "rmse") is None
    assert search_figure(trials(1, C=lambda n: n), "rmse") is None
    assert search_figure(trials(9, C=lambda n: 1), "rmse") is None
