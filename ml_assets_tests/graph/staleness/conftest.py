"""States of a project's assets, short enough to compare."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

from ml_assets.graph.staleness.facts import PipelineFacts, read_facts
from ml_assets.graph.staleness.nodes import pipelines_of
from ml_assets.graph.staleness.states import AssetState, evaluate
from ml_assets.lake.lake import Lake
from ml_assets_tests.conftest import Project

TRAINING = (
    "training_set",
    "candidate_linear",
    "candidate_tree",
    "trained_model",
    "evaluation_report",
    "release_candidate",
    "champion",
)


def facts_of(project: Project) -> PipelineFacts:
    with Lake(project.paths.lake, read_only=True) as lake:
        return read_facts(lake, project.spec.name)


def verdicts_of(project: Project) -> list[AssetState]:
    return evaluate(pipelines_of(project.defs())[project.spec.name], facts_of(project))


def not_fresh(project: Project) -> dict[str, str]:
    """Noun -> `state batches` of what is not fresh; several states of a asset_name in one text."""
    return short(verdicts_of(project))


def short(verdicts: list[AssetState]) -> dict[str, str]:
    found: dict[str, dict[str, list[str]]] = {}
    for verdict in verdicts:
        if verdict.state not in ("fresh", "frozen"):
            found.setdefault(verdict.asset_name, {}).setdefault(verdict.state, []).append(verdict.batch or "")
    return {
        asset_name: "; ".join(f"{state} {' '.join(batches)}".strip() for state, batches in states.items())
        for asset_name, states in found.items()
    }


def variant(project: Project) -> Project:
    """The same folder and instance under a spec and SQL that a test may change."""
    folder = Path(tempfile.mkdtemp(prefix="variant-", dir=project.root.parent))
    return Project(project.root, project.instance, copy.deepcopy(project.spec_dict), dict(project.sql), folder)
