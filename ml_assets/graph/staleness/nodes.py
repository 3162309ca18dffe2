"""A pipeline's assets as `staleness` sees them, read off Dagster's own specs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from ml_assets.graph import declare
from ml_assets.graph.staleness.states import Node

if TYPE_CHECKING:
    import dagster as dg

# Stage -> what makes its assets anew. Predictions and the reports on them record the champion of their time.
KINDS: Mapping[str, Literal["rebuilt", "trained", "frozen"]] = {
    "ingest": "rebuilt",
    "features": "rebuilt",
    "training": "trained",
    "release": "trained",
    "scoring": "frozen",
    "monitoring": "frozen",
}
# Of another kind than their stage. A file of outcomes is recorded once, whatever the code is later.
KINDS_OF_ASSETS: Mapping[str, Literal["frozen"]] = {"outcomes": "frozen"}


def nodes_of(specs: Iterable[dg.AssetSpec]) -> dict[str, Node]:
    """Key -> asset, of those that belong to a stage and are not about what servers log, which no code makes again."""
    found = {}
    for spec in specs:
        stage = (spec.group_name or "").removeprefix(f"{spec.key.path[0]}_")
        partitions = spec.partitions_def
        of_batches = getattr(partitions, "name", None) in (None, f"{spec.key.path[0]}_batches")
        if stage in KINDS and len(spec.key.path) == 2 and of_batches:
            looks_back = spec.metadata.get(declare.LOOKS_BACK, {})
            found[spec.key.to_user_string()] = Node(
                key=spec.key.to_user_string(),
                code_version=spec.code_version or "",
                upstream=tuple(sorted(dep.asset_key.to_user_string() for dep in spec.deps)),
                by_batch=partitions is not None,
                kind=KINDS_OF_ASSETS.get(spec.key.path[1], KINDS[stage]),
                looks_back=getattr(looks_back, "value", looks_back),
            )
    return found


def pipelines_of(defs: dg.Definitions) -> dict[str, dict[str, Node]]:
    """Pipeline -> its assets by key."""
    nodes = nodes_of(defs.resolve_all_asset_specs())
    names = sorted(node.pipeline for node in nodes.values() if node.asset_name == "arrivals")
    return {name: {key: node for key, node in nodes.items() if node.pipeline == name} for name in names}
