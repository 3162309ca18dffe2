"""What is known of a pipeline's model versions, gathered from the lake: a list, one in full, two compared."""

from __future__ import annotations

import json
from typing import Any

from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import data, evaluations, releases, training_sets, versions
from ml_assets.tables.decisions import decisions

Row = dict[str, Any]
OF_SCORE = ("scope", "metric", "value", "low", "high", "rows")


def overview(lake: Lake, pipeline: str) -> list[Row]:
    """One row for each version, newest first: version, created_at, candidate, metric, its validation and test score
    with interval, the newest decision, aliases, triggered_by.

    Raises:
        ModelError: No model of the pipeline is registered.
    """
    versions.check_pipeline(lake, pipeline)
    scores = _scores(lake, pipeline)
    decided = {made.version: made.decision for made in decisions(lake, pipeline)}
    aliases = _aliases(lake, pipeline)
    return [
        {
            **{name: record[name] for name in ("version", "created_at", "candidate", "validation_score")},
            **_tuned(scores.get(record["version"], [])),
            "decision": decided.get(record["version"]),
            "aliases": [alias for alias, version in aliases.items() if version == record["version"]],
            "triggered_by": record["triggered_by"],
        }
        for record in reversed(versions.records(lake, pipeline))
    ]


def _scores(lake: Lake, pipeline: str) -> dict[str, list[Row]]:
    """Version -> findings of its newest evaluation on whole parts: scope, metric, value, low, high, rows."""
    found: dict[str, list[Row]] = {}
    for row in evaluations.newest(lake, pipeline):
        if row["slice_by"] is None:
            found.setdefault(row["version"], []).append({name: row[name] for name in OF_SCORE})
    return found


def _tuned(scores: list[Row]) -> Row:
    """The metric that was tuned, and its test score with interval."""
    metric = next((row["metric"] for row in scores if row["scope"] == "train"), None)
    test = next((row for row in scores if row["scope"] == "test" and row["metric"] == metric), {})
    return {"metric": metric, "test_score": test.get("value"), "low": test.get("low"), "high": test.get("high")}


def _aliases(lake: Lake, pipeline: str) -> dict[str, str]:
    return {event["alias"]: event["version"] for event in versions.alias_events(lake, pipeline)}


def describe(lake: Lake, paths: Paths, pipeline: str, version: str) -> Row:
    """Everything that is known of a version.

    Returns:
        The columns of `trained_model`; and `training_set` (pin), `schema` and `files` (of the bundle), `scores`,
        `decisions` with their gates, `aliases`, `alias_events`, `release`, `read_training_set` (Python).

    Raises:
        ModelError: There is no such version.
    """
    versions.need_version(lake, pipeline, version)
    record = next(one for one in versions.records(lake, pipeline) if one["version"] == version)
    stores = paths.artifacts
    folder = stores.bundles.fetch(record["bundle"])
    pin = training_sets.newest(lake, pipeline, pin_id=record["pin_id"])
    released = releases.newest_row(lake, pipeline, version)
    moved = [event for event in versions.alias_events(lake, pipeline) if event["version"] == version]
    return {
        **record,
        "bundle": str(folder),
        training_sets.TRAINING_SETS.name: {**pin.__dict__},
        "schema": _json(folder / "schema.json"),
        "files": _json(folder / "manifest.json").get("files", {}),
        "scores": _scores(lake, pipeline).get(version, []),
        "decisions": [
            {**made.__dict__, "gates": [gate.as_row() for gate in made.gates]}
            for made in decisions(lake, pipeline)
            if made.version == version
        ],
        "aliases": [alias for alias, named in _aliases(lake, pipeline).items() if named == version],
        versions.ALIAS_EVENTS.name: moved,
        "release": {**released, "folder": stores.releases.link(released["folder"])} if released else None,
        "read_training_set": f'open_lake().table("{data.FEATURES.of(pipeline)}", snapshot="{version}")',
    }


def _json(file: Any) -> Row:
    """A JSON file of a bundle; empty where it is gone, which `ml-assets models promote` would refuse."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def differences(first: Row, second: Row) -> list[Row]:
    """What differs between two versions, from `describe`: section, what, and the values in both; None where absent."""
    before, after = _comparable(first), _comparable(second)
    names = list(dict.fromkeys([*before, *after]))
    order = {section: number for number, section in enumerate(dict.fromkeys(section for section, _ in names))}
    return [
        {"section": section, "what": what, "first": before.get((section, what)), "second": after.get((section, what))}
        for section, what in sorted(names, key=lambda name: order[name[0]])
        if before.get((section, what)) != after.get((section, what))
    ]


def _comparable(described: Row) -> dict[tuple[str, str], Any]:
    """(section, what) -> value."""
    pin, schema = described["training_set"], described["schema"]
    gates = described["decisions"][-1]["gates"] if described["decisions"] else []
    sections: dict[str, Row] = {
        "algorithm": {name: described[name] for name in ("candidate", "estimator", "threshold")},
        "parameters": described["params"],
        "features": pin["features"],
        "request": schema.get("columns", {}),
        "target": {"sql": pin["target"], "classes": schema.get("classes")},
        "training set": {
            **{f"{part} batches": ", ".join(batches) for part, batches in pin["batches"].items()},
            **{f"{part} rows": rows for part, rows in pin["rows"].items()},
            "split": pin["split"],
            "seed": pin["seed"],
            "snapshot": described["snapshot_id"],
        },
        "scores": {
            "validation": described["validation_score"],
            **{f"{row['scope']} {row['metric']}": row["value"] for row in described["scores"]},
        },
        "gates": {gate["gate"]: {"passed": gate["passed"], "found": gate["found"]} for gate in gates},
        "code": {
            "git commit": described["git_commit"],
            "code version": described["code_version"],
            **{name: digest[:12] for name, digest in described["files"].items() if name.endswith((".sql", ".py"))},
        },
    }
    return {(section, name): value for section, values in sections.items() for name, value in values.items()}
