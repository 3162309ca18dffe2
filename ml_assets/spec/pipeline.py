"""The whole YAML, and the rules between its parts."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ml_assets import metrics
from ml_assets.errors import did_you_mean
from ml_assets.spec.base import OWN_COLUMNS, Name, Strict
from ml_assets.spec.data import Column, Expect, Lookup, Outcomes, Reference, Source, Target, Tolerate
from ml_assets.spec.model import Candidate, Costs, Gates, Split, Training, Tuning
from ml_assets.spec.operation import Alerts, Deploy, Maintenance, Monitoring, Retrain, Serving, Tracking


class PipelineSpec(Strict):
    """A machine-learning pipeline for tabular data, from arriving files to the deployed model."""

    name: Name = Field(description="Prefix of the asset keys, and schema of the tables in the lake.")
    description: str = Field("", description="What the pipeline predicts, and for whom.")
    owners: list[str] = Field(default_factory=list, description="E-mail addresses or `team:NAME`.")
    source: Source = Field(description="Where files arrive.")
    references: dict[Name, Reference] = Field(default_factory=dict, description="Tables that features can join.")
    columns: list[Column] = Field(min_length=1, description="The columns of the source.")
    key: list[str] = Field(default_factory=list, description="Columns whose values together are unique within a batch.")
    key_batches: int = Field(
        0,
        ge=0,
        description="Number of earlier batches in which the key must not occur; 0: unique within its batch only.",
    )
    rules: dict[Name, str] = Field(
        default_factory=dict, description="Names and SQL predicates over a row. As in a SQL CHECK, NULL passes."
    )
    tolerate: Tolerate = Field(
        default_factory=lambda: Tolerate(), description="How much may be wrong before a batch is rejected."
    )
    expect: Expect = Field(default_factory=lambda: Expect(), description="Expected volume and freshness of a batch.")
    target: Target = Field(description="What the model predicts.")
    outcomes: Outcomes | None = Field(None, description="Where outcomes arrive that become known later.")
    lookups: dict[Name, Lookup] = Field(default_factory=dict, description="Aggregates over earlier batches.")
    features: str = Field(
        description="File beside the YAML with a SELECT over `batch`, the lookups and the references. Or a Python "
        "function that takes them as DataFrames: `features.py:make_features` for a file beside the YAML, or "
        "`package.module:make_features`."
    )
    split: Split = Field(default_factory=lambda: Split(), description="Training, validation and test rows.")
    candidates: dict[Name, Candidate] = Field(min_length=1, description="Algorithms to tune and compare.")
    tuning: Tuning = Field(default_factory=lambda: Tuning(), description="How hyperparameters are searched.")
    compute: Literal["local", "ray"] = Field(
        "local",
        description="Where the trials of a search are fitted: local (all cores of the machine of the run), or ray (the "
        "Ray cluster that `$RAY_ADDRESS` or `[tool.ml_assets.ray] address` in pyproject.toml names). The results are "
        "the same.",
    )
    training: Training = Field(default_factory=lambda: Training(), description="Which model is served.")
    costs: Costs | None = Field(None, description="What a wrong decision costs. Without it, the threshold is 0.5.")
    gates: Gates = Field(
        default_factory=lambda: Gates(), description="What a version must pass before it becomes the champion."
    )
    monitoring: Monitoring = Field(default_factory=lambda: Monitoring(), description="Drift detection and live scores.")
    retrain: Retrain = Field(default_factory=lambda: Retrain(), description="What starts a training.")
    serving: Serving = Field(
        default_factory=lambda: Serving(), description="Versions that score batches besides the champion."
    )
    deploy: Deploy = Field(default_factory=lambda: Deploy(), description="Where a new champion is deployed.")
    alerts: Alerts = Field(default_factory=lambda: Alerts(), description="Where alerts are sent.")
    tracking: Tracking | None = Field(
        None, description="Log trainings to an MLflow server as well, and register the versions there."
    )
    maintenance: Maintenance = Field(default_factory=lambda: Maintenance(), description="Maintenance of the lake.")

    @property
    def metric(self) -> str:
        """Name of the metric that tuning optimises and gates compare."""
        return self.tuning.metric or metrics.DEFAULT[self.target.kind]

    @property
    def performance_metric(self) -> str:
        """Name of the metric of live predictions."""
        return self.monitoring.performance.metric or self.metric

    @property
    def outcome_columns(self) -> list[str]:
        """Columns that features can never see."""
        return [column.name for column in self.columns if column.outcome]

    @property
    def online_key(self) -> list[str]:
        """The columns of `key` that a request has; empty where logged requests are no training data."""
        log = self.serving.log
        return (
            []
            if log is None or not log.train or log.leave_out
            else [k for k in self.key if k not in self.outcome_columns]
        )

    @model_validator(mode="after")
    def _words_agree(self) -> Self:
        names = [column.name for column in self.columns]
        lower = [name.lower() for name in names]
        doubled = sorted({name for name in lower if lower.count(name) > 1})
        if doubled:
            raise ValueError(f"column {doubled[0]!r} is declared twice (names ignore case)")
        own = [name for name in names if name.lower() in OWN_COLUMNS]
        if own:
            raise ValueError(f"column {own[0]!r} has a name that ml_assets uses itself ({', '.join(OWN_COLUMNS)})")
        if self.target.name in lower:
            raise ValueError(f"target.name {self.target.name!r} is also a column; give the target another name")
        for place, words in self._column_words().items():
            for word in words:
                if word not in names:
                    raise ValueError(f"{place}: no column {word!r}; {did_you_mean(word, names)}")
        self._references_agree()
        valid = metrics.names(self.target.kind)
        for place, metric in self._metric_words().items():
            if metric not in valid:
                raise ValueError(f"{place}: no {self.target.kind} metric {metric!r}; {did_you_mean(metric, valid)}")
        taken = {"batch", "history"} & (set(self.lookups) | set(self.references))
        taken |= set(self.lookups) & set(self.references)
        if taken:
            raise ValueError(f"{min(taken)!r} names two tables for the features SELECT; rename the lookup or reference")
        if self.target.kind != "binary" and self.costs:
            raise ValueError(f"costs are for binary targets; {self.target.name!r} is {self.target.kind}")
        self._kind_agrees()
        if self.target.kind == "regression" and self.split.by == "stratified":
            raise ValueError("split by: stratified needs classes; a regression target has none")
        return self

    def _kind_agrees(self) -> None:
        kind = self.target.kind
        for name, candidate in self.candidates.items():
            if kind == "regression" and (candidate.calibrate or candidate.preprocess.balance != "none"):
                word = "calibrate" if candidate.calibrate else "preprocess.balance"
                raise ValueError(
                    f"candidates.{name}.{word} is for classes; {self.target.name!r} is a regression target"
                )
        if kind == "regression" and self.gates.calibration:
            raise ValueError(f"gates.calibration is for classes; {self.target.name!r} is a regression target")

    def _column_words(self) -> dict[str, list[str]]:
        return {
            "key": self.key,
            "gates.slices.by": self.gates.slices.by if self.gates.slices else [],
            "gates.fairness.by": self.gates.fairness.by if self.gates.fairness else [],
            "split.group": [self.split.group] if self.split.group else [],
            "expect.newest.column": [self.expect.newest.column] if self.expect.newest else [],
            "serving.log.leave_out": self.serving.log.leave_out if self.serving.log else [],
        }

    def _references_agree(self) -> None:
        for column in self.columns:
            reference = (column.references or "").partition(".")[0]
            if reference and reference not in self.references:
                near = did_you_mean(reference, self.references) if self.references else "none is declared"
                raise ValueError(
                    f"column {column.name!r} references {column.references!r}: no reference {reference!r}; {near}"
                )
        types = {column.name: column.type for column in self.columns}
        newest = self.expect.newest
        if newest and types[newest.column] not in ("date", "timestamp"):
            raise ValueError(
                f"expect.newest.column {newest.column!r} must be a date or timestamp; it is a {types[newest.column]}"
            )
        if self.key_batches and not self.key:
            raise ValueError("key_batches needs a key")
        if self.outcomes and not (self.key and self.outcome_columns):
            raise ValueError("outcomes needs a key, by which rows are found, and a column with outcome: true")
        if self.outcomes and "received_at" in [name.lower() for name in (*self.key, *self.outcome_columns)]:
            raise ValueError("with outcomes, neither the key nor an outcome column can be called 'received_at'")

    def _metric_words(self) -> dict[str, str]:
        words = {"tuning.metric": self.metric, "monitoring.performance.metric": self.performance_metric}
        words |= {f"gates.metrics.{name}": name for name in self.gates.metrics}
        if self.gates.slices and self.gates.slices.metric:
            words["gates.slices.metric"] = self.gates.slices.metric
        fairness = self.gates.fairness.metric if self.gates.fairness else None
        if fairness and (fairness != "selection_rate" or self.target.kind == "regression"):
            words["gates.fairness.metric"] = fairness
        return words
