"""What needs attention, each with the next step: the one list behind home page, alerts' digest and `ml-assets doctor`.

Belongs here: what of the lake's rows is still open. A need ends when its cause does: a decision, a later write, another
champion. Does not: who is notified (graph/alerting), how it is shown (pages/, cli/).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ml_assets.atomic import write_text
from ml_assets.dagster_records import heartbeat
from ml_assets.errors import MLAssetsError
from ml_assets.escaping import one_line, without_secrets
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses
from ml_assets.tables import alerts, arrivals, audit, decisions, drift, ingest_errors, performance, versions
from ml_assets.tables.arrivals import ARRIVALS, OUTCOME_FILES, Arrival

Kind = Literal[
    "broken", "daemon", "run_failure", "failed_batch", "rejected_file", "damaged_file", "pending", "decay", "drift",
    "skipped_file", "no_champion", "stale",
]  # fmt: skip
Severity = Literal["error", "warning"]
ERRORS: tuple[Kind, ...] = ("broken", "daemon", "run_failure", "failed_batch", "rejected_file", "damaged_file", "decay")
ORDER: tuple[Kind, ...] = (
    "daemon", "broken", "damaged_file", "run_failure", "failed_batch", "rejected_file", "decay", "pending", "drift",
    "no_champion", "skipped_file", "stale",
)  # fmt: skip
RUNS_FOR = dt.timedelta(days=7)  # a failed run that nobody has repeated by then is history
HEARTBEAT_S = 120  # Dagster's daemon writes one each half minute
NAMED = 3


@dataclass(frozen=True)
class Need:
    """One thing that needs attention.

    Args:
        pipeline: The pipeline; None: of the installation.
        kind: What it is.
        text: What has happened, in a sentence without its full stop.
        todo: The next step; commands in backticks.
        link: Address of the page about it (pages/addresses.py), or of a run.
        since: Since when, UTC; None where nobody knows.
        severity: error: something does not work. warning: somebody should look.
    """

    pipeline: str | None
    kind: Kind
    text: str
    todo: str
    link: str
    since: dt.datetime | None = None

    @property
    def severity(self) -> Severity:
        return "error" if self.kind in ERRORS else "warning"

    def as_row(self) -> dict[str, Any]:
        """As JSON: its fields and its severity."""
        return {**asdict(self), "severity": self.severity}


@dataclass(frozen=True)
class Stale:
    """Assets that are not fresh, and that no sensor will rebuild.

    Args:
        state: stale, missing or failed.
        assets: Their names.
        batches: Which, in words; empty where they have none.
        why: The reason.
        todo: What to do about it.
    """

    state: str
    assets: Sequence[str]
    batches: str
    why: str
    todo: str


@dataclass(frozen=True)
class SharedRows:
    """Rows of tables that others read too.

    Args:
        champion: The version in charge.
        made: Every decision, oldest first.
        drifted: Verdicts on drift of the newest batches.
        live: Their live scores that carry a verdict.
    """

    champion: str | None
    made: Sequence[decisions.Decision]
    drifted: Sequence[dict[str, Any]]
    live: Sequence[dict[str, Any]]

    @classmethod
    def read(cls, lake: Lake, pipeline: str) -> SharedRows:
        """Read them."""
        champion = versions.alias(lake, pipeline, "champion")
        return cls(
            champion.version if champion else None,
            decisions.decisions(lake, pipeline),
            drift.recent(lake, pipeline),
            performance.recent(lake, pipeline),
        )


def needs(lake: Lake, pipeline: str, paths: Paths | None = None, rows: SharedRows | None = None) -> list[Need]:
    """What of a pipeline needs attention, the most urgent first.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        paths: Folders of the project: where the sensor that watches for stale assets notes what it found.
        rows: What the caller has read of the same snapshot.
    """
    with lake.one_snapshot():
        rows = rows or SharedRows.read(lake, pipeline)
        found = [
            *_runs(lake, pipeline),
            *_batches(lake, pipeline),
            *_files(lake, pipeline),
            *_versions(pipeline, rows),
            *(_monitored(pipeline, rows.champion, rows) if rows.champion else ()),
            *(stale(paths, pipeline) if paths else ()),
        ]
    return ordered(found)


def ordered(found: Iterable[Need]) -> list[Need]:
    """The most urgent first; of one kind the newest."""
    newest = sorted(found, key=lambda need: need.since or dt.datetime.min, reverse=True)
    return sorted(newest, key=lambda need: ORDER.index(need.kind))


def of_installation(home: Path, moment: dt.datetime | None = None) -> list[Need]:
    """What of the installation needs attention: Dagster's daemon, without which nothing happens by itself.

    Where it has never run, nothing is said.

    Args:
        home: Dagster's home.
        moment: Now, UTC.
    """
    try:
        beat = heartbeat(home)
    except MLAssetsError as error:
        text = (
            f"nobody knows whether Dagster's daemon is up: {without_secrets(one_line(f'{error.rule} {error.found}'))}"
        )
        return [Need(None, "daemon", text, error.fix or "ml-assets doctor", addresses.HOME)]
    moment = moment or versions.now()
    if beat is None or (moment - beat).total_seconds() <= HEARTBEAT_S:
        return []
    text = "Dagster's daemon is down: no file is ingested, no model retrained, no alert sent"
    return [Need(None, "daemon", text, "start it: `ml-assets ui`", addresses.HOME, beat)]


# -- what failed -----------------------------------------------------------------------------------------------------


def _runs(lake: Lake, pipeline: str) -> list[Need]:
    """Failed runs that no later run has made good: one that wrote what the failed one names, or anything."""
    failed = alerts.since(lake, pipeline, versions.now() - RUNS_FOR, "run_failure")
    later = audit.since(lake, pipeline, min(alert.raised_at for alert in failed)) if failed else []
    found = []
    for alert in failed:
        written = {one.asset for one in later if one.written_at > alert.raised_at and one.run_id != alert.subject}
        named = {asset for asset in written if f" {asset.partition('/')[2]}: " in alert.text}
        names_none = "silently" in alert.text
        if named or (names_none and written):
            continue
        todo = "read the run's error, correct it and start the run again"
        link = alert.link or addresses.alerts(pipeline)
        found.append(Need(pipeline, "run_failure", alert.text, todo, link, alert.raised_at))
    return found


def _batches(lake: Lake, pipeline: str) -> list[Need]:
    """Batches that were refused, and not written since; those with the same error in one."""
    of_files = {listed.asset(pipeline) for listed in (ARRIVALS, OUTCOME_FILES)}
    failed = [row for row in ingest_errors.last_failures(lake, pipeline) if row["asset"] not in of_files]
    later = audit.since(lake, pipeline, min(row["failed_at"] for row in failed)) if failed else []
    by_error: dict[tuple[str, str], list[dict[str, Any]]] = {}
    seen: set[str] = set()
    for row in failed:
        is_made_good = any(
            one.asset == row["asset"] and one.batch == row["batch"] and one.written_at > row["failed_at"]
            for one in later
        )
        if not is_made_good and row["batch"] not in seen:  # what follows a refusal is refused, too
            seen.add(row["batch"])
            by_error.setdefault((row["asset"], row["error"]), []).append(row)
    found = []
    for (asset, error), rows in by_error.items():
        names = [row["batch"] for row in rows]
        text = f"{_listed('batch', 'batches', names)} refused by {asset.partition('/')[2]}: {error}"
        todo = f"correct the file or the YAML, then `ml-assets ingest {pipeline} {' '.join(names[:NAMED])}`"
        link = addresses.batch(pipeline, names[0]) if len(names) == 1 else addresses.batches(pipeline)
        found.append(Need(pipeline, "failed_batch", text, todo, link, max(row["failed_at"] for row in rows)))
    return found


def _files(lake: Lake, pipeline: str) -> list[Need]:
    """Files that are in the source folder and are not ingested."""
    found = []
    for listed in (ARRIVALS, OUTCOME_FILES):
        for file in arrivals.of_status(lake, pipeline, *arrivals.REJECTED, listed=listed):
            found.append(_file(pipeline, file))
    return found


def _file(pipeline: str, file: Arrival) -> Need:
    name = PurePosixPath(file.path).name
    text = f"{name} is {arrivals.WORDS[file.status]}: {file.error}"
    if file.status == "refused":
        todo = "correct the file in its place, or remove it"
    elif file.status == "duplicate":
        todo = "remove it"
    else:
        todo = "rename it so that it matches `source.pattern`, or remove it"
    kind: Kind = "rejected_file" if file.status == "refused" else "skipped_file"
    return Need(pipeline, kind, text, todo, addresses.batches(pipeline), file.seen_at)


# -- what waits ------------------------------------------------------------------------------------------------------


def _versions(pipeline: str, rows: SharedRows) -> list[Need]:
    """Versions that wait for approval, and a pipeline whose trainings have not led to a champion."""
    waiting = decisions.pending_of(rows.made)
    found = [
        Need(
            pipeline,
            "pending",
            f"version {version} waits for approval: {made.why}",
            f"`ml-assets approve {pipeline} {version} --why ...`, or reject, or decide on its page",
            addresses.version(pipeline, version),
            made.decided_at,
        )
        for version, made in waiting.items()
    ]
    if rows.champion is None and rows.made and not waiting:
        last = rows.made[-1]
        text = f"there is no champion: version {last.version} was {last.decision}: {last.why}"
        todo = f"correct the data, the features or the gates, then `ml-assets train {pipeline}`"
        link = addresses.version(pipeline, last.version)
        found.append(Need(pipeline, "no_champion", text, todo, link, last.decided_at))
    return found


def _monitored(pipeline: str, champion: str, rows: SharedRows) -> list[Need]:
    """Drift and decay of the newest batches, as long as the newest one shows it and the same version is champion."""
    train = f"`ml-assets train {pipeline}` trains on the newest batches, unless `retrain` does it by itself"
    found = []
    drifted = _until_well(rows.drifted, champion, "drifted")
    if drifted:
        last = drifted[-1]
        text = f"{_listed('batch', 'batches', [row['batch'] for row in drifted])} drifted from what version {champion} "
        text += f"was trained on: {_reason(last['why'])}"
        link = addresses.batch(pipeline, last["batch"])
        found.append(Need(pipeline, "drift", text, train, link))
    decayed = _until_well(rows.live, champion, "decayed")
    if decayed:
        last = decayed[-1]
        text = f"the live score of version {champion} decayed on "
        text += f"{_listed('batch', 'batches', [row['batch'] for row in decayed])}: {_reason(last['why'])}"
        link = addresses.batch(pipeline, last["batch"])
        found.append(Need(pipeline, "decay", text, train, link, last["measured_at"]))
    return found


def _reason(why: str | None) -> str:
    """A verdict's sentence without the verdict that it begins with."""
    return re.sub(r"^(Drift|Decayed): ", "", why or "no reason is known").removesuffix(".")


