"""Whether two versions differ, from losses that keep arriving: an interval that may be looked at as often as one likes.

The interval is an asymptotic confidence sequence for a mean: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
"Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52 (2024), equation (2)
with the tuning of its appendix B.2. With the chosen confidence it contains the true mean at all numbers of rows at
once, so looking after each batch and stopping at the first decision keeps the promise, which a fixed-sample interval
does not. It is asymptotic as the central limit theorem is: for rows that are independent of each other, and from some
hundred rows on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.95
TIGHTEST_AT = 10_000  # rows at which the interval is tightest; fixed beforehand, as looking at the data must not set it
MIN_ROWS = 100  # of each sample; with fewer nothing is decided
MAX_ROWS = 10**15

Verdict = Literal["better", "worse", "no difference that matters", "not yet decided"]


@dataclass(frozen=True)
class Sample:
    """What is known of a loss, or a difference of losses, over rows.

    Args:
        rows: How many.
        mean: Its mean.
        variance: Its variance.
    """

    rows: int
    mean: float
    variance: float


@dataclass(frozen=True)
class Effect:
    """How much less one version loses than another, as far as it is known.

    Args:
        rows: All rows that it was computed from.
        smaller: Rows of the smaller sample; all of them where they are paired.
        mean: Loss of the first minus loss of the second, a row; above 0 the second is better.
        variance: Of what each row adds to the estimate, so that its standard error is sqrt(variance / rows).
    """

    rows: int
    smaller: int
    mean: float
    variance: float


def paired(differences: Sample) -> Effect:
    """The effect where both versions predicted each row: from the differences of their losses."""
    return Effect(differences.rows, differences.rows, differences.mean, differences.variance)


def two_sample(first: Sample, second: Sample) -> Effect:
    """The effect where each row was predicted by one of the two, which its key decided.

    The variance is that of the influence function of a difference in means, so that the same sequence holds (the
    paper's section 3 on randomized experiments).
    """
    rows = first.rows + second.rows
    variance = rows * (first.variance / first.rows + second.variance / second.rows)
    return Effect(rows, min(first.rows, second.rows), first.mean - second.mean, variance)


def half_width(rows: int, variance: float, confidence: float = CONFIDENCE) -> float:
    """Half of the width of the interval after this many rows."""
    alpha = 1 - confidence
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / TIGHTEST_AT
    grown = rows * rho2 + 1
    return math.sqrt(variance * 2 * grown / (rows**2 * rho2) * math.log(math.sqrt(grown) / alpha))


def interval(effect: Effect, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Between what the effect is."""
    width = half_width(effect.rows, effect.variance, confidence)
    return effect.mean - width, effect.mean + width


def verdict(effect: Effect, smallest: float | None = None) -> Verdict:
    """What can be said of the second version.

    Args:
        effect: The effect.
        smallest: The smallest effect that matters; an interval within it on both sides decides, too.
    """
    low, high = interval(effect)
    if effect.smaller < MIN_ROWS:
        return "not yet decided"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    if smallest is not None and -smallest < low <= high < smallest:
        return "no difference that matters"
    return "not yet decided"


def rows_until_decided(effect: Effect) -> int | None:
    """Rows, those that are there included, at which the present effect would be decided; None where it is 0."""
    return rows_for(abs(effect.mean), effect.variance) if effect.mean else None


def rows_for(width: float, variance: float) -> int | None:
    """Rows from which on half of the interval is narrower than a width; None where no experiment has so many."""
    low, high = 1, MAX_ROWS
    if half_width(high, variance) >= width:
        return None
    while low < high:  # it narrows with each row
        middle = (low + high) // 2
        low, high = (low, middle) if half_width(middle, variance) < width else (middle + 1, high)
    return max(low, MIN_ROWS)
