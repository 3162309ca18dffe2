"""A tree that takes its time and writes down each fit, for searches that are killed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from sklearn.tree import DecisionTreeClassifier


class SlowTree(DecisionTreeClassifier):  # type: ignore[misc]
    """Sleeps before each fit, and appends its parameters to $FITS."""

    def fit(self, features: Any, labels: Any) -> SlowTree:
        time.sleep(0.03)
        with Path(os.environ["FITS"]).open("a") as file:
            file.write(json.dumps([self.max_depth, self.ccp_alpha]) + "\n")
        super().fit(features, labels)
        return self
