"""A replay as one HTML report: what the loop gained, batch by batch, and what it cost."""

from __future__ import annotations

import math
from typing import Any

from ml_assets.lake.artifacts import Artifacts
from ml_assets.replay.result import ALWAYS, FROZEN, LOOP, Replay, ReplayedTraining
from ml_assets.reporting import html
from ml_assets.reporting.html import ReportTable, Tile
from ml_assets.reporting.plots import BLUE, GREEN, GREY, ORANGE, Figure, as_png, new_figure

NAMES = {LOOP: "the loop", FROZEN: "frozen first champion", ALWAYS: "training after every batch"}
COLOURS = {LOOP: BLUE, FROZEN: GREY, ALWAYS: ORANGE}


def write_report(replay: Replay, reports: Artifacts) -> tuple[str, str]:
    """Write the report and its table into the store of reports; returns where both are."""
    page, table = (f"{replay.spec.name}/replay/{name}" for name in ("index.html", "replay.csv"))
    with reports.put(table) as file:
        replay.write_csv(file)
    with reports.put(page) as file:
        html.write(file, report(replay))
    return reports.link(page), reports.link(table)


def report(replay: Replay) -> str:
    """The report's HTML."""
    spec = replay.spec
    return html.render(
        "replay.html",
        title=f"{spec.name}: a replay of {replay.later[0]} to {replay.later[-1]}",
        description=[spec.description] if spec.description else [],
        conclusions=conclusions(replay),
        numbers=_tiles(replay),
        scores_plot=_scores_plot(replay),
        scores=_scores(replay),
        cost_plot=_cost_plot(replay),
        trainings=_trainings(replay),
        method=_method(replay),
    )


def conclusions(replay: Replay) -> list[str]:
    """The results in sentences."""
    metric, compared = replay.spec.performance_metric, replay.compared()
    if not compared:
        return [f"No batch from {replay.later[0]} on has outcomes: nothing can be compared."]
    means = {arm: replay.mean(arm) for arm in (LOOP, FROZEN, ALWAYS)}
    counts = {arm: len(replay.trainings(arm)) for arm in (LOOP, ALWAYS)}
    gain = replay.metric.gain(means[LOOP], means[FROZEN])
    against = replay.metric.gain(means[LOOP], means[ALWAYS])
    better = sum(replay.gain(LOOP, batch) > 0 for batch in compared)
    trained = "once" if counts[LOOP] == 1 else f"{counts[LOOP]} times"
    return [
        f"Over {len(compared)} batches the loop's mean {metric} is {means[LOOP]:.4f}, "
        f"{_by(gain)} than the {means[FROZEN]:.4f} of the model frozen at the start; it is better on {better} of them.",
        f"It trained {trained}. Training after every batch trained {counts[ALWAYS]} times and has a mean of "
        f"{means[ALWAYS]:.4f}: the loop is {_by(against)}.",
    ]


def _by(gain: float) -> str:
    return "no different" if abs(gain) < 5e-5 else f"{abs(gain):.4f} {'better' if gain > 0 else 'worse'}"


def _tiles(replay: Replay) -> list[Tile]:
    metric = replay.spec.performance_metric
    tiles = [Tile(_number(replay.mean(arm)), f"mean {metric}: {NAMES[arm]}") for arm in (LOOP, FROZEN, ALWAYS)]
    for arm in (LOOP, ALWAYS):
        trainings = replay.trainings(arm)
        tiles.append(Tile(str(len(trainings)), f"trainings: {NAMES[arm]}", f"{_seconds(trainings):.0f} s"))
    return tiles


def _seconds(trainings: list[ReplayedTraining]) -> float:
    return sum(training.seconds for training in trainings)


def _scores_plot(replay: Replay) -> Figure:
    figure = new_figure(9, 4)
    axes = figure.subplots()
    places = range(len(replay.later))
    for arm in (FROZEN, ALWAYS, LOOP):
        scores = [replay.score(arm, batch) for batch in replay.later]
        values = [score.value if score else math.nan for score in scores]
        axes.plot(places, values, "o-", color=COLOURS[arm], label=NAMES[arm], linewidth=2 if arm == LOOP else 1.3)
        if arm == LOOP:
            ends = [[getattr(score, end) if score else math.nan for score in scores] for end in ("low", "high")]
            axes.fill_between(places, *ends, color=COLOURS[arm], alpha=0.15)
    _mark_trainings(axes, replay)
    axes.set_xticks(list(places), replay.later, rotation=45, ha="right")
    axes.set(ylabel=replay.spec.performance_metric)
    axes.legend(loc="best", fontsize=9)
    return Figure(
        "Score of each batch before any training on it",
        as_png(figure, 110),
        "The band is the loop's 95% confidence interval. Green lines mark trainings of the loop: solid where the new "
        "version was promoted, dotted where it was refused.",
    )


