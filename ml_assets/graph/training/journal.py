"""The journal of a search: each finished trial as a file of its own, so that a search goes on where it was.

A trial is stored before the search goes on, where bundles are: another machine finds it there. The journal's name holds
a hash of everything that decides the trials; it is removed once they are in the lake.
"""

from __future__ import annotations

import json
from typing import Any

from ml_assets.lake.artifacts import Artifacts


class Journal:
    """Trials by number.

    Args:
        store: Where journals are; None keeps nothing.
        name: Of this one; it need not exist.
    """

    def __init__(self, store: Artifacts | None = None, name: str = "") -> None:
        self.store, self.name = store, name
        self.recorded: dict[int, dict[str, Any]] = {}
        if store is not None:
            lines = [json.loads(store.fetch(f"{name}/{trial}").read_bytes()) for trial in store.names(name)]
            self.recorded = {line["number"]: line for line in lines}

    @property
    def seconds(self) -> float:
        """Seconds that the search had taken when it last wrote."""
        return max((line["elapsed"] for line in self.recorded.values()), default=0.0)

    def write(self, line: dict[str, Any]) -> None:
        """Add a trial; it is stored when this returns.

        Args:
            line: `number`, `elapsed` (seconds of the whole search so far), and whatever tells of the trial.
        """
        self.recorded[line["number"]] = line
        if self.store is not None:
            with self.store.put(f"{self.name}/{line['number']}.json") as file:
                file.write_text(json.dumps(line))

    def remove(self) -> None:
        """Forget the search."""
        if self.store is not None:
            self.store.remove(self.name)
