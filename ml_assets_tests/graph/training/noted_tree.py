"""A tree that takes its time and notes which node fits it, for clusters that lose one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from sklearn.tree import DecisionTreeClassifier


class NotedTree(DecisionTreeClassifier):  # type: ignore[misc]
    """Appends the process above its own, that of the node, to $FITS when a fit begins, and then sleeps."""

    def fit(self, features: Any, labels: Any) -> NotedTree:
        with Path(os.environ["FITS"]).open("a") as file:
            file.write(f"{os.getppid()}\n")
        time.sleep(0.15)
        super().fit(features, labels)
        return self
