"""What two versions lost, in batches and in the log: by DuckDB as by hand, on the rows that may count."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest

from ml_assets.lake.lake import Commit, Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables import experiments
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.prediction_log import FEEDBACK, PREDICTION_LOG
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets_tests.conftest import SPEC

A, B, ROWS = "1.0.0", "1.1.0", 400
AT = dt.datetime(2026, 1, 2, 9, 30)
COSTS = {"costs": {"false_positive": 1, "false_negative": 4}}
MULTICLASS = {
    "target": {
        "name": "late",
        "kind": "multiclass",
        "sql": "CASE WHEN late_days > 10 THEN '1' WHEN late_days <= 10 THEN '0' END",
    }
}
REGRESSION = {"target": {"name": "late", "kind": "regression", "sql": "late_days"}}


def spec(**changes: Any) -> PipelineSpec:
    return PipelineSpec.model_validate({**SPEC, "tuning": {}, "gates": {"serving": None}, **changes})


def scores(seed: int, rows: int = ROWS) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(0, 1, rows).round(6)


def days(rows: int = ROWS) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 30, rows).astype(float)


def write_batch(lake: Lake, batch: str, seen: bool | None = False, rows: int = ROWS) -> None:
    """A batch that both predicted; every tenth outcome is not known."""
    types = {"batch": "VARCHAR", "row_id": "BIGINT", "loan": "BIGINT", "income": "DOUBLE", "region": "VARCHAR"}
    types |= {"signed": "TIMESTAMP", "late_days": "DOUBLE"}
    found = [
        {"batch": batch, "row_id": n, "loan": n, "late_days": None if n % 10 == 0 else value}
        for n, value in enumerate(days(rows).tolist())
    ]
    predicted = [
        {"batch": batch, "row_id": n, "model_version": version, "role": role, "score": score, "seen": seen}
        | {"decision": str(int(score >= 0.5)), "threshold": 0.5}
        for version, role, seed in ((A, "champion", 1), (B, "challenger", 2))
        for n, score in enumerate(scores(seed, rows).tolist())
    ]
    predicted.pop()  # B has no prediction of the last row
    rows_of = lake.values(PREDICTIONS.types, predicted)
    puts = [VALIDATED_DATA.put("loans", lake.values(types, found), batch), PREDICTIONS.put("loans", rows_of, batch)]
    lake.replace(puts, Commit("loans/predictions", batch=batch))


def losses(seed: int, of: PipelineSpec, rows: int = ROWS) -> np.ndarray[Any, Any]:
    score, observed = scores(seed, rows), days(rows)
    if of.target.kind == "regression":
        return np.abs(score - observed)
    label, decision = (observed > 10).astype(int), (score >= 0.5).astype(int)
    if of.costs:
        return np.where(decision == label, 0, np.where(label == 0, of.costs.false_positive, of.costs.false_negative))
    if of.target.kind == "multiclass":
        return (decision != label).astype(float)
    return -np.log(np.where(label == 1, score, 1 - score))


@pytest.mark.parametrize("changes", [{}, COSTS, MULTICLASS, REGRESSION])
def test_losses_in_batches(lake: Lake, changes: dict[str, Any]) -> None:
    write_batch(lake, "5")
    write_batch(lake, "4", seen=True)
    write_batch(lake, "3", seen=None)  # nobody knows
    found = experiments.in_batches(lake, spec(**changes), A, B)
    counted = np.array([n for n in range(ROWS - 1) if n % 10])
    first, second = (losses(seed, spec(**changes))[counted] for seed in (1, 2))
    assert found.rows == (len(counted), len(counted))
    assert found.losses == pytest.approx((first.mean(), second.mean()))
    assert found.effect is not None
    assert found.effect.mean == pytest.approx((first - second).mean())
    assert found.effect.variance == pytest.approx((first - second).var())
    assert found.left_out == 2 * len(counted)


def test_the_log_loss_of_a_certain_mistake_is_finite(lake: Lake) -> None:
    sql = experiments.loss_sql(spec())
    (row,) = lake.rows(f"SELECT {sql} AS loss FROM (SELECT 1 AS label, 0.0 AS score)")
    assert row["loss"] == pytest.approx(-np.log(np.finfo("float64").eps))


def logged(number: int, version: str, score: float, role: str = "champion", **changes: Any) -> dict[str, Any]:
    asked = {"loan": number, "income": 1.0, "region": "A", "signed": "2026-01-01T00:00:00Z"}
    return {
        "hour": "2026-01-02T09",
        "request_id": f"r{number}",
        "row_number": 0,
        "received_at": AT,
        "model_version": version,
        "role": role,
        "request": json.dumps(asked),
        "features": "{}",
        "score": score,
        "decision": str(int(score >= 0.5)),
        **changes,
    }


def write_log(lake: Lake, rows: list[dict[str, Any]]) -> None:
    """Logged rows, and feedback on all but every tenth."""
    numbers = sorted({int(row["request_id"][1:]) for row in rows})
    feedback = [
        {"hour": "2026-01-02T10", "feedback_id": f"f{n}", "received_at": AT, "request_id": f"r{n}"}
        | {"outcomes": json.dumps({"late_days": days()[n]})}
        for n in numbers
        if n % 10
    ]
    tables = [PREDICTION_LOG.rows("loans", rows), FEEDBACK.rows("loans", feedback)]
    lake.append(tables, Commit("loans/prediction_log"))


def test_keys_that_were_divided_are_two_samples(lake: Lake) -> None:
    first, second = scores(1), scores(2)
    rows = [logged(n, A, first[n]) if n % 4 else logged(n, B, second[n], "challenger") for n in range(ROWS)]
    rows += [dict(rows[5])]  # a client that repeats its request
    before = {"hour": "2026-01-01T09", "request_id": "r1"}  # A alone answered in this hour
    write_log(lake, [*rows, logged(1, A, 0.999, **before, row_number=7)])
    shadow, found = experiments.in_log(lake, spec(), A, B)
    assert shadow.rows == (0, 0)
    known = [n for n in range(ROWS) if n % 10]
    one = losses(1, spec())[[n for n in known if n % 4]]
    other = losses(2, spec())[[n for n in known if not n % 4]]
    assert found.rows == (len(one), len(other))
    assert found.losses == pytest.approx((one.mean(), other.mean()))
    assert found.effect is not None
    assert found.effect.variance / found.effect.rows == pytest.approx(one.var() / len(one) + other.var() / len(other))


def test_shadows_are_paired(lake: Lake) -> None:
    first, second = scores(1), scores(2)
    rows = [logged(n, A, first[n]) for n in range(ROWS)] + [logged(n, B, second[n], "shadow") for n in range(ROWS)]
    write_log(lake, rows)
    found, routes = experiments.in_log(lake, spec(**COSTS), A, B)
    known = [n for n in range(ROWS) if n % 10]
    one, other = (losses(seed, spec(**COSTS))[known] for seed in (1, 2))
    assert found.rows == (len(known), len(known))
    assert found.effect is not None
    assert found.effect.mean == pytest.approx((one - other).mean())
    assert routes.effect is None  # a shadow answers nobody


@pytest.mark.parametrize("named", ["by the request", "in the row"])
def test_rows_of_one_key_count_as_one(lake: Lake, named: str) -> None:
    """Every key asked four times: else its rows would be taken for so many observations."""
    first, second = scores(1), scores(2)
    rows = []
    for n in range(ROWS):
        customer = n // 4
        row = logged(n, A, first[n]) if customer % 2 else logged(n, B, second[n], "challenger")
        if named == "by the request":
            row["key"] = f"c{customer}"
        else:
            row["request"] = json.dumps({**json.loads(row["request"]), "loan": customer})
        rows.append(row)
    write_log(lake, rows)
    found = experiments.in_log(lake, spec(), A, B)[1]
    assert found.rows == (ROWS // 8, ROWS // 8)


def test_a_lake_without_predictions_and_log_says_nothing(lake: Lake) -> None:
    found = experiments.evidence(lake, spec(), A, B)
    assert [(one.source, one.rows, one.effect) for one in found] == [
        ("batches", (0, 0), None),
        ("shadow", (0, 0), None),
        ("routes", (0, 0), None),
    ]
