"""A tree that takes its time and writes down each fit, for searches that are killed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from sklearn.tree import DecisionTreeClassifier


class SlowTree(DecisionTreeClassifier):  # type: ignore[misc]
    """Sleeps before each fit, and appends its parameters to $FITS; with $MOST_FITS there, it waits for its end."""

    def fit(self, features: Any, labels: Any) -> SlowTree:
        time.sleep(0.03)
        fits, parent = Path(os.environ["FITS"]), os.getppid()
        while lines(fits) >= int(os.environ.get("MOST_FITS", 10**6)) and os.getppid() == parent:
            time.sleep(0.1)
        with fits.open("a") as file:
            file.write(json.dumps([self.max_depth, self.ccp_alpha]) + "\n")
        super().fit(features, labels)
        return self


def lines(file: Path) -> int:
    """How many there are; none where there is no file."""
    return file.read_text().count("\n") if file.exists() else 0
