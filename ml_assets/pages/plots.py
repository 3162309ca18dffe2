"""Small plots as SVG, in the colours of the page; a text beside each says the same to who cannot see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from ml_assets.pages.overview import Point

Height = Callable[[float | None], float]
WIDTH, HEIGHT, MARGIN = 260.0, 56.0, 6.0


def sparkline(
    points: Sequence[Point],
    what: str,
    limit: float | None = None,
    reference: float | None = None,
    bad: str = "decayed",
    percent: bool = False,
    start: float | None = None,
) -> Markup:
    """Values of batches as a line; a bad one is a cross, others have no mark but the last.

    Args:
        points: Batches in order.
        what: What is plotted, for the description.
        limit: A dashed line.
        reference: A dotted line, such as the test score.
        bad: What a bad point is called.
        percent: Are the values shares?
        start: The least value of the axis, where that is fixed.
    """
    there = [point for point in points if point.value is not None]
    if not there:
        return Markup('<p class="none">no {} yet</p>').format(what)
    values = [value for p in there for value in (p.value, p.low, p.high) if value is not None]
    values += [value for value in (limit, reference, start) if value is not None]
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or abs(high) * 0.02 or 1.0
    low, high = (low if start is not None else low - pad), high + pad

    def x(n: int) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * (n / (len(there) - 1) if len(there) > 1 else 1.0)

    def y(value: float | None) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * ((value or 0.0) - low) / (high - low)

    parts = [_lines(y, limit, reference), _band(there, x, y)]
    line = " ".join(f"{x(n):.1f},{y(p.value):.1f}" for n, p in enumerate(there))
    parts.append(Markup('<polyline class="line" points="{}"/>').format(line))
    for n, point in enumerate(there):
        is_last = n == len(there) - 1
        if point.is_bad:
            parts.append(_cross(x(n), y(point.value)))
        elif is_last:
            parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.2"/>').format(x(n), y(point.value)))
    text = _described(there, what, limit, reference, bad, percent)
    box = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"
    return Markup('<svg class="spark" viewBox="{}" role="img" aria-label="{}">{}</svg>').format(
        box, text, Markup("").join(parts)
    )


def _lines(y: Height, limit: float | None, reference: float | None) -> Markup:
    parts = []
    for css, value in (("reference", reference), ("limit", limit)):
        if value is not None:
            height = y(value)
            parts.append(
                Markup('<line class="{}" x1="0" x2="{:.0f}" y1="{:.1f}" y2="{:.1f}"/>').format(
                    css, WIDTH, height, height
                )
            )
    return Markup("").join(parts)


def _band(points: Sequence[Point], x: Callable[[int], float], y: Height) -> Markup:
    """The 95% intervals."""
    known = [(n, p) for n, p in enumerate(points) if p.low is not None and p.high is not None]
    if not known:
        return Markup("")
    if len(known) == 1:
        n, p = known[0]
        return Markup('<line class="whisker" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>').format(
            x(n),
            y(p.low),
            y(p.high),
        )
    upper = [f"{x(n):.1f},{y(p.high):.1f}" for n, p in known]
    lower = [f"{x(n):.1f},{y(p.low):.1f}" for n, p in reversed(known)]
    return Markup('<polygon class="band" points="{}"/>').format(" ".join(upper + lower))


def _cross(x: float, y: float) -> Markup:
    path = f"M{x - 3.4:.1f} {y - 3.4:.1f}l6.8 6.8m0 -6.8l-6.8 6.8"
    return Markup('<path class="cross" d="{}"/>').format(path)


def _described(
    points: Sequence[Point], what: str, limit: float | None, reference: float | None, bad: str, percent: bool
) -> str:
    def shown(value: float | None) -> str:
        return "none" if value is None else f"{value:.0%}" if percent else f"{value:.4f}"

    values = [point.value for point in points if point.value is not None]
    many = f"{len(points)} batches, {points[0].batch} to {points[-1].batch}" if len(points) > 1 else points[0].batch
    text = f"{what} of {many}: from {shown(min(values))} to {shown(max(values))}, the last one {shown(values[-1])}"
    text += f"; limit {shown(limit)}" if limit is not None else ""
    text += f"; test score {shown(reference)}" if reference is not None else ""
    marked = [point.batch for point in points if point.is_bad]
    return text + (f"; {bad}: {', '.join(marked)}" if marked else "")
