"""What a model's decisions cost on test rows, and what they save."""

from __future__ import annotations

from ml_assets.metrics import weighted
from ml_assets.ml.costs import constant_costs, row_costs
from ml_assets.ml.judged import Array, Judged
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import EvaluatedNumber


def savings(spec: PipelineSpec, judged: Judged, champion: Judged | None) -> list[EvaluatedNumber]:
    """Cost of a version's decisions, and savings against the cheapest constant decision and the champion's decisions.

    Savings are paired: the same resamples of the same rows for both sides. Nothing without `costs`.
    """
    if spec.costs is None or spec.target.kind != "binary":
        return []
    own = row_costs(spec.costs, judged.labels, judged.decisions)
    alike = [constant_costs(spec.costs, judged.labels, decision) for decision in (0, 1)]
    cheapest = int(alike[1].sum() < alike[0].sum())
    constant = f'{("never", "always")[cheapest]} predicting "{spec.target.name}"'
    others = {"saved_over_baseline": (alike[cheapest] - own, constant)}
    if champion is not None:
        costs = row_costs(spec.costs, champion.labels, champion.decisions)
        shared = judged.beside(champion)
        own_there = row_costs(spec.costs, shared.labels, shared.decisions)
        others["saved_over_champion"] = (costs - own_there, f"the decisions of version {champion.version}")
    columns = {"cost": (own, None), **others}
    return [_total(scope, values, note, spec.tuning.seed) for scope, (values, note) in columns.items()]


def _total(scope: str, values: Array, note: str | None, seed: int) -> EvaluatedNumber:
    """An amount with its interval: the same seed draws the same resamples of the same rows."""
    resampled = weighted.bootstrap([weighted.total(values)], len(values), seed)
    return EvaluatedNumber(
        scope, "cost", float(values.sum()), len(values), *weighted.interval(resampled[:, 0]), note=note
    )