def _until_well(rows: Sequence[dict[str, Any]], version: str, column: str) -> list[dict[str, Any]]:
    """The newest rows of a version in a row with this verdict; those without any verdict do not count."""
    found: list[dict[str, Any]] = []
    for row in reversed([row for row in rows if row["model_version"] == version and row[column] is not None]):
        if not row[column]:
            break
        found.append(row)
    return found[::-1]


def _listed(one: str, many: str, names: Sequence[str]) -> str:
    """`batch 7`, or `12 batches, the last ones 5, 6, 7,`."""
    if len(names) == 1:
        return f"{one} {names[0]}"
    shown = ", ".join(names[-NAMED:])
    return f"{many} {shown}" if len(names) <= NAMED else f"{len(names)} {many} (the last ones {shown})"


# -- what is stale, as the sensor that watches the code has found it ---------------------------------------------------


def note_stale(paths: Paths, pipeline: str, found: Sequence[Stale]) -> None:
    """Keep what the sensor found last: only a process that has loaded the definitions knows today's code versions."""
    write_text(_note(paths, pipeline), json.dumps([asdict(one) for one in found]))


def noted_stale(paths: Paths, pipeline: str) -> list[Stale]:
    """What the sensor found last; empty where it has never run."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [Stale(**one) for one in json.loads(_note(paths, pipeline).read_text(encoding="utf-8"))]
    return []


def _note(paths: Paths, pipeline: str) -> Path:
    return paths.sensors / f"{pipeline}_stale.json"


def stale(paths: Paths, pipeline: str) -> list[Need]:
    """What is stale or missing, and no sensor will rebuild."""
    return [_stale(pipeline, one) for one in noted_stale(paths, pipeline)]


def _stale(pipeline: str, one: Stale) -> Need:
    batches = f" {one.batches}" if one.batches else ""
    text = f"{', '.join(one.assets)}{batches} {'is' if len(one.assets) == 1 else 'are'} {one.state}: {one.why}"
    return Need(pipeline, "stale", text, one.todo, addresses.pipeline(pipeline))
