"""A draft as defs.yaml and features.sql, with comments that say what was inferred from what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ml_assets import metrics
from ml_assets.scaffold.draft import Draft
from ml_assets.scaffold.suggest import Suggestion
from ml_assets.spec import OWN_COLUMNS

BOOSTING_SEARCH = {
    "learning_rate": {"low": 0.02, "high": 0.2, "log": True},
    "max_leaf_nodes": {"low": 4, "high": 31, "log": True},
}
LINEAR: dict[str, dict[str, Any]] = {
    "classes": {
        "estimator": "sklearn.linear_model.LogisticRegression",
        "params": {"max_iter": 1000},
        "search": {"C": {"low": 0.01, "high": 10, "log": True}},
    },
    "regression": {
        "estimator": "sklearn.linear_model.Ridge",
        "search": {"alpha": {"low": 0.1, "high": 100, "log": True}},
    },
}
# A tenth of the rows says when to stop; of fewer rows that is chance, and it must hold two rows of each class.
FEWEST_TO_STOP_EARLY = 2000
FEWEST_OF_A_CLASS_TO_STOP_EARLY = 50
MANY_ROWS = 100_000  # the search should stay a matter of a minute or two


def defs_yaml(made: Draft) -> str:
    """The text of defs.yaml."""
    target = made.target
    classes = f" # {_classes(target.classes)}" if target.classes else ""
    files = len(made.source.batches)
    seen = f"{made.rows:,} rows in {files} file{'s' if files > 1 else ''}"
    key = _flow(made.key) if made.key else ""
    lines = [
        f"# Written by `ml-assets init` from {seen}. A comment says what a line was inferred from.",
        "# Every key: docs/reference/yaml.md of ml_assets. Wrong ones are refused with file and line.",
        "type: ml_assets.MLPipeline",
        "",
        "attributes:",
        f"  name: {made.name}",
        "",
        "  source:",
        f"    path: {_scalar(made.path)}",
        f"    pattern: {_quoted(made.source.pattern)}   # {_batches(made.batches)}",
        *([f"    missing: {_flow(words)}   # {_missing(made)}"] if (words := made.read.missing_words) else []),
        "",
        "  # min and max: what was seen, plus half of its range on both sides, rounded outward to two digits. They and",
        "  # allowed are left out where those of the earlier rows would have refused later ones.",
        "  columns:",
        *(f"    {column_line(one, made.target_column, made.suspects, _keys(one, made))}" for one in made.columns),
        *(f"    # {name} is left out: {why}" for name, why in made.read.left_out.items()),
        "",
        *([f"  key: {key}   # complete and unique in each batch"] if key else []),
        *(f"  # key: {_flow(names)}   # unique in each batch as well; by chance?" for names in made.other_keys),
        *(["  rules:   # text that features.sql reads as numbers or dates"] if made.rules else []),
        *(f"    {name}: {_flow(sql)}" for name, sql in made.rules.items()),
        f"  tolerate: {_flow(_tolerate(made))}   # share of rows that may break a rule before a batch is refused",
        "",
        *([f"  # {target.note}"] if target.note else []),
        *(
            ["  # The pipeline does not load until target.sql is written; kind: binary, multiclass or regression."]
            * target.is_open
        ),
        f"  target: {_flow({'name': made.target_name, 'sql': target.sql, 'kind': target.kind})}{classes}",
        "  features: features.sql",
        f"  split: {_flow(made.split)}   # {made.split_reason}",
        "",
        "  candidates:",
        *_candidates(made),
        f"  tuning: {_flow({'metric': metrics.UNITLESS[target.kind], 'trials': 4, 'folds': 3, 'seconds': 30})}",
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
    suspects: Mapping[str, str] | None = None,
    keys: Mapping[str, Any] | None = None,
) -> str:
    """One line under `columns`, with what was seen as its comment; `keys` in place of its own."""
    keys = dict(keys or one.keys())
    remarks = [one.seen] if one.seen else []
    if one.name == target:
        keys["outcome"] = True
        remarks.append("the target: no feature can see it, and it may be missing in rows to be scored")
    if suspects and one.name in suspects:
        remarks.append(f"outcome: true? {suspects[one.name]}")
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
    """What you should decide, most important first."""
    found = []
    if made.target.is_open:
        found.append(
            f"target: write target.sql in defs.yaml, {made.target.note}; until then the pipeline does not load"
        )
    found += [
        f"outcome: is {name} known before the event? {why}. If not: outcome: true, and out of features.sql"
        for name, why in made.suspects.items()
    ]
    if made.target.note and not made.target.is_open:
        found.append(f"target: {made.target.note}")
    found += made.warnings
    if made.other_keys and not made.key:
        found.append(f"key: {' or '.join(map(_flow, made.other_keys))} is unique in each batch; by chance, or always?")
    if not made.key and not made.other_keys:
        found.append("key: no column or pair or triple is unique; rows that arrive twice are not noticed")
    found += _about_texts(made)
    for name, count in made.read.partial.items():
        found.append(f"columns: {count} of the files lack {name}, which is NULL there (tolerate.missing_columns)")
    for name, why in made.read.left_out.items():
        found.append(f"columns: {name!r} is left out of the YAML: {why}")
    if made.skipped:
        listed = "; ".join(f"{name} ({why})" for name, why in made.skipped.items())
        found.append(f"features: left out are {listed}")
    found.append(
        "tolerate: more than 2 % of rows beyond the limits seen so far, or a file without the target's column, "
        "reject a batch"
    )
    if made.target.kind == "binary":
        found.append("costs: what a false positive and a false negative cost; without costs the threshold is 0.5")
    found.append("gates: a model only has to beat guessing; raise the limits once you know what is good")
    return found


def _about_texts(made: Draft) -> list[str]:
    """Words for missing values, and text that is read as numbers or dates."""
    found = []
    if made.read.missing:
        found.append(
            f"source.missing: {_missing(made)} is read as missing; where it means something: missing: [] there"
        )
    for name, words in made.read.exempt.items():
        found.append(f"columns: {', '.join(map(repr, words))} in {name} is taken for a value, not for a missing one")
    for name, style in made.read.styles.items():
        if name in made.skipped:
            continue
        place = "target.sql" if name == made.target_column else "features.sql"
        line = f"{place}: {name} is text such as {style.example!r}, read as a {style.word}"
        if style.share < 1:
            line += f"; {1 - style.share:.1%} of it cannot be, such as {', '.join(map(repr, style.unread))}"
        if style.doubt:
            line += f"; {style.doubt.replace('{c}', name)} reads all of it as well: which is right?"
        found.append(line)
    return found


def _missing(made: Draft) -> str:
    """What was found of words for missing values: in which columns, how often."""
    counts: dict[str, list[str]] = {}
    for name, words in made.read.missing.items():
        for word, rows in words.items():
            counts.setdefault(word, []).append(f"{name} ({rows:,} rows)")
    return "; ".join(
        f"{word!r} in {', '.join(where[:4])}{f' and {len(where) - 4} more' if len(where) > 4 else ''}"
        for word, where in sorted(counts.items())
    )


def _keys(one: Suggestion, made: Draft) -> dict[str, Any]:
    """The keys of a column, with its own words for missing values where one of all words is a value here."""
    exempt = set(made.read.exempt.get(one.name, ())) & set(made.read.missing_words)
    own = [word for word in made.read.missing_words if word not in exempt]
    return {**one.keys(), **({"missing": own} if exempt else {})}


def _tolerate(made: Draft) -> dict[str, Any]:
    own = any(name.lower() in OWN_COLUMNS for name in made.read.left_out)
    found: dict[str, Any] = {"quarantined": 0.02}
    found |= {"missing_columns": "null"} if made.read.partial else {}
    return found | ({"new_columns": "ignore"} if own else {})


def _gates(made: Draft) -> dict[str, Any]:
    # Boosting fits a small training set by heart, so that the gap alone says little on the first day.
    if made.target.kind == "regression":
        limits, gap = {"r2": {"min": 0.0}}, 1.0
    elif made.target.kind == "binary":
        limits, gap = {"roc_auc": {"min": 0.55}}, 0.4
    else:
        limits, gap = {"balanced_accuracy": {"min": round(1.2 / max(len(made.target.classes or ()), 2), 2)}}, 0.7
    return {"metrics": limits, "overfit": {"max_gap": gap}, "champion": {"max_drop": 0.0, "confidence": 0.95}}


def _candidates(made: Draft) -> list[str]:
    kind = "regression" if made.target.kind == "regression" else "classes"
    estimator = "Regressor" if kind == "regression" else "Classifier"
    boosting = {
        "estimator": f"sklearn.ensemble.HistGradientBoosting{estimator}",
        "params": _boosting_params(made),
        "search": BOOSTING_SEARCH,
    }
    lines = []
    for name, candidate in {"boosting": boosting, "linear": LINEAR[kind]}.items():
        lines += [f"    {name}:", *(f"      {key}: {_flow(value)}" for key, value in candidate.items())]
    return lines


def _boosting_params(made: Draft) -> dict[str, Any]:
    """Few rounds where rows are few, else as many as a tenth of the rows, held out, says."""
    rarest = min((made.target.classes or {}).values(), default=made.rows)
    if made.rows < FEWEST_TO_STOP_EARLY or rarest < FEWEST_OF_A_CLASS_TO_STOP_EARLY:
        return {"max_iter": 80, "early_stopping": False}
    return {"max_iter": 300 if made.rows <= MANY_ROWS else 100, "early_stopping": True, "n_iter_no_change": 10}


def _classes(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{value} {count:,}" for value, count in list(counts.items())[:8])
    return f"  {listed}{', ...' if len(counts) > 8 else ''}"


def _batches(batches: list[str]) -> str:
    if len(batches) == 1:
        return f"one batch so far: {batches[0]}; a file whose name begins like it will be another"
    return f"{len(batches)} batches: {batches[0]} to {batches[-1]}, ordered by name"


def _plain(value: Any) -> Any:
    """The value with each text that reads like a template as a template that gives that text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return _literal(value) if isinstance(value, str) else value


def _literal(value: str) -> str:
    if "{{" not in value and "{%" not in value:
        return value
    text = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{{{{ '{text}' }}}}"


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(_plain(value), default_flow_style=True, sort_keys=False, width=100_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


_scalar = _flow


def _quoted(text: str) -> str:
    return "'" + _literal(text).replace("'", "''") + "'"
