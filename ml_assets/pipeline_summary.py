"""One look at a pipeline: what is in the lake, how good the model is, what needs attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ml_assets.errors import LakeError
from ml_assets.graph.staleness.facts import read_facts
from ml_assets.lake.lake import Lake
from ml_assets.ml import selection
from ml_assets.tables import arrivals, candidates, data, drift, evaluations, performance, versions
from ml_assets.tables.decisions import Decision, newest, newest_of, pending
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.table import is_online

COUNTED = (data.RAW_DATA, data.VALIDATED_DATA, data.QUARANTINE, data.FEATURES, PREDICTIONS)
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
    found = Summary(
        pipeline,
        rows={table.name: lake.count(table.of(pipeline)) for table in COUNTED},
        batches=lake.batches(data.VALIDATED_DATA.of(pipeline)),
        seen=read_facts(lake, pipeline).batches(),
        champion=versions.alias(lake, pipeline, "champion"),
        quarantine=[{"reason": row["rule"], "rows": row["rows"]} for row in data.broken_rules(lake, pipeline)],
        drift=drift.verdicts(lake, pipeline),
    )
    tuned = list(candidates.newest(lake, pipeline).values())
    if tuned:
        ranked = selection.ranked(tuned, tuned[0]["metric"])
        found.candidates = [{name: row[name] for name in OF_CANDIDATE} for row in ranked]
    if found.champion:
        scores = evaluations.newest(lake, pipeline, [found.champion.version], ["test"]) if tuned else []
        found.test = next((row for row in scores if row["metric"] == tuned[0]["metric"]), None)
        live = [row for row in performance.verdicts(lake, pipeline, found.champion.version) if not row["seen"]]
        # By batch, days of real-time use last: of both, what was measured last.
        newest_of_kind = {is_online(row["batch"]): row for row in live}
        found.live = max(newest_of_kind.values(), key=lambda row: row["measured_at"], default=None)
    found.newest = newest_decision(lake, pipeline, found.champion)
    found.problems = _problems(lake, pipeline, found)
    return found


def newest_decision(lake: Lake, pipeline: str, champion: versions.ModelVersion | None) -> Decision | None:
    """The decision about the newest version; None where it is the champion, or where there is none."""
    known = versions.versions(lake, pipeline)
    if not known or (champion is not None and known[-1].version == champion.version):
        return None
    return newest_of(lake, pipeline, known[-1].version)


def _problems(lake: Lake, pipeline: str, found: Summary) -> list[str]:
    files = sorted(arrivals.known(lake, pipeline).values(), key=lambda file: file.path)
    bad = [file for file in files if file.status in ("refused", "unmatched")]
    problems = [f"{file.path} is {file.status}: {file.error}" for file in bad]
    missing = sorted(arrivals.ready_batches(files) - set(found.batches))
    problems += [f"batch {batch} has arrived but has no validated rows" for batch in missing]
    if found.candidates and found.champion is None:
        last = newest(lake, pipeline)
        problems += [f"no champion: version {last.version} was {last.decision}: {last.why}"] if last else []
    problems += [
        f"version {version} waits since {made.decided_at:%Y-%m-%d %H:%M} UTC "
        f"for `ml-assets approve {pipeline} {version}`, or reject"
        for version, made in pending(lake, pipeline).items()
    ]
    return problems
