"""What `GET /v1/NAME` says of a pipeline."""

from __future__ import annotations

from typing import Any

import msgspec

from ml_assets.server.registry import Pipeline
from ml_assets.server.scorer import Scorer


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """Versions, aliases, routes, schema, and of what its lookups are.

    Raises:
        Problem: Nothing is loaded yet.
    """
    versions = pipeline.need()
    champion = versions.champion
    tables = {
        f"{kind}/{name}": {"newest_batch": champion.facts.batch, "from": "release"}
        for kind, names in (("lookups", champion.facts.lookups), ("references", champion.facts.references))
        for name in names
    }
    tables |= {name: {**msgspec.to_builtins(found), "from": "lake"} for name, found in versions.lookups.items()}
    return {
        "pipeline": pipeline.name,
        "pinned": pipeline.reload is None,
        "aliases": {role: one.facts.version for role, one in versions.roles.items()},
        "routes": dict(pipeline.settings.routes),
        "shadows": [one.facts.version for one in versions.shadows],
        "versions": {number: _version(one) for number, one in sorted(versions.loaded.items())},
        "key": [name for name in pipeline.settings.key if name in champion.schema.columns],
        "constraints": {
            "broken": pipeline.settings.constraints or champion.facts.broken,
            "columns": champion.facts.constraints,
        },
        "lookups": tables,
        "schema": champion.json_schema(),
        "example": champion.golden.rows[0] if champion.golden.rows else None,
    }


def _version(scorer: Scorer) -> dict[str, Any]:
    schema = scorer.schema
    return {
        "kind": schema.kind,
        "target": schema.target,
        "threshold": schema.threshold,
        "classes": schema.classes or None,
        "features": list(schema.features),
        "engine": schema.engine,
        "batch": scorer.facts.batch,
    }
