"""Files of a source: which there are, which batch each belongs to, and their bytes on this machine.

Belongs here: the folder and the files' bytes. Does not: their columns and rows (rows.py), the lake's tables.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from ml_assets.errors import SourceError
from ml_assets.lake import faults
from ml_assets.lake.paths import Paths
from ml_assets.sources.remote import Entry, Place, is_url
from ml_assets.spec import Outcomes, PipelineSpec, Source
from ml_assets.tables.arrivals import Arrival as Arrival

WAITS = "Waits for its turn: other new files are read first."
HIVE = re.compile(r"([^/=]+)=[^/]*/")
LONGEST_BATCH = 200
Stamp = tuple[int, int, int]  # size in bytes, times of the content's and of any change in ns; zeros: it is gone
GONE: Stamp = (0, 0, 0)


@dataclass(frozen=True)
class Delivery:
    """Files of one batch as they lie on this machine, in order.

    Args:
        local: Their paths here.
        paths: Where they lie: absolute paths or URLs.
        names: Their paths below the source folder.
        sha256: Of their bytes.
        stamps: State of each local file when its bytes were known to be these; none where nobody looked.
    """

    local: list[str]
    paths: list[str]
    names: list[str]
    sha256: list[str]
    stamps: list[Stamp] = field(default_factory=list)

    @property
    def hive_columns(self) -> set[str]:
        """Columns that folders such as `year=2013` below the source folder stand for."""
        return {column for name in self.names for column in HIVE.findall(name)}

    def parts(self) -> Iterator[Delivery]:
        """Each file alone."""
        for n in range(len(self.local)):
            at = slice(n, n + 1)
            yield Delivery(self.local[at], self.paths[at], self.names[at], self.sha256[at], self.stamps[at])

    def check_unchanged(self) -> None:
        """Raise SourceError where a file has changed since its bytes were known, so that other rows were read."""
        for local, path, sha256, stamp in zip(self.local, self.paths, self.sha256, self.stamps, strict=False):
            now = _stamp(local)
            if stamp != now and (now == GONE or _sha256(Path(local)) != sha256):
                raise _changed(path, "It changed while it was read.")


def place_of(spec: PipelineSpec, paths: Paths, source: Source | Outcomes | None = None) -> Place:
    """Where the pipeline's files arrive, by default those of its batches."""
    source = source or spec.source
    address = source.path.rstrip("/") if is_url(source.path) else str(paths.resolve(source.path))
    return Place(address, paths.spool / spec.name, source.options)


def scan(
    source: Source | Outcomes, place: Place, known: Mapping[str, Arrival], deadline: float | None = None
) -> list[Arrival]:
    """Every file in the folder and every known one that has vanished, ordered by path.

    Reads the bytes only of files that are new or whose size or time has changed. What was ready, and is as it was,
    stays so, as the very object that was given.

    Args:
        known: Files as they were last seen, by path.
        deadline: Time (`time.monotonic`) after which no further file is read; those left are settling.

    Raises:
        SourceError: The folder does not exist or cannot be listed.
    """
    marker, pattern, now = source.marker, re.compile(source.pattern), _now()
    found: dict[str, Arrival] = {}
    others = []
    for entry in place.entries(deep="/" in source.pattern):
        before = known.get(entry.path)
        if before is not None and marker is None and before.status == "ready" and before.is_as(entry):
            match = pattern.fullmatch(entry.relative)
            if match and _batch(match, source) == before.batch:
                found[entry.path] = before
                continue
        others.append(entry)
    complete = {_folder(entry.relative) for entry in others if entry.relative.rpartition("/")[2] == marker}
    for entry in sorted(others, key=attrgetter("path")):
        if "/_" not in f"/{entry.relative}":  # no data, as in Hadoop and Spark
            is_marked, match = _folder(entry.relative) in complete, pattern.fullmatch(entry.relative)
            found[entry.path] = _seen(source, place, entry, match, known.get(entry.path), is_marked, now, deadline)
    gone = [
        arrival._replace(status="vanished", error=None)
        for path, arrival in known.items()
        if path not in found and arrival.status in ("ready", "vanished")
    ]
    return sorted([*found.values(), *gone], key=attrgetter("path"))


def _seen(
    source: Source | Outcomes,
    place: Place,
    entry: Entry,
    match: re.Match[str] | None,
    earlier: Arrival | None,
    is_marked: bool,
    now: dt.datetime,
    deadline: float | None,
) -> Arrival:
    """One file: hashed where it is new or has changed, and has settled."""
    batch = _batch(match, source) if match else None
    known = earlier if earlier is not None and earlier.is_as(entry) else None
    seen_at = known.seen_at if known else now
    fault = entry.fault or _fault_of_batch(batch if isinstance(source, Outcomes) else batch or "")
    wait = _unsettled(source, entry.modified_at, seen_at, now, is_marked)
    arrival = Arrival(entry.path, batch, None, entry.size_bytes, entry.modified_at, seen_at, tag=entry.tag)
    if not match:
        reason = f"The name does not match {type(source).__name__.lower()}.pattern {source.pattern!r}."
        return arrival._replace(status="unmatched", error=reason)
    if fault:
        fix = "Rename or remove it; it is picked up under its new name."
        return arrival._replace(status="refused", error=str(SourceError(fault, where={"file": entry.path}, fix=fix)))
    if wait:
        return arrival._replace(status="settling", error=wait)
    if known and known.sha256:
        return arrival._replace(sha256=known.sha256, tag=known.tag)  # the tag that it was hashed under
    return arrival._replace(status="settling", error=WAITS) if is_past(deadline) else _hashed(place, entry, arrival)


