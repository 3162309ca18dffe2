"""No library that this package uses reports that use to its makers, unless somebody has set its variable otherwise.

It must be said before they are imported, so `ml_assets` itself imports this first. Children inherit it. Dagster's own
switch is in dagster.yaml.
"""

from __future__ import annotations

import os

OFF = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime writes an id of the machine and reports each model that it loads
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",  # Evidently
}
for _name, _value in OFF.items():
    os.environ.setdefault(_name, _value)
