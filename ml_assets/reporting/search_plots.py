"""A search as a plot: every trial as a line through its parameters, and how much each parameter mattered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.metrics import METRICS
from ml_assets.reporting.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Complete trials below which a parameter's importance would be chance.
ENOUGH_TRIALS = 8
# Values far apart (ratio of largest to smallest) are plotted on a logarithmic axis.
LOG_ABOVE = 50
MOST_LABELS = 6
LABEL_CHARACTERS = 14


def search_figure(trials: Sequence[Mapping[str, Any]], metric: str) -> Figure | None:
    """Parallel coordinates of all scored trials, and the parameters' importance where trials are enough to tell.

    Args:
        trials: Rows with `params` (mapping), `score` (number, or None) and `state`; pruned trials are dotted.
        metric: Name of the score; it tells which end is better.

    Returns:
        None where no two scored trials differ in a parameter.
    """
    scored = [trial for trial in trials if _is_scored(trial)]
    names = _varied(scored)
    if len(scored) < 2 or not names:
        return None
    importance = _importance([trial for trial in scored if trial["state"] == "complete"], names, metric)
    figure = new_figure(3 + 1.6 * len(names) + (3.5 if importance else 0), 4)
    grid = figure.add_gridspec(1, 2 if importance else 1, width_ratios=[len(names) + 1.5, 2] if importance else [1])
    _plot_lines(figure, figure.add_subplot(grid[0]), scored, names, metric)
    if importance:
        _plot_importance(figure.add_subplot(grid[1]), importance)
    return figure  # type: ignore[no-any-return]


def _is_scored(trial: Mapping[str, Any]) -> bool:
    score = trial.get("score")
    return trial.get("state") in ("complete", "pruned") and score is not None and math.isfinite(score)


def _varied(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Parameters that have different values, in their order."""
    names = dict.fromkeys(name for trial in trials for name in trial["params"])
    return [name for name in names if len({repr(trial["params"].get(name)) for trial in trials}) > 1]


def _plot_lines(
    figure: Any, axes: Axes, trials: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str
) -> None:
    """One vertical axis per parameter and one for the score; better trials are lighter and plotted last."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scores = [float(trial["score"]) for trial in trials]
    columns = [_scaled([trial["params"].get(name) for trial in trials]) for name in names]
    columns.append(_scaled(scores))
    norm, colors = (
        Normalize(min(scores), max(scores)),
        colormaps["viridis" if METRICS[metric].is_higher_better else "viridis_r"],
    )
    sign = METRICS[metric].sign
    for row in sorted(range(len(trials)), key=lambda row: sign * scores[row]):
        heights = [places[row] for places, _ in columns]
        style = "-" if trials[row]["state"] == "complete" else ":"
        axes.plot(range(len(columns)), heights, style, color=colors(norm(scores[row])), linewidth=1.5)
    box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5}
    for x, (_, marks) in enumerate(columns):
        axes.axvline(x, color="0.3", linewidth=0.8)
        for height, text in marks:
            axes.annotate(
                text, (x, height), xytext=(4, 0), textcoords="offset points", fontsize=7, va="center", bbox=box
            )
    axes.set_xticks(range(len(columns)), [*names, metric], fontsize=8)
    axes.set_yticks([])
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlim(-0.1, len(columns) - 0.6)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    pruned = any(trial["state"] == "pruned" for trial in trials)
    axes.set_title(f"{len(trials)} trials{', dotted: pruned' if pruned else ''}", fontsize=9)
    figure.colorbar(ScalarMappable(norm, colors), ax=axes, label=metric, fraction=0.04)


def _scaled(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights from 0 to 1, and where the axis has which words: numbers by size, anything else side by side."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = np.asarray(values, dtype="float64")
        low, high = float(numbers.min()), float(numbers.max())
        log = low > 0 and high / low > LOG_ABOVE
        scale, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
        bottom, top = float(scale(low)), float(scale(high))
        span = (top - bottom) or 1.0
        heights = ((scale(numbers) - bottom) / span).tolist()
        ticks = [low] if low == high else [float(back(bottom + part * span)) for part in (0, 0.25, 0.5, 0.75, 1)]
        return heights, [((float(scale(tick)) - bottom) / span, f"{tick:.3g}") for tick in ticks]
    words = list(dict.fromkeys(str(value) for value in values))
    places = {word: place / max(1, len(words) - 1) for place, word in enumerate(words)}
    shown = words[:: max(1, math.ceil(len(words) / MOST_LABELS))]
    return [places[str(value)] for value in values], [(places[word], word[:LABEL_CHARACTERS]) for word in shown]


def _importance(trials: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str) -> dict[str, float]:
    """Parameter -> its share of the score's variance by Optuna (fANOVA); none for one parameter or few trials."""
    if len(names) < 2 or len(trials) < ENOUGH_TRIALS or len({trial["score"] for trial in trials}) < 2:
        return {}
    if any(name not in trial["params"] for trial in trials for name in names):
        return {}
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {name: _space([trial["params"][name] for trial in trials]) for name in names}
    study = optuna.create_study(direction=METRICS[metric].direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # choices that are lists
        for trial in trials:
            params = {name: _plain(trial["params"][name], space) for name, space in spaces.items()}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=spaces, value=float(trial["score"])))
        return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)))


def _space(values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric and min(values) < max(values):
        low, high = float(min(values)), float(max(values))
        return FloatDistribution(low, high, log=low > 0 and high / low > LOG_ABOVE)
    return CategoricalDistribution(list(dict.fromkeys(str(value) for value in values)))


def _plain(value: Any, space: Any) -> Any:
    return str(value) if hasattr(space, "choices") else float(value)


def _plot_importance(axes: Axes, importance: Mapping[str, float]) -> None:
    ranked = sorted(importance.items(), key=lambda item: item[1])
    bars = axes.barh([name for name, _ in ranked], [share for _, share in ranked], color="#31688e")
    axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
    axes.set_xlim(0, 1.15 * max(importance.values()))
    axes.set_title("importance", fontsize=9)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