def _fault_of_batch(batch: str | None) -> str | None:
    """Why a text cannot name a batch; Dagster takes `...` for a range of partitions."""
    if batch == "":
        return "Its name gives no batch: the pattern's group is empty."
    if batch is not None and (len(batch) > LONGEST_BATCH or "..." in batch):
        return f"A batch's name has at most {LONGEST_BATCH} characters and no `...` in it."
    if batch is not None and not batch.isprintable():
        return "A batch's name has no line breaks and no control characters in it."
    return None


def _batch(match: re.Match[str], source: Source | Outcomes) -> str | None:
    if "batch" in match.re.groupindex:
        return match["batch"]
    return None if isinstance(source, Outcomes) else "-".join(value or "" for value in match.groupdict().values())


def _folder(relative: str) -> str:
    return relative.rpartition("/")[0]


def _unsettled(
    source: Source | Outcomes, modified_at: dt.datetime, seen_at: dt.datetime, now: dt.datetime, is_marked: bool
) -> str | None:
    """Why a file is not taken yet. Its own clock may be ahead of ours, so the time that we have seen it counts too."""
    if source.marker:
        return None if is_marked else f"There is no {source.marker} beside it yet."
    settled_for = (now - min(modified_at, seen_at)).total_seconds()
    return None if settled_for >= source.settle_seconds else f"Changed less than {source.settle_seconds:g} s ago."


def _hashed(place: Place, entry: Entry, arrival: Arrival) -> Arrival:
    try:
        return arrival._replace(sha256=_sha256(place.local(entry.path, entry.relative, arrival.version)))
    except Exception as error:
        if faults.stops_all(error):
            raise
        if isinstance(error, OSError):
            error = SourceError(
                "The file cannot be read.", found=str(error), fix="Give this user the right to read it."
            )
        text = str(faults.explained(error).at(file=entry.path))
        return arrival._replace(status="refused", error=text)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def is_past(deadline: float | None) -> bool:
    """Is it later than this time of `time.monotonic`?"""
    return deadline is not None and time.monotonic() > deadline


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def deliver(place: Place, arrivals: Sequence[Arrival]) -> Delivery:
    """The files of one batch on this machine, with the bytes that their SHA-256 names; remote ones are copied.

    Raises:
        SourceError: A file cannot be copied, or has other bytes than when it was seen.
    """
    names = [relative(place, arrival.path) for arrival in arrivals]
    local = [place.local(a.path, name, a.version) for a, name in zip(arrivals, names, strict=True)]
    return Delivery(
        local=[str(path) for path in local],
        paths=[arrival.path for arrival in arrivals],
        names=names,
        sha256=[str(arrival.sha256) for arrival in arrivals],
        stamps=[_known_stamp(place, a, str(path)) for a, path in zip(arrivals, local, strict=True)],
    )


def _known_stamp(place: Place, arrival: Arrival, local: str) -> Stamp:
    """The state of a local file whose bytes are those of the arrival; hashed again unless its tag proves it."""
    stamp = _stamp(local)
    is_same = not place.is_remote and arrival.tag is not None and arrival.is_as(place.entry(arrival.path))
    if not is_same and (stamp == GONE or _sha256(Path(local)) != arrival.sha256):
        place.discard(arrival.path, arrival.version)
        raise _changed(arrival.path, "It is gone." if stamp == GONE else "Its bytes are others.")
    return stamp


def _stamp(local: str) -> Stamp:
    try:
        stat = Path(local).stat()
    except FileNotFoundError:
        return GONE
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _changed(path: str, found: str) -> SourceError:
    return SourceError(
        "The file has changed since it was seen.",
        found=found,
        where={"file": path},
        fix="Materialize arrivals, then this batch again; the sensor does both by itself.",
    )


def relative(place: Place, path: str) -> str:
    """A file's path below the source folder."""
    return path.removeprefix(place.address).lstrip("/")


def joined(parts: Sequence[Delivery]) -> Delivery:
    """Deliveries as one."""
    return Delivery(
        local=[path for part in parts for path in part.local],
        paths=[path for part in parts for path in part.paths],
        names=[name for part in parts for name in part.names],
        sha256=[sha256 for part in parts for sha256 in part.sha256],
        stamps=[stamp for part in parts for stamp in part.stamps],
    )
