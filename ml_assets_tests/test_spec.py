"""The YAML's words: what is refused, and in which words."""

from __future__ import annotations

import copy
import datetime as dt
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from ml_assets import metrics
from ml_assets.spec import PipelineSpec
from ml_assets_tests.conftest import SPEC


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(spec: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = spec
        for part in parents:
            place = place[int(part)] if part.isdigit() else place[part]
        place[int(last) if last.isdigit() else last] = value

    return change


def _drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec.pop(key)


@pytest.mark.parametrize(
    ("change", "place", "text"),
    [
        (_set("targte", {}), "targte", "unknown key 'targte'; did you mean 'target'?"),
        (_set("columns.0.typ", "x"), "columns.0.typ", "unknown key 'typ'; did you mean 'type'?"),
        (_set("columns.0.type", "int"), "columns.0.type", "'int' is not a valid word; did you mean 'integer'?"),
        (_set("target.kind", "classification"), "target.kind", "'classification' is not a valid word"),
        (_set("tolerate.quarantined", 2), "tolerate.quarantined", "less than or equal to 1; found 2"),
        (_set("tuning.trials", 0), "tuning.trials", "greater than or equal to 1; found 0"),
        (_set("tuning.metric", "roc"), "", "tuning.metric: no binary metric 'roc'; did you mean 'roc_auc'?"),
        (_set("gates.metrics.auc", {"min": 1}), "", "gates.metrics.auc: no binary metric 'auc'"),
        (_set("key", ["lon"]), "", "key: no column 'lon'; did you mean 'loan'?"),
        (_set("gates.slices.by", ["regio"]), "", "gates.slices.by: no column 'regio'; did you mean 'region'?"),
        (_set("source.pattern", "loans.csv"), "source.pattern", "needs a group (?P<batch>...)"),
        (_set("columns.2.references", "region.name"), "", "no reference 'region'; did you mean 'regions'?"),
        (lambda spec: spec.update(key=[], key_batches=3), "", "key_batches needs a key"),
        (_set("expect", {"newest": {"column": "income", "max_age_days": 1}}), "", "it is a number"),
        (_set("source.pattern", "(?P<batch>"), "source.pattern", "not a regular expression"),
        (_set("columns.1.regex", "x"), "columns.1", "regex is for string columns; 'income' is a number"),
        (_set("columns.2.regex", "(?=a)b"), "columns.2", "not one that DuckDB knows (RE2): invalid perl operator"),
        (_set("columns.1.max", -1), "columns.1", "min 0 is greater than max -1"),
        (_set("columns.1.min", math.nan), "columns.1.min", "finite number; found nan"),
        (_set("tuning", {"seconds": math.inf}), "tuning.seconds", "finite number; found inf"),
        (_set("columns.1.name", "LOAN"), "", "column 'loan' is declared twice"),
        (_set("columns.1.name", "row_id"), "", "'row_id' has a name that ml_assets uses itself"),
        (_set("target.name", "income"), "", "target.name 'income' is also a column"),
        (_set("split", {"by": "random"}), "split", "validation + test must stay below 0.9; found 1 + 1"),
        (_set("split", {"by": "group", "validation": 0.2, "test": 0.2}), "split", "`group` names the column"),
        (_set("candidates.linear.params", {"C": 1}), "candidates.linear", "'C' is under params and under search"),
        (_set("candidates.tree.search.max_depth.low", 9), "candidates.tree.search.max_depth", "low must be below high"),
        (_set("candidates", {}), "candidates", "at least 1 item"),
        (_set("name", "Loans!"), "name", "found 'Loans!'"),
        (_drop("target"), "target", "the key 'target' is missing"),
        (_set("lookups.regions", {"key": ["region"], "sql": "x.sql"}), "", "'regions' names two tables"),
        (_set("source.path", ""), "source.path", "at least 1 character"),
        (_set("source.path", None), "source.path", "valid string; found null"),
        (_set("key", True), "key", "found true"),
        (_set("gates.slices.by", dt.date(2024, 1, 31)), "gates.slices.by", "found 2024-01-31"),
    ],
)
def test_wrong_yaml_is_refused(change: Callable[[dict[str, Any]], None], place: str, text: str) -> None:
    spec = copy.deepcopy(SPEC)
    change(spec)
    with pytest.raises(ValidationError) as caught:
        PipelineSpec.model_validate(spec)
    lines = {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}
    matching = [message for loc, message in lines.items() if loc.startswith(place)]
    assert any(text in message for message in matching), lines


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("retrain", {"on": ["decay", "drfit"]}, {"retrain.on.1": "'drfit' is not a valid word; did you mean 'drift'?"}),
        ("retrain", {"on": [{"new_batches": 0}]}, {"retrain.on.0.new_batches": "greater than or equal to 1; found 0"}),
        (
            "retrain",
            {"on": [{"new_batchs": 2}]},
            {"retrain.on.0.new_batchs": "did you mean 'new_batches'?", "retrain.on.0.new_batches": "is missing"},
        ),
        ("columns.2.allowed", ["A", ["B"]], {"columns.2.allowed.1": "string, integer, number or boolean; found [B]"}),
    ],
)
def test_what_may_be_several_things_is_refused_as_the_one_that_was_meant(
    key: str, value: Any, expected: dict[str, str]
) -> None:
    spec = copy.deepcopy(SPEC)
    _set(key, value)(spec)
    with pytest.raises(ValidationError) as caught:
        PipelineSpec.model_validate(spec)
    found = {".".join(map(str, line["loc"])): line["msg"] for line in caught.value.errors()}
    assert found.keys() == expected.keys()
    assert all(text in found[place] for place, text in expected.items()), found


