"""What a sensor of files remembers: the files that it has seen, and its requests without a result."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ml_assets.graph import run_requests
from ml_assets.graph.run_requests import Request, Requests
from ml_assets.tables.arrivals import Arrival

# Dagster gives a tick 60 s. What is not read in this time is read in the next ticks.
READING_S = 20


@dataclass(frozen=True)
class SeenFiles:
    """What was seen, and by which code.

    Args:
        version: Of the code and the YAML that have seen the files: with others, rejected ones are checked again.
        files: Path -> file as it was.
        requested: Requests without a result.
    """

    version: str = ""
    files: Mapping[str, Arrival] = field(default_factory=dict)
    requested: Requests = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> SeenFiles | None:
        """What `write` wrote; None for other texts.

        Earlier versions kept no requests: each file of theirs counts as requested when it was seen.
        """
        try:
            version, rows, *others = json.loads(text or "")
            time_of = dt.datetime.fromisoformat
            seen = {
                path: Arrival(path, batch, sha256, size, time_of(modified_at), time_of(seen_at), status, tag=tag)
                for path, batch, sha256, size, modified_at, seen_at, status, tag in rows
            }
            requested = run_requests.from_cells(others[0]) if others else _as_if_requested(seen.values())
        except (ValueError, TypeError, AttributeError):
            return None
        return cls(version, seen, requested)

    def write(self) -> str:
        """As text."""
        rows = [
            [a.path, a.batch, a.sha256, a.size_bytes, a.modified_at.isoformat(), a.seen_at.isoformat(), a.status, a.tag]
            for a in self.files.values()
        ]
        return json.dumps([self.version, rows, run_requests.as_cells(self.requested)])


def by_path(files: Iterable[Arrival]) -> dict[str, Arrival]:
    """Path -> file."""
    return {one.path: one for one in files}


def _as_if_requested(seen: Iterable[Arrival]) -> Requests:
    moments = sorted((a.seen_at, a.batch) for a in seen if a.status == "ready" and a.batch is not None)
    return {batch: Request(at.replace(tzinfo=dt.UTC).timestamp()) for at, batch in moments}
