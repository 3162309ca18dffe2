"""The YAML of a pipeline as strict pydantic models: what can be said, in which words, with which defaults.

Belongs here: fields, their descriptions, and rules that one YAML file can break by itself.
Does not: SQL and data (graph/), reading files or Dagster (component.py).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from ml_assets.errors import did_you_mean

Kind = Literal["binary", "multiclass", "regression"]
ColumnType = Literal["string", "integer", "number", "boolean", "date", "timestamp"]

# Metric name -> True where a greater value is better. `ml.metrics` computes exactly these.
METRICS: dict[str, dict[str, bool]] = {
    "binary": {
        "roc_auc": True,
        "average_precision": True,
        "accuracy": True,
        "balanced_accuracy": True,
        "precision": True,
        "recall": True,
        "f1": True,
        "log_loss": False,
        "brier": False,
    },
    "multiclass": {"accuracy": True, "balanced_accuracy": True, "f1_macro": True, "log_loss": False},
    "regression": {"r2": True, "mae": False, "rmse": False},
}
DEFAULT_METRIC = {"binary": "roc_auc", "multiclass": "balanced_accuracy", "regression": "rmse"}
# Columns that every batch table carries beside the declared ones.
OWN_COLUMNS = ("batch", "row_id", "source_file", "source_sha256", "unreadable")

# Marks a field that is understood and checked but that nothing reads yet; the loader says so when it is set.
NO_EFFECT: dict[str, Any] = {"no_effect": True}

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """A model that forbids unknown keys and answers a near miss with the nearest valid word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: Any) -> Any:
        if isinstance(data, dict) and True in data and "on" in cls.model_fields:
            data = {"on" if key is True else key: value for key, value in data.items()}  # YAML 1.1 reads `on` as true
        try:
            return handler(data)
        except ValidationError as error:
            lines = [_explained(cls, line) for line in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, lines) from None


def _explained(model: type[BaseModel], line: Any) -> InitErrorDetails:
    """One line of a pydantic error, with what was found and the nearest valid word in it.

    The type becomes `value_error`: Dagster rebuilds the lines to add file and line, and knows pydantic's types only.
    """
    kind, loc, found, message = line["type"], line["loc"], line["input"], line["msg"]
    if kind == "value_error":
        error = line["ctx"]["error"]
    elif kind == "extra_forbidden" and len(loc) == 1:
        error = ValueError(f"unknown key {loc[0]!r}; {did_you_mean(str(loc[0]), model.model_fields)}")
    elif kind == "literal_error":
        valid = re.findall(r"'([^']*)'", line["ctx"]["expected"])
        error = ValueError(f"{found!r} is not a valid word; {did_you_mean(str(found), valid)}")
    elif kind == "missing":
        error = ValueError(f"the key {loc[-1]!r} is missing")
    else:
        error = ValueError(f"{message}; found {found!r}")
    return InitErrorDetails(type="value_error", loc=loc, input=found, ctx={"error": error})


class Source(Strict):
    """Where batches arrive."""

    path: str = Field(description="Folder that is watched, relative to the project root or absolute.")
    pattern: str = Field(
        description="Regular expression over a file's name; its group `batch` names the batch.",
        examples=[r"flights_(?P<batch>\d{4}-\d{2})\.parquet"],
    )
    settle_seconds: float = Field(
        5, ge=0, description="A file is taken when it was last changed at least this long ago, in seconds."
    )

    @field_validator("pattern")
    @classmethod
    def _has_batch_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if "batch" not in groups:
            raise ValueError(f"the pattern needs a group (?P<batch>...); found {pattern!r}")
        return pattern


class Reference(Strict):
    """A table that features may join and that does not arrive in batches."""

    path: str = Field(description="Parquet, CSV or JSON-lines file, relative to the project root or absolute.")


class Column(Strict):
    """One column of the source and what each of its values must keep."""

    name: str = Field(min_length=1, description="The column's name in the file.")
    type: ColumnType = Field(description="string, integer, number, boolean, date or timestamp (UTC).")
    nullable: bool = Field(False, description="May the value be missing?")
    min: float | None = Field(None, description="Smallest allowed value.")
    max: float | None = Field(None, description="Largest allowed value.")
    allowed: list[str | int | float | bool] | None = Field(None, min_length=1, description="The only allowed values.")
    regex: str | None = Field(None, description="Regular expression that the whole value must match.")
    outcome: bool = Field(False, description="Known only after the event: features can never see it.")
    unit: str | None = Field(None, description="Unit of the value, shown in the UI.")
    description: str | None = Field(None, description="What the column means, shown in the UI.")

    @model_validator(mode="after")
    def _constraints_fit_the_type(self) -> Self:
        if self.type not in ("integer", "number") and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for integer and number columns; {self.name!r} is a {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is greater than max {self.max:g} in column {self.name!r}")
        if self.regex is not None:
            if self.type != "string":
                raise ValueError(f"regex is for string columns; {self.name!r} is a {self.type}")
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"regex of column {self.name!r} is not a regular expression: {error}") from None
        return self


