"""Lakes as months of trainings and batches leave them, written with the tables' own functions and without any training.

What the pages, their pictures and their measurement show is written here: a champion, live scores, drift, files.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables import arrivals, drift, performance, versions
from ml_assets.tables.arrivals import Arrival
from ml_assets.tables.data import QUARANTINE, VALIDATED_DATA
from ml_assets.tables.decisions import DECISIONS, Gate
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.evaluations import EVALUATIONS, EvaluatedNumber
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.table import Table
from ml_assets.tables.versions import ALIAS_EVENTS, VERSIONS

ROW = {"batch": "VARCHAR", "row_id": "BIGINT", "source_file": "VARCHAR", "amount": "DOUBLE", "region": "VARCHAR"}
TEST = 0.7312


@dataclass(frozen=True)
class Story:
    """What has become of a pipeline.

    Args:
        name: The pipeline.
        batches: How many have arrived, a week apart.
        drifted: So many of the newest have drifted, and their live score has sunk.
        waits: Does a newer version wait for approval?
        rejected: Files that cannot be read.
    """

    name: str
    batches: int = 24
    drifted: int = 0
    waits: bool = False
    rejected: int = 0


def write(lake: Lake, story: Story, moment: dt.datetime | None = None) -> None:
    """Write all of a pipeline in one transaction, as of a moment; by default now.

    A file for each batch and table costs milliseconds; a transaction for each batch would cost a hundred times that.
    """
    moment = moment or versions.now()
    names = [f"{moment - dt.timedelta(weeks=n):%Y-%m-%d}" for n in range(story.batches, 0, -1)]
    dice = random.Random(story.name)
    made = [
        arrivals.put(lake, story.name, _files(story, names, moment)),
        *_rows(lake, story.name, names, dice),
        *_versions(lake, story, moment),
        *_monitored(lake, story, names, dice, moment),
    ]
    lake.replace(made, by(story.name, DECISIONS.name))
    assert drift.recent(lake, story.name, limit=1) or not names
    assert performance.recent(lake, story.name, limit=1) or not names


def by(story_name: str, asset: str) -> Commit:
    """Who writes."""
    return Commit(f"{story_name}/{asset}", f"run of {story_name}")


def _files(story: Story, names: Sequence[str], moment: dt.datetime) -> list[Arrival]:
    listed = [Arrival(f"/data/{story.name}_{name}.csv", name, "ab" * 32, 1_200_000, moment, moment) for name in names]
    why = "The file is not in UTF-8.\n  found: byte 0xe9 in line 120\n  next:  Save it as UTF-8."
    for n in range(story.rejected):
        path, batch = f"/data/{story.name}_late_{n}.csv", f"late {n}"
        listed.append(Arrival(path, batch, "cd" * 32, 980_000, moment, moment, "refused", why))
    return listed


def _rows(lake: Lake, name: str, names: Sequence[str], dice: random.Random) -> list[Put]:
    rows = [
        {"batch": batch, "row_id": n, "source_file": f"{name}_{batch}.csv", "amount": dice.random(), "region": "north"}
        for batch in names
        for n in range(3)
    ]
    broken = [{**row, "reasons": ["amount_is_positive: -3"]} for row in rows[-2:]]
    return [
        _put(VALIDATED_DATA, lake, name, rows, ROW, "batch"),
        _put(QUARANTINE, lake, name, broken, {**ROW, "reasons": "VARCHAR[]"}, "batch"),
    ]


def _put(
    table: Table,
    lake: Lake,
    name: str,
    rows: Sequence[dict[str, Any]],
    types: dict[str, str] | None = None,
    divided_by: str = "",
) -> Put:
    """Rows of all batches of a table; divided by batch, its files are those that a write for each batch leaves."""
    return table.put(name, lake.values(types or table.types, rows), append=True, divided_by=divided_by)


def _versions(lake: Lake, story: Story, moment: dt.datetime) -> list[Put]:
    waiting = [("1.1.0", "pending", 2)] if story.waits else []
    told: list[tuple[str, str, int]] = [("1.0.0", "promoted", 80), ("1.0.1", "promoted", 19), *waiting]
    gates = [Gate("metrics.roc_auc", "at least 0.6", TEST, True)]
    models, decided_rows, aliases, findings = [], [], [], list[dict[str, Any]]()
    for version, word, days in told:
        at = moment - dt.timedelta(days=days)
        why = "all 15 gates passed" if word == "promoted" else "all 15 gates passed; gates.approval is manual"
        models.append({**_model(story.name, version), "created_at": at})
        decided: dict[str, Any] = {
            "version": version,
            "decision": word,
            "why": why,
            "decided_by": f"sensor {story.name}_retrain",
        }
        decided |= {"decided_at": at, "gates": [gate.as_row() for gate in gates], "run_id": "r"}
        decided |= {"previous_champion": None if version == "1.0.0" else "1.0.0"}
        alias = {"alias": "champion" if word == "promoted" else "challenger", "version": version, "moved_at": at}
        alias |= {"moved_by": decided["decided_by"], "why": why, "run_id": "r"}
        decided_rows.append({**decided, "gates": json.dumps(decided["gates"])})
        aliases.append(alias)
        found = [
            EvaluatedNumber(scope, "roc_auc", TEST, 28_618, TEST - 0.008, TEST + 0.008) for scope in ("test", "train")
        ]
        findings += [{"version": version, "pin_id": "pin", "evaluated_at": at, **asdict(one)} for one in found]
    rows = {VERSIONS: models, DECISIONS: decided_rows, ALIAS_EVENTS: aliases, EVALUATIONS: findings}
    return [_put(table, lake, story.name, made) for table, made in rows.items()]


def _model(name: str, version: str) -> dict[str, Any]:
    return {
        "version": version,
        "candidate": "boosting",
        "pin_id": "pin",
        "snapshot_id": 1,
        "train_batches": [],
        "recipe": {"schema": "s", "method": "m"},
        "fingerprint": version,
        "validation_score": TEST,
        "threshold": 0.4,
        "bundle": f"{name}/{version}",
        "bundle_sha256": "x",
    }


def _monitored(lake: Lake, story: Story, names: Sequence[str], dice: random.Random, moment: dt.datetime) -> list[Put]:
    drifts, scores = [], []
    for n, batch in enumerate(names):
        has_drifted = n >= len(names) - story.drifted
        age = n - (len(names) - story.drifted) + 1 if has_drifted else 0
        share = 0.12 + 0.08 * math.sin(n / 3) + 0.04 * dice.random() + (0.36 + 0.05 * age if has_drifted else 0)
        value = TEST - 0.006 + 0.02 * (dice.random() - 0.5) - 0.018 * age
        has_decayed = value < TEST - 0.05
        version = "1.0.1" if n >= len(names) - 3 else "1.0.0"
        drifts.append(
            {
                "batch": batch,
                "model_version": version,
                "drifted": has_drifted,
                "share": share / 2,
                "weighted_share": share,
                "share_limit": 0.5,
                "why": f"{'Drift' if has_drifted else 'No drift'}: the 3 columns that moved carry {share:.0%} of the "
                "model's importance (limit 50%): income (31%) moved by 0.42 (limit 0.1), higher",
                "columns": [],
                "rows": 12_000,
                "reference_rows": 20_000,
            }
        )
        scores.append(
            {
                "batch": batch,
                "model_version": version,
                "role": "champion",
                "metric": "roc_auc",
                "value": value,
                "low": value - 0.011,
                "high": value + 0.011,
                "rows": 11_400,
                "test_score": TEST,
                "drop": TEST - value,
                "judged": True,
                "decayed": has_decayed,
                "seen": False,
                "why": f"{'Decayed' if has_decayed else 'Holds'}: roc_auc {value:.4f}, test score {TEST}. "
                f"Worse by {TEST - value:.3f}, the limit is 0.05.",
                "measured_at": moment - dt.timedelta(weeks=len(names) - n),
            }
        )
    return [
        _put(DRIFT, lake, story.name, drifts, divided_by="batch"),
        _put(PERFORMANCE, lake, story.name, scores, divided_by="batch"),
    ]
