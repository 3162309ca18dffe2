"""The pipelines of a project and the batches of one, a row each, as lists show them."""

from __future__ import annotations

from typing import Any

from ml_assets import attention
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.project import find_project
from ml_assets.project import pipelines as declared
from ml_assets.tables import drift, evaluations, performance, predictions, versions
from ml_assets.tables import pipelines as materialized
from ml_assets.tables.data import QUARANTINE, RAW_DATA, VALIDATED_DATA

Row = dict[str, Any]
NOT_RUN = {"champion": None, "metric": None, "test_score": None, "live_score": None, "batches": 0, "newest_batch": None}


def pipelines(paths: Paths) -> list[Row]:
    """Every pipeline of the project and of its lake: pipeline, champion, metric, test_score, live_score (of its newest
    batch), batches, newest_batch, state."""
    project = find_project(paths.root)
    names = set(declared(project)) if project else set()
    with Lake.of(paths, read_only=True) as lake:
        there = set(materialized.names(lake)) if lake.catalog.exists() else set()
        return [
            _pipeline(lake, paths, name) if name in there else {"pipeline": name, **NOT_RUN, "state": "not run yet"}
            for name in sorted(names | there)
        ]


def _pipeline(lake: Lake, paths: Paths, name: str) -> Row:
    batches = lake.batches(RAW_DATA.of(name)) if lake.exists(RAW_DATA.of(name)) else []
    champion = versions.alias(lake, name, "champion")
    live = [row for row in performance.verdicts(lake, name, champion.version) if not row["seen"]] if champion else []
    live_score = live[-1] if live else None
    metric = live_score["metric"] if live_score else None
    test = evaluations.test_scores(lake, name, [champion.version]) if champion else {}
    needs = len(attention.needs(lake, name, paths))
    return {
        "pipeline": name,
        "champion": champion.version if champion else None,
        "metric": metric,
        "test_score": live_score["test_score"] if live_score else next(iter(test.values()), None),
        "live_score": live_score["value"] if live_score else None,
        "batches": len(batches),
        "newest_batch": batches[-1] if batches else None,
        "state": f"{needs} need{'s' if needs == 1 else ''} attention" if needs else "ok",
    }


def batches(lake: Lake, pipeline: str, limit: int) -> list[Row]:
    """The newest batches: batch, rows (as they came), quarantined, model_version (of the champion of that moment),
    drifted, live_score, state (refused, ingested or scored)."""
    names = lake.batches(RAW_DATA.of(pipeline))[::-1][:limit] if lake.exists(RAW_DATA.of(pipeline)) else []
    drifted = {row["batch"]: row["drifted"] for row in drift.verdicts(lake, pipeline)}
    live = {row["batch"]: row["value"] for row in performance.verdicts(lake, pipeline)}
    scored = {
        row["batch"]: row["model_version"]
        for row in predictions.means(lake, pipeline, names)
        if row["role"] == "champion"
    }
    found = []
    for name in names:
        rows, valid, held = (lake.count(table.of(pipeline), name) for table in (RAW_DATA, VALIDATED_DATA, QUARANTINE))
        found.append(
            {
                "batch": name,
                "rows": rows,
                "quarantined": held,
                "model_version": scored.get(name),
                "drifted": drifted.get(name),
                "live_score": live.get(name),
                "state": "refused" if not valid else "scored" if name in scored else "ingested",
            }
        )
    return found