class Tolerate(Strict):
    """How much may be wrong with a batch before it is refused."""

    quarantined: Share = Field(0.02, description="Largest share of rows that may break a rule.")
    missing_columns: Literal["error", "null"] = Field(
        "error", description="A declared column that the file lacks: refuse the file, or fill it with NULL."
    )
    new_columns: Literal["keep", "ignore", "error"] = Field(
        "keep", description="A column that is not declared: keep it in raw_data, leave it out, or refuse the file."
    )


class Target(Strict):
    """What the model predicts."""

    name: Name = Field(description="Name of the label column.")
    sql: str = Field(min_length=1, description="SQL expression over a validated row; NULL means not known yet.")
    kind: Kind = Field(description="binary, multiclass or regression.")


class Lookup(Strict):
    """An aggregate over earlier batches that features may join: point in time by construction."""

    key: list[str] = Field(min_length=1, description="Columns that identify one row of the lookup.")
    sql: str = Field(description="SELECT file beside the YAML; it sees the view `history`.")
    batches: int = Field(6, ge=1, description="At most this many earlier batches are in `history`.")


class Split(Strict):
    """How labelled rows are divided into train, validation and test."""

    by: Literal["batch", "random", "stratified", "group"] = Field(
        "batch", description="batch: the last batches are unseen; random, stratified, group: a seeded share of rows."
    )
    validation: float = Field(1, gt=0, description="Batches (by: batch) or share of rows (otherwise) to compare on.")
    test: float = Field(1, gt=0, description="Batches (by: batch) or share of rows (otherwise) to report on.")
    group: str | None = Field(None, description="by: group only: rows with the same value stay together.")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.by == "batch":
            if self.validation % 1 or self.test % 1:
                raise ValueError("by: batch counts whole batches: validation and test must be whole numbers")
        elif self.validation + self.test >= 0.9:
            raise ValueError(
                f"by: {self.by} takes shares of rows: validation + test must stay below 0.9; "
                f"found {self.validation:g} + {self.test:g} (write for example validation: 0.2, test: 0.2)"
            )
        if (self.by == "group") != (self.group is not None):
            raise ValueError("`group` names the column of by: group, and belongs to it alone")
        return self


class Range(Strict):
    """Numbers that a search may try."""

    low: int | float = Field(description="Smallest value.")
    high: int | float = Field(description="Largest value; two whole numbers are searched as whole numbers.")
    log: bool = Field(False, description="Search on a logarithmic scale.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high; found {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0; found {self.low:g}")
        return self


Scalar = str | int | float | bool | None


class Candidate(Strict):
    """One algorithm that competes to be the model."""

    estimator: str = Field(
        pattern=r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*$", description="Import path of a scikit-learn-compatible estimator."
    )
    params: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="Fixed parameters of the estimator."
    )
    search: dict[str, Range | list[Scalar]] = Field(
        default_factory=dict, description="Parameters to tune: {low, high, log} or a list of choices."
    )

    @model_validator(mode="after")
    def _fixed_or_searched(self) -> Self:
        both = sorted(set(self.params) & set(self.search))
        if both:
            raise ValueError(f"{both[0]!r} is under params and under search; it can be in one of them")
        return self


class Tuning(Strict):
    """How parameters are searched."""

    metric: str | None = Field(
        None, description="Metric to optimise; default by kind: roc_auc, balanced_accuracy, rmse."
    )
    trials: int = Field(20, ge=1, description="Most trials of one candidate.")
    folds: int = Field(3, ge=2, description="Cross-validation folds on the training split, ordered in time by: batch.")
    sampler: Literal["tpe", "random"] = Field("tpe", description="How the next trial is chosen.")
    seconds: float = Field(300, gt=0, description="No new trial of a candidate starts after this many seconds.")
    seed: int = Field(0, ge=0, description="Seed of sampler, folds and estimators.")


