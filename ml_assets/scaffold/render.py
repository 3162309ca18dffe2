"""A draft as defs.yaml and features.sql, with comments that say what was inferred from what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ml_assets.scaffold.draft import Draft
from ml_assets.scaffold.suggest import Suggestion
from ml_assets.spec import OWN_COLUMNS

ESTIMATORS: dict[str, dict[str, dict[str, Any]]] = {
    "classes": {
        "boosting": {
            "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
            "params": {"max_iter": 80},
            "search": {
                "learning_rate": {"low": 0.03, "high": 0.3, "log": True},
                "max_leaf_nodes": {"low": 7, "high": 31},
            },
        },
        "linear": {
            "estimator": "sklearn.linear_model.LogisticRegression",
            "params": {"max_iter": 1000},
            "search": {"C": {"low": 0.01, "high": 10, "log": True}},
        },
    },
    "regression": {
        "boosting": {
            "estimator": "sklearn.ensemble.HistGradientBoostingRegressor",
            "params": {"max_iter": 80},
            "search": {
                "learning_rate": {"low": 0.03, "high": 0.3, "log": True},
                "max_leaf_nodes": {"low": 7, "high": 31},
            },
        },
        "linear": {
            "estimator": "sklearn.linear_model.Ridge",
            "search": {"alpha": {"low": 0.1, "high": 100, "log": True}},
        },
    },
}
METRIC = {"binary": "roc_auc", "multiclass": "balanced_accuracy", "regression": "r2"}


def defs_yaml(made: Draft) -> str:
    """The text of defs.yaml."""
    target = made.target
    classes = f" # {_classes(target.classes)}" if target.classes else ""
    files = len(made.source.batches)
    seen = f"{made.rows:,} rows in {files} file{'s' if files > 1 else ''}"
    key = _flow(made.key) if made.key else ""
    lines = [
        f"# Written by `ml-assets init` from {seen}. A comment says what a line was inferred from.",
        "# Every key is described in the docs of ml_assets (docs/yaml.md); wrong ones are refused with file and line.",
        "type: ml_assets.MLPipeline",
        "",
        "attributes:",
        f"  name: {made.name}",
        "",
        "  source:",
        f"    path: {_scalar(made.path)}",
        f"    pattern: {_quoted(made.source.pattern)}   # {_batches(made.batches)}",
        "",
        "  # min and max: what was seen, plus half of its range on both sides, rounded outward to two digits.",
        "  columns:",
        *(f"    {column_line(one, made.target_column, made.giveaways)}" for one in made.columns),
        *(f"    # {name} is left out: {why}" for name, why in made.read.left_out.items()),
        "",
        *([f"  key: {key}   # complete and unique in each batch"] if key else []),
        *(f"  # key: {_flow(names)}   # unique in each batch as well; by chance?" for names in made.other_keys),
        f"  tolerate: {_flow(_tolerate(made))}   # share of rows that may break a rule before a batch is refused",
        "",
        *([f"  # {target.note}"] if target.note else []),
        f"  target: {_flow({'name': made.target_name, 'sql': target.sql, 'kind': target.kind})}{classes}",
        "  features: features.sql",
        f"  split: {_flow(made.split)}   # {made.split_reason}",
        "",
        "  candidates:",
        *_candidates(target.kind),
        f"  tuning: {_flow({'metric': METRIC[target.kind], 'trials': 4, 'folds': 3, 'seconds': 30})}",
        *(
            ["  # costs: {false_positive: 1, false_negative: 1}   # moves the threshold from 0.5"]
            * (target.kind == "binary")
        ),
        "",
        "  gates:   # lenient: a model must be better than guessing, and no worse than the champion",
        *(f"    {name}: {_flow(limits)}" for name, limits in _gates(made).items()),
    ]
    return _lines(lines)


def column_line(
    one: Suggestion,
    target: str | None = None,
    giveaways: Mapping[str, str] | None = None,
    keys: Mapping[str, Any] | None = None,
) -> str:
    """One line under `columns`, with what was seen as its comment; `keys` in place of its own."""
    keys = dict(keys or one.keys())
    remarks = [one.seen] if one.seen else []
    if one.name == target:
        keys["outcome"] = True
        remarks.append("the target: no feature can see it, and it may be missing in rows to be scored")
    if giveaways and one.name in giveaways:
        remarks.append(f"outcome: true? {giveaways[one.name]}")
    comment = f"   # {'; '.join(remarks)}" if remarks else ""
    return f"- {_flow(keys)}{comment}"


def features_sql(made: Draft) -> str:
    """The text of features.sql."""
    lines = [
        f"-- What is known before {made.target_column!r} is: one row per row of `batch`, which has no outcome columns.",
        "SELECT",
        "    b.row_id,",
    ]
    for number, feature in enumerate(made.features):
        same = feature.sql == f"b.{feature.name}"
        comma = "," if number + 1 < len(made.features) else ""
        remark = f"   -- {feature.remark}" if feature.remark else ""
        lines.append(f"    {feature.sql if same else f'{feature.sql} AS {feature.name}'}{comma}{remark}")
    lines += [f"    -- {name} is left out: {why}" for name, why in made.skipped.items()]
    return _lines([*lines, "FROM batch b"])


def _lines(lines: list[str]) -> str:
    """Text of one line each; a name or value with a line break must not end its comment."""
    return "\n".join(" ".join(line.splitlines()) for line in lines) + "\n"


def decisions(made: Draft) -> list[str]:
    """What a person should decide, most important first."""
    found = [
        f"outcome: is {name} known before the event? {why}. If not: outcome: true, and out of features.sql"
        for name, why in made.giveaways.items()
    ]
    if made.target.note:
        found.append(f"target: {made.target.note}")
    found += made.warnings
    if made.other_keys and not made.key:
        found.append(f"key: {' or '.join(map(_flow, made.other_keys))} is unique in each batch; by chance, or always?")
    if not made.key and not made.other_keys:
        found.append("key: no column or pair or triple is unique; rows that arrive twice are not noticed")
    for name, share in made.read.almost.items():
        found.append(f"columns: {name} is text, though {share:.0%} of its values are numbers")
    found.append(
        "tolerate: more than 2 % of rows beyond the limits seen so far, or a file without the target's column, "
        "refuse a batch"
    )
    if made.target.kind == "binary":
        found.append("costs: what a false positive and a false negative cost; without costs the threshold is 0.5")
    found.append("gates: they only ask to beat guessing; raise them once you know what is good")
    return found


def _tolerate(made: Draft) -> dict[str, Any]:
    own = any(name.lower() in OWN_COLUMNS for name in made.read.left_out)
    return {"quarantined": 0.02, **({"new_columns": "ignore"} if own else {})}


def _gates(made: Draft) -> dict[str, Any]:
    # Boosting fits a small training set by heart, so that the gap alone says little on the first day.
    if made.target.kind == "regression":
        limits, gap = {"r2": {"min": 0.0}}, 1.0
    elif made.target.kind == "binary":
        limits, gap = {"roc_auc": {"min": 0.55}}, 0.4
    else:
        limits, gap = {"balanced_accuracy": {"min": round(1.2 / max(len(made.target.classes or ()), 2), 2)}}, 0.7
    return {"metrics": limits, "overfit": {"max_gap": gap}, "champion": {"max_drop": 0.0, "confidence": 0.95}}


def _candidates(kind: str) -> list[str]:
    lines = []
    for name, candidate in ESTIMATORS["regression" if kind == "regression" else "classes"].items():
        lines += [f"    {name}:", *(f"      {key}: {_flow(value)}" for key, value in candidate.items())]
    return lines


def _classes(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{value} {count:,}" for value, count in list(counts.items())[:8])
    return f"  {listed}{', ...' if len(counts) > 8 else ''}"


def _batches(batches: list[str]) -> str:
    if len(batches) == 1:
        return f"one batch so far: {batches[0]}; a file whose name begins like it will be another"
    return f"{len(batches)} batches: {batches[0]} to {batches[-1]}, ordered by name"


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=100_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


_scalar = _flow


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
