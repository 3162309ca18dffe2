"""What becomes of the files of a source folder, and which batches can be ingested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

import duckdb

from ml_assets.graph.ingest.files import WAITS, deliver, is_past, relative, scan
from ml_assets.graph.ingest.rows import header
from ml_assets.graph.run_requests import Request
from ml_assets.lake import faults
from ml_assets.lake.database import in_memory
from ml_assets.lake.lake import Lake
from ml_assets.sources.packed import check_whole
from ml_assets.sources.remote import Place
from ml_assets.spec import PipelineSpec
from ml_assets.tables import data, ingest_errors
from ml_assets.tables.arrivals import ARRIVALS, Arrival, known
from ml_assets.tables.arrivals import REJECTED as REJECTED
from ml_assets.tables.arrivals import by_batch as by_batch
from ml_assets.tables.ingest_errors import FailedIngest

REJECTED_FILES = ""  # stands, among requested batches, for rejected files: no batch has this name


def ingested(lake: Lake, spec: PipelineSpec) -> dict[str, Arrival]:
    """Arrivals whose very bytes have reached the features, by path; none where there is no lake yet."""
    if not lake.catalog.exists():
        return {}
    read = data.source_hashes(lake, spec.name)
    made = set(lake.batches(data.FEATURES.of(spec.name)))
    return {
        path: arrival
        for path, arrival in known(lake, spec.name).items()
        if arrival.batch in made and (arrival.sha256 in read.get(arrival.batch, ()) or arrival.status == "duplicate")
    }


def scan_source(
    spec: PipelineSpec,
    place: Place,
    earlier: Mapping[str, Arrival],
    check_refused: bool = True,
    deadline: float | None = None,
) -> list[Arrival]:
    """Scan the folder and reject what cannot be ingested: the same bytes again, unreadable files, wrong headers.

    Opens only files that are new or have changed.

    Args:
        earlier: Files as they were last seen, by path.
        check_refused: Open files that were refused before, too: the YAML may have changed.
        deadline: Time (`time.monotonic`) after which no further file is read; those left are settling.

    Raises:
        SourceError: The folder does not exist or cannot be listed.
    """
    originals: dict[str, Arrival] = {}
    judged = []
    with in_memory() as con:
        for arrival in _first_seen_first(scan(spec.source, place, earlier, deadline), earlier):
            known = earlier.get(arrival.path)
            before = known if known is not None and known.sha256 == arrival.sha256 else None
            original = originals.get(arrival.sha256 or "")
            if arrival.status == "ready" and original is not None and not _is_renamed(arrival, original):
                judged.append(_duplicate(arrival, original))
                continue
            if arrival.status == "ready" and (before is None or before.status != "ready"):
                arrival = _judged(con, spec, place, arrival, before, check_refused, deadline)
            if arrival.sha256 and arrival.status in ("ready", "vanished"):
                originals.setdefault(arrival.sha256, arrival)
            judged.append(arrival)
    return sorted(judged, key=attrgetter("path"))


def _first_seen_first(arrivals: Iterable[Arrival], earlier: Mapping[str, Arrival]) -> list[Arrival]:
    """Of files with the same bytes the first that was accepted counts: those that were before, then by time."""
    by_time = sorted(arrivals, key=attrgetter("seen_at", "path"))
    return sorted(by_time, key=lambda arrival: not _is_known(arrival, earlier))


def _is_known(arrival: Arrival, earlier: Mapping[str, Arrival]) -> bool:
    before = earlier.get(arrival.path)
    return before is not None and before.sha256 == arrival.sha256 and before.status in ("ready", "vanished")


def _is_renamed(arrival: Arrival, original: Arrival) -> bool:
    return original.status == "vanished" and original.batch == arrival.batch


def _duplicate(arrival: Arrival, original: Arrival) -> Arrival:
    reason = f"The same bytes as {original.path} (batch {original.batch}): not ingested again."
    return arrival._replace(status="duplicate", error=reason)


def _judged(
    con: duckdb.DuckDBPyConnection,
    spec: PipelineSpec,
    place: Place,
    arrival: Arrival,
    before: Arrival | None,
    check_refused: bool,
    deadline: float | None,
) -> Arrival:
    """A ready file as it is, or refused where it is damaged or its header is not as declared."""
    if before is not None and before.status == "refused" and not check_refused:
        return arrival._replace(status="refused", error=before.error)
    if is_past(deadline):
        return arrival._replace(status="settling", error=WAITS)
    try:
        delivery = deliver(place, [arrival])
        check_whole(delivery.local[0], arrival.path)
        header(con, spec, delivery)
    except Exception as error:
        if faults.stops_all(error):
            raise
        place.discard(arrival.path, arrival.version)
        text = faults.explained(error).at(pipeline=spec.name, batch=arrival.batch, file=arrival.path)
        return arrival._replace(status="refused", error=str(text))
    return arrival


def changed_batches(arrivals: Iterable[Arrival], earlier: Mapping[str, Arrival]) -> dict[str, list[str]]:
    """Batches with a ready file whose bytes were not ready in the batch before -> paths of their ready files."""
    before = {(arrival.batch, arrival.sha256) for arrival in earlier.values() if arrival.status == "ready"}
    before |= {(arrival.batch, arrival.sha256) for arrival in earlier.values() if arrival.status == "vanished"}
    listed = list(arrivals)
    changed = {a.batch for a in listed if a.status == "ready" and (a.batch, a.sha256) not in before}
    return by_batch(one for one in listed if one.batch in changed)


def newly_rejected(arrivals: Iterable[Arrival], earlier: Mapping[str, Arrival]) -> list[Arrival]:
    """Files that are refused, duplicates or of no batch, and were not so before."""
    found = []
    for arrival in (one for one in arrivals if one.status in REJECTED):
        before = earlier.get(arrival.path)
        if before is None or (before.sha256, before.status) != (arrival.sha256, arrival.status):
            found.append(arrival)
    return found


def without_result(
    lake: Lake, spec: PipelineSpec, found: Iterable[Arrival], requests: Mapping[str, Request]
) -> set[str]:
    """Batches that were requested and of which the lake knows nothing: no rows of their bytes, and no failure since.

    What follows raw_data does not count: the stale sensor makes what is missing there.

    Args:
        found: Today's files.
        requests: Batch, or REJECTED_FILES -> when it was requested.
    """
    read, recorded, failed_at = _known_to(lake, spec)
    expected: dict[str, set[str | None]] = {}
    for one in found:
        if one.status == "ready" and one.batch is not None and one.batch in requests:
            expected.setdefault(one.batch, set()).add(one.sha256)
        elif one.status in REJECTED and REJECTED_FILES in requests and (one.path, one.sha256) not in recorded:
            expected[REJECTED_FILES] = {one.path}
    return {
        batch
        for batch, contents in expected.items()
        if not contents <= read.get(batch, set()) and failed_at.get(batch, 0.0) < requests[batch].at
    }


def _known_to(
    lake: Lake, spec: PipelineSpec
) -> tuple[dict[str, set[str]], set[tuple[str, str | None]], dict[str, float]]:
    """SHA-256 of raw_data's files by batch; files in arrivals; when each batch last failed, in seconds since 1970."""
    if not lake.catalog.exists():
        return {}, set(), {}
    read = data.source_hashes(lake, spec.name)
    failed_at = ingest_errors.newest(lake, spec.name, ARRIVALS, data.RAW_DATA)
    recorded = {(one.path, one.sha256) for one in known(lake, spec.name).values()}
    return read, recorded, failed_at


def failed(arrivals: Iterable[Arrival]) -> list[FailedIngest]:
    """Refused files as failures."""
    return [FailedIngest(a.error or "", a.batch, a.path, a.sha256) for a in arrivals if a.status == "refused"]


@dataclass(frozen=True)
class Superseded:
    """Which earlier rows of a batch have a new place; all others stay when it is read again, whatever their file.

    Args:
        sha256: Of files that are ready, under whatever name.
        names: Below the source folder: of files that belong to another batch now, or to none.
    """

    sha256: list[str]
    names: list[str]


def superseded(lake: Lake, spec: PipelineSpec, place: Place, batch: str) -> Superseded | None:
    """What the newest scan says of a batch's earlier rows; None where it has none."""
    if not lake.may_have(data.RAW_DATA.of(spec.name), batch):
        return None
    found = known(lake, spec.name).values()
    moved = [a for a in found if a.batch != batch or a.status == "unmatched"]
    return Superseded(
        sorted({str(a.sha256) for a in found if a.status == "ready"}), sorted(relative(place, a.path) for a in moved)
    )