def test_yaml_reads_on_as_true_and_so_do_we() -> None:
    spec = copy.deepcopy(SPEC)
    spec["retrain"] = {True: ["drift"]}
    assert PipelineSpec.model_validate(spec).retrain.on == ["drift"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"serving": {"shadow": ["newest"]}}, "neither challenger nor a version number"),
        ({"monitoring": {"performance": {"metric": "rmse"}}}, "monitoring.performance.metric: no binary metric 'rmse'"),
        ({"monitoring": {"columns": {"income": {"method": "wassersten"}}}}, "did you mean 'wasserstein'?"),
        ({"outcomes": {"path": "data/outcomes"}, "key": []}, "outcomes needs a key"),
        (
            {
                "outcomes": {"path": "data/outcomes"},
                "columns": [*SPEC["columns"], {"name": "received_at", "type": "timestamp", "outcome": True}],
            },
            "can be called 'received_at'",
        ),
        ({"retrain": {"cron": "daily"}}, "cron"),
        ({"alerts": {"on": ["drifted"]}}, "did you mean 'drift'?"),
    ],
)
def test_what_the_loop_cannot_do_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        PipelineSpec.model_validate({**copy.deepcopy(SPEC), **change})


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    from typing import get_args

    yield model
    for field in model.model_fields.values():
        waiting = [field.annotation]
        while waiting:
            kind = waiting.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _models(kind)
            waiting += get_args(kind)


def test_every_field_is_described() -> None:
    bare = [f"{m.__name__}.{n}" for m in _models(PipelineSpec) for n, f in m.model_fields.items() if not f.description]
    assert bare == []


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_the_yaml_accepts_the_metrics_of_the_kind(metric: str) -> None:
    attributes = copy.deepcopy(SPEC) | {"tuning": {"metric": metric}}
    if "binary" in metrics.METRICS[metric].kinds:
        assert PipelineSpec.model_validate(attributes).metric == metric
    else:
        with pytest.raises(ValidationError, match=f"no binary metric '{metric}'"):
            PipelineSpec.model_validate(attributes)