class Costs(Strict):
    """What a wrong decision costs (binary only); sets the decision threshold on validation rows."""

    false_positive: float = Field(1, ge=0, description="Cost of acting on a row that was negative.")
    false_negative: float = Field(1, ge=0, description="Cost of missing a row that was positive.")


class MetricLimit(Strict):
    """Limits of one metric on test rows."""

    min: float | None = Field(None, description="Smallest value that passes.")
    max: float | None = Field(None, description="Largest value that passes.")


class OverfitGate(Strict):
    """How far test may fall behind train."""

    max_gap: float = Field(0.1, ge=0, description="Largest gap of the tuning metric between train and test rows.")


class ChampionGate(Strict):
    """How the new model must compare with the champion on the same test rows."""

    max_drop: float = Field(0.0, ge=0, description="Largest loss of the tuning metric against the champion.")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        0.95, description="Refuse when the loss is greater than max_drop with this confidence (paired bootstrap)."
    )


class SlicesGate(Strict):
    """No slice of the data may be served badly."""

    by: list[str] = Field(min_length=1, description="Columns whose values are the slices.")
    metric: str | None = Field(None, description="Metric of a slice; default: the tuning metric.")
    min: float | None = Field(None, description="Smallest value that passes.")
    max: float | None = Field(None, description="Largest value that passes.")
    min_rows: int = Field(500, ge=1, description="Slices with fewer test rows are reported but not judged.")


class SensitivityGate(Strict):
    """A small change of the input must not turn the decision."""

    noise: float = Field(0.01, gt=0, description="Noise on every numeric feature, in its standard deviations.")
    max_flips: Share = Field(0.05, description="Largest share of decisions that may flip.")


class ServingGate(Strict):
    """Limits of the scoring server. No effect yet: the server is not part of this version."""

    p95_ms: float = Field(50, gt=0, description="Slowest 95th percentile of a one-row request, in milliseconds.")
    rss_mib: float = Field(600, gt=0, description="Most memory of the server process, in MiB.")
    parity: float = Field(1e-5, ge=0, description="Largest difference from the batch path on golden rows.")


class Gates(Strict):
    """What a model must show before it goes live."""

    metrics: dict[str, MetricLimit] = Field(default_factory=dict, description="Limits by metric name.")
    overfit: OverfitGate | None = Field(None, description="Gap between train and test.")
    champion: ChampionGate = Field(default_factory=lambda: ChampionGate(), description="Against today's champion.")
    slices: SlicesGate | None = Field(None, description="Per value of some columns.")
    sensitivity: SensitivityGate | None = Field(None, description="Under small noise.")
    serving: ServingGate | None = Field(
        None, description="Limits of the scoring server. No effect yet.", json_schema_extra=NO_EFFECT
    )
    approval: Literal["auto", "manual"] = Field(
        "auto", description="manual: a model that passes waits for `ml-assets approve`."
    )


class Performance(Strict):
    """When the champion's live score counts as decayed. No effect yet."""

    metric: str | None = Field(None, description="Metric of the predictions against the outcomes.")
    max_drop: float = Field(0.05, ge=0, description="Largest loss against the promised test score.")


class Monitoring(Strict):
    """How a batch is compared with what the champion was trained on."""

    drift_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="A batch has drifted when at least this share of columns has."
    )
    sample: int = Field(20_000, ge=100, description="Rows of each side that are compared, drawn with a seed.")
    performance: Performance | None = Field(
        None, description="When a live score counts as decayed. No effect yet.", json_schema_extra=NO_EFFECT
    )


class NewBatches(Strict):
    """Train after this many new batches. No effect yet."""

    new_batches: int = Field(ge=1, description="New batches since the last training.")


class Retrain(Strict):
    """What starts a training without a person."""

    on: list[Literal["drift", "decay"] | NewBatches] = Field(
        default=["drift"],
        description="drift: a drifted batch. decay and {new_batches: N} have no effect yet. Empty: only by hand.",
    )
    cooldown_batches: int = Field(
        0,
        ge=0,
        description="Batches that must arrive between two trainings. No effect yet.",
        json_schema_extra=NO_EFFECT,
    )
    min_batches: int = Field(3, ge=1, description="No training is started before this many batches have features.")
    cron: str | None = Field(None, description="Cron expression of a schedule that trains in any case (UTC).")


class Serving(Strict):
    """Which versions the scoring server answers with. No effect yet: the server is not part of this version."""

    routes: dict[str, Share] = Field(
        default_factory=lambda: {"champion": 1.0}, description="Share of requests by alias."
    )
    shadow: list[str] = Field(default_factory=list, description="Aliases that are asked too, without being answered.")