def _mark_trainings(axes: Any, replay: Replay) -> None:
    for training in replay.trainings(LOOP):
        style = "-" if training.decision == "promoted" else ":"
        axes.axvline(replay.later.index(training.batch) + 0.5, color=GREEN, linestyle=style, linewidth=1.5)


def _cost_plot(replay: Replay) -> Figure:
    figure = new_figure(9, 1.8)
    axes = figure.subplots()
    for place, arm in enumerate((ALWAYS, LOOP)):
        left = 0.0
        for training in replay.trainings(arm):
            axes.barh(place, training.seconds, left=left, color=COLOURS[arm], edgecolor="white")
            left += training.seconds
    axes.set_yticks([0, 1], [NAMES[ALWAYS], NAMES[LOOP]])
    axes.set(xlabel="seconds of training")
    return Figure(
        "Training time", as_png(figure, 110), "Each segment is one training; trainings take longer as data accumulate."
    )


def _scores(replay: Replay) -> ReportTable:
    head = ["batch", "rows", "frozen", "loop", "gain", "version", "every batch", "version", "training of the loop"]
    rows: list[list[str]] = []
    for row in replay.rows():
        versions = row["loop_version"], row["always_version"]
        gain = replay.gain(LOOP, row["batch"])
        trained = f"{row['trained_after']}: {row['why']}" if row["trained_after"] else ""
        rows.append(
            [
                row["batch"],
                "" if row["rows"] is None else f"{row['rows']:,}",
                _number(row[FROZEN]),
                _between(row, LOOP),
                "" if math.isnan(gain) else f"{gain:+.4f}",
                versions[0] or "",
                _number(row[ALWAYS]),
                versions[1] or "",
                trained,
            ]
        )
    means = [_number(replay.mean(arm)) for arm in (FROZEN, LOOP, ALWAYS)]
    gain = replay.metric.gain(replay.mean(LOOP), replay.mean(FROZEN))
    rows.append(["mean", "", means[0], means[1], _signed(gain), "", means[2], "", ""])
    return ReportTable(head, rows)


def _trainings(replay: Replay) -> ReportTable:
    rows = [
        [NAMES[arm], one.batch, one.trigger, one.version or "", one.decision, f"{one.seconds:.1f} s", one.why]
        for arm in (LOOP, ALWAYS)
        for one in replay.outcomes[arm].trainings
        if arm == LOOP or one.batch in replay.later
    ]
    return ReportTable(["rule", "after", "trigger", "version", "decision", "time", "why"], rows)


def _method(replay: Replay) -> list[str]:
    spec = replay.spec
    return [
        f"The first champion, {replay.frozen}, was trained on the batches {replay.first[0]} to {replay.first[-1]}. "
        "Each later batch was scored by the current champion before any training on it.",
        f"The loop is the pipeline as configured in its YAML (retrain.on: {_on(replay)}; cooldown_batches: "
        f"{spec.retrain.cooldown_batches}), run by its own sensors and jobs. Training after every batch is the same "
        "pipeline with new_batches: 1. Both apply the same gates to every version.",
        "Randomness is seeded: another replay gives the same scores.",
    ]


def _on(replay: Replay) -> str:
    given = [{one: None} if isinstance(one, str) else one.model_dump() for one in replay.spec.retrain.on]
    words = [key if value is None else f"{key}: {value}" for one in given for key, value in one.items()]
    return ", ".join(words) or "nothing"


def _between(row: dict[str, Any], arm: str) -> str:
    if row[arm] is None:
        return ""
    low, high = row[f"{arm}_low"], row[f"{arm}_high"]
    return _number(row[arm]) + ("" if low is None or math.isnan(low) else f" ({low:.4f} to {high:.4f})")


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.4f}"
