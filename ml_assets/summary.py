"""One look at a pipeline: what is in the lake, how good the model is, what needs a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ml_assets.errors import LakeError
from ml_assets.graph.release.promotion.decision import Decision, newest_of, pending
from ml_assets.graph.staleness.facts import read_facts
from ml_assets.lake.lake import Lake
from ml_assets.ml import selection
from ml_assets.tables import versions

OF_CANDIDATE = ("candidate", "metric", "selection_score", "validation_score", "cv_score", "trials", "seconds")


@dataclass
class Summary:
    """What there is to say about a pipeline.

    Args:
        rows: Noun -> rows in its table.
        batches: Batches with validated rows.
        seen: Every batch that has arrived or was tried, as `ml-assets status` counts them.
        quarantine: Reasons and rows, most first.
        candidates: Those of the newest training, the best first.
        champion: Version in charge, if there is one.
        test: Metric, value and interval of the champion on its test rows.
        live: Its newest live score: the row of `performance_report` that carries the verdict.
        newest: The decision about the newest version, where it is not the champion.
        drift: Per batch: verdict and share.
        problems: What a person must look at; empty when all is well.
    """

    pipeline: str
    rows: dict[str, int] = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    champion: versions.ModelVersion | None = None
    test: dict[str, Any] | None = None
    live: dict[str, Any] | None = None
    newest: Decision | None = None
    drift: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def summarize(lake: Lake, pipeline: str) -> Summary:
    """Read a pipeline's state from the lake; what data files that are lost hold is left out, and they are problems."""
    damaged = [str(file) for file in lake.damaged_files(pipeline)]
    try:
        found = _read(lake, pipeline)
    except LakeError:
        if not damaged:
            raise
        return Summary(pipeline, problems=[*damaged, "The summary is not complete: it reads one of these files."])
    found.problems = [*damaged, *found.problems]
    return found


def _read(lake: Lake, pipeline: str) -> Summary:
    asset_names = ("raw_data", "validated_data", "quarantine", "features", "predictions")
    found = Summary(
        pipeline,
        rows={asset_name: lake.count(f"{pipeline}.{asset_name}") for asset_name in asset_names},
        batches=lake.batches(f"{pipeline}.validated_data"),
        seen=read_facts(lake, pipeline).batches(),
        champion=versions.alias(lake, pipeline, "champion"),
    )
    found.quarantine = lake.rows_of(
        f"{pipeline}.quarantine",
        """SELECT split_part(reason, ': ', 1) AS reason, count(*) AS rows
        FROM (SELECT unnest(reasons) AS reason FROM {t}) GROUP BY 1 ORDER BY 2 DESC""",
    )
    found.candidates = lake.rows_of(
        f"{pipeline}.candidates",
        """SELECT * FROM {t}
        WHERE pin_id = (SELECT max_by(pin_id, finished_at) FROM {t})
        QUALIFY row_number() OVER (PARTITION BY candidate ORDER BY finished_at DESC) = 1
        ORDER BY candidate""",
    )
    if found.candidates:
        ranked = selection.ranked(found.candidates, found.candidates[0]["metric"])
        found.candidates = [{name: row[name] for name in OF_CANDIDATE} for row in ranked]
    if found.candidates and found.champion:
        scores = lake.rows_of(
            f"{pipeline}.evaluation_report",
            """SELECT metric, value, low, high, rows FROM {t}
            WHERE scope = 'test' AND version = $version AND metric = $metric ORDER BY evaluated_at DESC LIMIT 1""",
            {"version": found.champion.version, "metric": found.candidates[0]["metric"]},
        )
        found.test = scores[0] if scores else None
    if found.champion:
        live = lake.rows_of(
            f"{pipeline}.performance_report",
            """SELECT batch, metric, value, low, high, rows, promised, decayed, why FROM {t}
            WHERE judged AND NOT coalesce(seen, false) AND model_version = ? ORDER BY batch DESC LIMIT 1""",
            [found.champion.version],
        )
        found.live = live[0] if live else None
    found.newest = newest_decision(lake, pipeline, found.champion)
    found.drift = lake.rows_of(
        f"{pipeline}.drift_report",
        "SELECT batch, drifted, share, len(list_filter(columns, lambda c: c.drifted)) AS columns, model_version "
        "FROM {t} ORDER BY batch",
    )
    found.problems = _problems(lake, pipeline, found)
    return found


def newest_decision(lake: Lake, pipeline: str, champion: versions.ModelVersion | None) -> Decision | None:
    """The decision about the newest version; None where it is the champion, or where there is none."""
    known = versions.versions(lake, pipeline)
    if not known or (champion is not None and known[-1].version == champion.version):
        return None
    return newest_of(lake, pipeline, known[-1].version)


def _problems(lake: Lake, pipeline: str, found: Summary) -> list[str]:
    bad = lake.rows_of(
        f"{pipeline}.arrivals",
        "SELECT path, status, error FROM {t} WHERE status IN ('refused', 'unmatched') ORDER BY path",
    )
    problems = [f"{row['path']} is {row['status']}: {row['error']}" for row in bad]
    ready = lake.rows_of(f"{pipeline}.arrivals", "SELECT DISTINCT batch FROM {t} WHERE status = 'ready' ORDER BY 1")
    missing = sorted({row["batch"] for row in ready} - set(found.batches))
    problems += [f"batch {batch} has arrived but has no validated rows" for batch in missing]
    if found.candidates and found.champion is None:
        decisions = lake.rows_of(
            f"{pipeline}.champion", "SELECT version, decision, why FROM {t} ORDER BY decided_at DESC LIMIT 1"
        )
        problems += [f"no champion: version {row['version']} was {row['decision']}: {row['why']}" for row in decisions]
    problems += [
        f"version {version} waits since {made.decided_at:%Y-%m-%d %H:%M} UTC "
        f"for `ml-assets approve {pipeline} {version}`, or reject"
        for version, made in pending(lake, pipeline).items()
    ]
    return problems
