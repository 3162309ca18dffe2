"""The YAML of a pipeline as strict pydantic models: its keys, their types and defaults.

Belongs here: fields, their descriptions, and rules that one YAML file can break by itself.
Does not: SQL and data (graph/), reading files or Dagster (component.py).
"""

from __future__ import annotations

from ml_assets.spec.base import OWN_COLUMNS
from ml_assets.spec.data import Column, ExpectedNewest, ExpectedRows, Lookup, Outcomes, Source, Tolerate
from ml_assets.spec.model import Candidate, Gates, Preprocess, Range, Tuning
from ml_assets.spec.operation import Maintenance, Performance
from ml_assets.spec.pipeline import PipelineSpec

__all__ = [
    "OWN_COLUMNS",
    "Candidate",
    "Column",
    "ExpectedNewest",
    "ExpectedRows",
    "Gates",
    "Lookup",
    "Maintenance",
    "Outcomes",
    "Performance",
    "PipelineSpec",
    "Preprocess",
    "Range",
    "Source",
    "Tolerate",
    "Tuning",
]