class PipelineSpec(Strict):
    """One tabular machine-learning pipeline, from the folder where files arrive to the model in charge."""

    name: Name = Field(description="Prefix of every asset key, and the pipeline's schema in the lake.")
    description: str = Field("", description="What is predicted, for whom.")
    owners: list[str] = Field(default_factory=list, description="E-mail addresses or `team:NAME`.")
    source: Source = Field(description="Where batches arrive.")
    references: dict[Name, Reference] = Field(default_factory=dict, description="Tables that features may join.")
    columns: list[Column] = Field(min_length=1, description="The columns of the source.")
    key: list[str] = Field(default_factory=list, description="Columns that are unique within a batch.")
    rules: dict[Name, str] = Field(
        default_factory=dict, description="Name: SQL predicate over a row. As in a CHECK, NULL passes."
    )
    tolerate: Tolerate = Field(
        default_factory=lambda: Tolerate(), description="What is borne before a batch is refused."
    )
    target: Target = Field(description="What the model predicts.")
    lookups: dict[Name, Lookup] = Field(default_factory=dict, description="Aggregates over earlier batches.")
    features: str = Field(
        description="SELECT file beside the YAML; it sees `batch`, the lookups and the references. Or a Python "
        "function that takes them as DataFrames: `features.py:make_features` beside the YAML, or "
        "`package.module:make_features`."
    )
    split: Split = Field(default_factory=lambda: Split(), description="Train, validation and test rows.")
    candidates: dict[Name, Candidate] = Field(min_length=1, description="Algorithms that compete.")
    tuning: Tuning = Field(default_factory=lambda: Tuning(), description="How parameters are searched.")
    costs: Costs | None = Field(None, description="What a wrong decision costs; default: the threshold is 0.5.")
    gates: Gates = Field(default_factory=lambda: Gates(), description="What a model must show before it goes live.")
    monitoring: Monitoring = Field(default_factory=lambda: Monitoring(), description="Drift.")
    retrain: Retrain = Field(default_factory=lambda: Retrain(), description="What starts a training.")
    serving: Serving | None = Field(
        None, description="The scoring server's routes. No effect yet.", json_schema_extra=NO_EFFECT
    )

    @property
    def metric(self) -> str:
        """Name of the metric that tuning optimises and gates compare."""
        return self.tuning.metric or DEFAULT_METRIC[self.target.kind]

    @property
    def outcomes(self) -> list[str]:
        """Columns that features can never see."""
        return [column.name for column in self.columns if column.outcome]

    def without_effect(self) -> list[str]:
        """Dotted names of the keys that the YAML sets and nothing reads yet."""
        found = _without_effect(self, "")
        found += [f"retrain.on: {word}" for word in self.retrain.on if word != "drift"]
        return found

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
        valid = METRICS[self.target.kind]
        for place, metric in self._metric_words().items():
            if metric not in valid:
                raise ValueError(f"{place}: no {self.target.kind} metric {metric!r}; {did_you_mean(metric, valid)}")
        taken = {"batch", "history"} & (set(self.lookups) | set(self.references))
        taken |= set(self.lookups) & set(self.references)
        if taken:
            raise ValueError(f"{min(taken)!r} names two tables for the features SELECT; rename the lookup or reference")
        if self.target.kind != "binary" and self.costs:
            raise ValueError(f"costs are for binary targets; {self.target.name!r} is {self.target.kind}")
        if self.target.kind == "regression" and self.split.by == "stratified":
            raise ValueError("split by: stratified needs classes; a regression target has none")
        return self

    def _column_words(self) -> dict[str, list[str]]:
        slices = self.gates.slices.by if self.gates.slices else []
        group = [self.split.group] if self.split.group else []
        return {"key": self.key, "gates.slices.by": slices, "split.group": group}

    def _metric_words(self) -> dict[str, str]:
        words = {"tuning.metric": self.metric}
        words |= {f"gates.metrics.{name}": name for name in self.gates.metrics}
        if self.gates.slices and self.gates.slices.metric:
            words["gates.slices.metric"] = self.gates.slices.metric
        return words


def _without_effect(model: BaseModel, prefix: str) -> list[str]:
    found = []
    for name in sorted(model.model_fields_set):
        extra = type(model).model_fields[name].json_schema_extra
        value = getattr(model, name)
        if isinstance(extra, dict) and extra.get("no_effect"):
            found.append(prefix + name)
        elif isinstance(value, BaseModel):
            found += _without_effect(value, f"{prefix}{name}.")
    return found
