"""How columns are compared with a reference: which measure, from where on it is drift, and what came out."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

# Evidently's measures that grow with drift, by both of their names; every other one is a p-value.
DISTANCES = frozenset(
    {
        *("wasserstein", "jensenshannon", "psi", "kl_div", "hellinger", "ed"),
        *("Wasserstein distance (normed)", "Jensen-Shannon distance", "PSI", "Kullback-Leibler divergence"),
        *("Hellinger distance", "Energy-distance", "Percentile text content drift", "Absolute text content drift"),
    }
)
PRESENCE = "share of rows with a value"


@dataclass(frozen=True)
class Measure:
    """How one column is measured.

    Args:
        kind: number | category.
        method: Evidently's name.
        threshold: Where drift begins: from it on for a distance, below it for a p-value.
        is_set: The threshold stands in the YAML.
        ignored: The column has no say in the verdict.
    """

    kind: str
    method: str
    threshold: float
    is_set: bool = False
    ignored: bool = False


@dataclass(frozen=True)
class Measured:
    """What came out for one column.

    Args:
        measure: How it was measured in the end.
        score: Distance, or p-value.
        drifted: Has it moved?
        limit: Where drift begins: the measure's threshold, or more where so few rows show more by chance.
        rows: Rows of the batch's sample with a value.
        reference_rows: The same of the reference's sample.
        is_lost: Less than half of the values are there that usually are.
    """

    measure: Measure
    score: float
    drifted: bool
    limit: float
    rows: int
    reference_rows: int
    is_lost: bool = False


def beyond(method: str, score: float, threshold: float) -> bool:
    """Has a column drifted? A distance drifts from its threshold on, a p-value below it; no number is no drift."""
    return score >= threshold if method in DISTANCES else score < threshold


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Evidently's imports, measures and plots warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
