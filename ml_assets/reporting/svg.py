"""Plots as inline SVG: coloured by the page's own style, so that they are readable in light and dark, on any screen.

A plot is as wide as a phone and is scaled up from there. Colours and dashes are classes of templates/report.css.
Every text that comes from data is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 44
ROW, LABELS = 22, 150  # height of a row, and width of the labels left of rows
LONGEST = 24  # characters of a label
Point = Sequence[float]
Upright = tuple[str, float, str]  # a line from bottom to top: class, place, what it is


@dataclass(frozen=True)
class Plot:
    """A plot of a report.

    Args:
        title: Heading above it.
        svg: Its markup.
        reading: How to read it, in a sentence or two.
        legend: (class of the line, what it shows).
    """

    title: str
    svg: Markup
    reading: str
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Args:
        style: Class that colours them: version, champion, baseline, limit.
        points: x and y; those that are not finite are left out.
        name: For the legend; without a name it is not in it.
        mark: line, dots or steps.
    """

    style: str
    points: Sequence[Point]
    name: str = ""
    mark: str = "line"


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and its ends where they are not those of the data."""

    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a plot of rows.

    Args:
        label: What it is.
        value: Where its mark is.
        low: Lower end of its interval; None where it has none.
        high: Upper end.
        style: Class that colours it.
        others: (class, value) of further marks.
        limit: Where its own limit is; None where it has none.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    style: str = "version"
    others: Sequence[tuple[str, float]] = ()
    limit: float | None = None


def lines(
    title: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    reading: str,
    verticals: Sequence[Upright] = (),
) -> Plot:
    """Curves over an axis.

    Args:
        title: Heading above it.
        x: The axis across.
        y: The axis up.
        series: The curves; later ones are drawn over earlier ones.
        reading: How to read it.
        verticals: Lines from bottom to top.
    """
    points = [point for one in series for point in one.points if all(map(math.isfinite, point))]
    xs, ys = [p[0] for p in points] + [at for _, at, _ in verticals], [p[1] for p in points]
    canvas = _Canvas(_ends(xs, x), _ends(ys, y))
    canvas.grid(x.label, y.label)
    for style, at, _ in verticals:
        canvas.line(style, [(at, canvas.y_ends[0]), (at, canvas.y_ends[1])])
    for one in series:
        {"line": canvas.line, "dots": canvas.dots, "steps": canvas.steps}[one.mark](one.style, one.points)
    legend = [(one.style, one.name) for one in series if one.name]
    legend += [(style, name) for style, _, name in verticals if name]
    return Plot(title, canvas.markup(title), reading, legend)


def bars(title: str, x: Axis, y: Axis, edges: tuple[float, float], counts: Sequence[float], reading: str) -> Plot:
    """A histogram of bins of one width between two ends."""
    canvas = _Canvas(edges, (0.0, max([*counts, 1e-12]) * 1.05))
    canvas.grid(x.label, y.label)
    width = (edges[1] - edges[0]) / max(len(counts), 1)
    for place, count in enumerate(counts):
        canvas.box("version", edges[0] + place * width, edges[0] + (place + 0.92) * width, 0.0, count)
    return Plot(title, canvas.markup(title), reading)


def rows(
    title: str,
    x: Axis,
    shown: Sequence[Row],
    reading: str,
    verticals: Sequence[Upright] = (),
    legend: Sequence[tuple[str, str]] = (),
    as_bars: bool = False,
) -> Plot:
    """Values one below the other, each with its label; `as_bars` draws them from 0."""
    values = [v for row in shown for v in (row.value, row.low, row.high, row.limit, *(at for _, at in row.others))]
    values += [at for _, at, _ in verticals] + ([0.0] if as_bars else [])
    known = [value for value in values if value is not None and math.isfinite(value)]
    height = TOP + ROW * len(shown) + BOTTOM
    canvas = _Canvas(_ends(known, x), (len(shown), 0.0), left=LABELS, height=height)
    canvas.grid(x.label, "", rows=True)
    for style, at, _ in verticals:
        canvas.line(style, [(at, 0.0), (at, len(shown))])
    for place, row in enumerate(shown):
        canvas.label(row.label, place + 0.5)
        middle = place + 0.5
        if as_bars:
            canvas.box(row.style, 0.0, row.value, place + 0.2, place + 0.8)
        if row.low is not None and row.high is not None:
            canvas.line("interval" if as_bars else row.style, [(row.low, middle), (row.high, middle)], wide=not as_bars)
        for style, at in row.others:
            canvas.tick(style, at, middle)
        if row.limit is not None:
            canvas.line("limit", [(row.limit, place + 0.05), (row.limit, place + 0.95)], wide=True)
        if not as_bars:
            canvas.dots(row.style, [(row.value, middle)], radius=4.5)
    named = [*legend, *((style, name) for style, _, name in verticals if name)]
    return Plot(title, canvas.markup(title), reading, named)


@dataclass
class _Canvas:
    """Marks in data coordinates."""

    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    left: float = LEFT
    height: float = HEIGHT
    parts: list[Markup] = field(default_factory=list)

    def x(self, value: float) -> float:
        low, high = self.x_ends
        return self.left + (value - low) / (high - low) * (WIDTH - self.left - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_ends
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def add(self, element: str, **attributes: object) -> None:
        pairs = Markup(" ").join(
            Markup('{}="{}"').format(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items()
        )
        self.parts.append(Markup("<{} {}/>").format(Markup(element), pairs))  # noqa: S704 - an element of ours

    def text(self, words: str, x: float, y: float, anchor: str, turned: bool = False) -> None:
        turn = Markup(' transform="rotate(-90 {:.0f} {:.0f})"').format(x, y) if turned else ""
        self.parts.append(
            Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>').format(x, y, anchor, turn, words)
        )

    def grid(self, across: str, up: str, rows: bool = False) -> None:
        bottom = self.height - BOTTOM
        for value in _ticks(*self.x_ends):
            self.add("line", class_="grid", x1=_at(self.x(value)), x2=_at(self.x(value)), y1=TOP, y2=_at(bottom))
            self.text(_tick(value), self.x(value), bottom + 15, "middle")
        for value in () if rows else _ticks(*self.y_ends):
            self.add(
                "line", class_="grid", x1=self.left, x2=WIDTH - RIGHT, y1=_at(self.y(value)), y2=_at(self.y(value))
            )
            self.text(_tick(value), self.left - 6, self.y(value) + 4, "end")
        self.text(across, (self.left + WIDTH - RIGHT) / 2, self.height - 8, "middle")
        if up:
            self.text(up, 12, (TOP + bottom) / 2, "middle", turned=True)

    def line(self, style: str, points: Sequence[Point], wide: bool = False) -> None:
        there = [point for point in points if all(map(math.isfinite, point))]
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in there)
        self.add("polyline", class_=f"line {style}{' wide' if wide else ''}", points=path)

    def steps(self, style: str, points: Sequence[Point]) -> None:
        """A histogram's outline: each point is the left end of a bin and its height, the last one ends it."""
        path = [corner for (x, y), (end, _) in pairwise(points) for corner in ((x, y), (end, y))]
        self.line(style, path)

    def dots(self, style: str, points: Sequence[Point], radius: float = 2.2) -> None:
        for x, y in points:
            if math.isfinite(x) and math.isfinite(y):
                self.add("circle", class_=f"dot {style}", cx=_at(self.x(x)), cy=_at(self.y(y)), r=radius)

    def tick(self, style: str, x: float, y: float) -> None:
        """A short upright stroke in a row."""
        if math.isfinite(x):
            self.line(style, [(x, y - 0.32), (x, y + 0.32)], wide=True)

    def box(self, style: str, x0: float, x1: float, y0: float, y1: float) -> None:
        left, right = sorted((self.x(x0), self.x(x1)))
        top, bottom = sorted((self.y(y0), self.y(y1)))
        width, height = _at(right - left), _at(bottom - top)
        self.add("rect", class_=f"box {style}", x=_at(left), y=_at(top), width=width, height=height)

    def label(self, words: str, y: float) -> None:
        self.text(short(words), self.left - 8, self.y(y) + 4, "end")

    def markup(self, title: str) -> Markup:
        return Markup('<svg class="plot" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, self.height, title, Markup("").join(self.parts)
        )


def short(words: str) -> str:
    """A label that fits."""
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…"


def _ends(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    low = axis.low if axis.low is not None else min(values, default=0.0)
    high = axis.high if axis.high is not None else max(values, default=1.0)
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    margin = (high - low) * 0.03
    return (low if axis.low is not None else low - margin, high if axis.high is not None else high + margin)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends, about five."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:.4g}" if abs(value) > 1e-12 else "0"


def _at(place: float) -> str:
    return f"{place:.1f}"
