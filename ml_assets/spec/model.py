"""Split, candidates, tuning, costs and gates: how features become a model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ml_assets.metrics import DEFAULT
from ml_assets.spec.base import AS_SHARE, Share, Strict


class Split(Strict):
    """How labelled rows are split into training, validation and test rows."""

    by: Literal["batch", "random", "stratified", "group"] = Field(
        "batch",
        description="batch: hold out the last batches; random, stratified, group: hold out a seeded share of rows.",
    )
    validation: float = Field(
        1,
        gt=0,
        description="Number of batches (by: batch) or share of rows (otherwise) on which candidates are compared.",
    )
    test: float = Field(
        1,
        gt=0,
        description="Number of batches (by: batch) or share of rows (otherwise) on which the version is evaluated.",
    )
    group: str | None = Field(
        None, description="For by: group, the column whose rows with the same value stay together."
    )

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
    """A range of numbers to search."""

    low: int | float = Field(description="Smallest value.")
    high: int | float = Field(description="Largest value. If both are whole numbers, only whole numbers are tried.")
    log: bool = Field(False, description="Whether to search on a logarithmic scale.")
    steps: int = Field(5, ge=2, description="For sampler: grid, the number of values to try.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high; found {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0; found {self.low:g}")
        return self


Scalar = str | int | float | bool | None


class Preprocess(Strict):
    """How features are transformed before they reach the estimator.

    The defaults depend on the estimator: one that accepts missing values (trees) gets numbers unchanged and categories
    as codes; any other gets medians for missing numbers, unit variance and one-hot encoded frequent categories.
    """

    impute: Literal["median", "mean", "most_frequent", "none"] | None = Field(
        None, description="Replacement for missing numbers; an indicator column is added."
    )
    scale: Literal["standard", "robust", "minmax", "none"] | None = Field(None, description="How numbers are scaled.")
    encode: Literal["onehot", "ordinal", "target"] | None = Field(
        None, description="How categories become numbers. All three handle unknown categories."
    )
    select: int | None = Field(
        None,
        ge=1,
        description="Number of resulting columns to keep: those most related to the target (F test).",
    )
    reduce: Annotated[int | float, Field(gt=0)] | None = Field(
        None,
        description="Principal components: their number (whole number), or the share of variance to keep (below 1).",
    )
    balance: Literal["none", "weights", "undersample", "oversample"] = Field(
        "none",
        description="How to give rare classes as much weight as frequent ones: class weights, or resampled training "
        "rows. This distorts probabilities; `calibrate` corrects them.",
    )

    @model_validator(mode="after")
    def _whole_or_share(self) -> Self:
        if self.reduce is not None and self.reduce >= 1 and self.reduce % 1:
            raise ValueError(f"reduce is a whole number of components or a share below 1; found {self.reduce:g}")
        return self


class Candidate(Strict):
    """One algorithm to tune and compare."""

    estimator: str = Field(
        pattern=r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*$",
        description="Import path of an estimator with scikit-learn's interface.",
    )
    params: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="Fixed parameters of the estimator."
    )
    search: dict[str, Range | list[Scalar]] = Field(
        default_factory=dict, description="Parameters to tune: a range {low, high, log}, or a list of choices."
    )
    preprocess: Preprocess = Field(
        default_factory=lambda: Preprocess(), description="How features are transformed first."
    )
    calibrate: Literal["sigmoid", "isotonic"] | None = Field(
        None, description="How to calibrate probabilities, by cross-validation on the rows that the model is fitted on."
    )

    @model_validator(mode="after")
    def _fixed_or_searched(self) -> Self:
        both = sorted(set(self.params) & set(self.search))
        if both:
            raise ValueError(f"{both[0]!r} is under params and under search; it can be in one of them")
        return self


class Tuning(Strict):
    """How hyperparameters are searched."""

    metric: str | None = Field(
        None,
        description=f"Metric to optimise. Default: {', '.join(f'{name} ({kind})' for kind, name in DEFAULT.items())}.",
    )
    trials: int = Field(20, ge=1, description="Maximum number of trials per candidate.")
    folds: int = Field(
        3,
        ge=2,
        description="Number of cross-validation folds of the training rows; in order of time with split by: batch.",
    )
    sampler: Literal["tpe", "random", "grid"] = Field(
        "tpe", description="How parameters are proposed; grid tries every combination, up to `trials` of them."
    )
    prune: bool = Field(
        True, description="Whether to stop a trial whose first fold is worse than the median of the earlier trials."
    )
    parallel: int = Field(
        4,
        ge=1,
        description="Number of trials proposed at a time and run in parallel. The result depends on this number, but "
        "not on the number of cores.",
    )
    seconds: float = Field(300, gt=0, description="Time limit in seconds: no new trial of a candidate starts after it.")
    seed: int = Field(0, ge=0, description="Random seed of sampler, folds and estimators.")


class Training(Strict):
    """What is trained on, and which model is served."""

    refit: Literal["all", "judged"] = Field(
        "all",
        description="all: once the gates that need no server have passed, the same candidate and parameters are fitted "
        "again on all labelled rows, including validation and test rows, and that model is served. judged: the "
        "evaluated model is served; it has not learned the test rows, which are often the newest.",
    )
    max_rows: int | None = Field(
        None,
        ge=100,
        description="About how many labelled rows a training set has at most. Where there are more, it is a sample: "
        "the same share of every batch, by a hash of each row with tuning.seed, so the same rows on every machine. "
        "Default: as many as fit in 1 GiB at 8 bytes a feature, such as 6.7 million rows of 20 features; a training "
        "takes several times that in memory.",
    )


class Costs(Strict):
    """What a wrong decision costs (binary only). Sets the decision threshold to the cheapest one on held-out rows."""

    false_positive: float = Field(1, ge=0, description="Cost of deciding positive for a negative row.")
    false_negative: float = Field(1, ge=0, description="Cost of deciding negative for a positive row.")
    unit: str = Field("", max_length=20, description="Unit of the costs, such as EUR.")


class MetricLimit(Strict):
    """Limits of one metric on test rows."""

    min: float | None = Field(None, description="Smallest value that passes.")
    max: float | None = Field(None, description="Largest value that passes.")


class OverfitGate(Strict):
    """How much worse a version may be on test rows than on training rows."""

    max_gap: float = Field(
        0.1, ge=0, description="Maximum difference of the tuning metric between training and test rows."
    )


class ChampionGate(Strict):
    """How a version must compare with the champion on the same test rows."""

    max_drop: float = Field(0.0, ge=0, description="By how much the tuning metric may be worse than the champion's.")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        0.95,
        description="Refuse a version that is worse by more than max_drop with this confidence (paired bootstrap).",
    )


class CostsGate(Strict):
    """How much money decisions may lose; applies if `costs` are given."""

    max_loss: float = Field(
        0.0,
        ge=0,
        description="Maximum loss per row, compared with the champion's decisions and with the cheapest constant "
        "decision. A version is refused if the whole 95% interval of its loss is above this.",
    )


class SlicesGate(Strict):
    """How good a version must be on each slice of the data."""

    by: list[str] = Field(min_length=1, description="Columns; each of their values is a slice.")
    metric: str | None = Field(None, description="Metric of a slice. Default: the tuning metric.")
    min: float | None = Field(None, description="Smallest value that passes.")
    max: float | None = Field(None, description="Largest value that passes.")
    min_rows: int = Field(500, ge=1, description="Slices with fewer test rows are reported but cannot fail the gate.")


class SensitivityGate(Strict):
    """How many decisions small changes of the input may flip."""

    noise: float = Field(
        0.01, gt=0, description="Noise added to every numeric feature, as a share of its standard deviation."
    )
    max_flips: Share = Field(0.05, description="Maximum share of decisions that noise may flip.")
    missing: Share = Field(
        0.05, description="Share of feature values that are removed for the test with missing values."
    )
    max_flips_missing: Share | None = Field(
        None, description="Maximum share of decisions that missing values may flip. null: reported only."
    )


class FairnessGate(Strict):
    """How much the model may differ between groups of people or things."""

    by: list[str] = Field(min_length=1, description="Columns; each of their values is a group.")
    metric: str | None = Field(
        None,
        description="What is compared: a metric, or selection_rate (share of rows decided positive or, for multiclass, "
        "for the most frequent class). Default: selection_rate; for regression the tuning metric.",
    )
    max_gap: float = Field(0.2, ge=0, description="Maximum difference between any two groups.")
    min_rows: int = Field(500, ge=1, description="Groups with fewer test rows are reported but cannot fail the gate.")


class CalibrationGate(Strict):
    """How well predicted probabilities must match observed frequencies."""

    max_error: Share = Field(
        0.05, description="Maximum expected calibration error, over ten bins with equal numbers of rows."
    )


class LeakageGate(Strict):
    """Limits for results that are too good to be true, which often mean target leakage."""

    max_single: Share = Field(
        0.999,
        description="Maximum that one feature alone may explain of the target: ROC AUC (classes) or R2 (regression).",
    )
    max_score: Share | None = Field(
        0.999,
        description="A version waits for approval if its test score (ROC AUC, for multiclass balanced accuracy, R2) is "
        "above this, or if two or three of its features alone score above it. 1 or null: never.",
    )
    max_identical: Share | None = Field(
        None, description="Maximum share of test rows that are also training rows, including the label."
    )


class ServingGate(Strict):
    """Limits for the release when it is started as a real server and tested."""

    p95_ms: float = Field(
        50, gt=0, description="Maximum 95th percentile latency of a single-row request, in milliseconds."
    )
    rss_mib: float = Field(600, gt=0, description="Maximum memory of the server process, in MiB.")
    parity: float = Field(
        1e-5, ge=0, description="Maximum difference between the scores of server and batch scoring on the golden rows."
    )


class RefitGate(Strict):
    """How much a refit model (`training.refit: all`) may differ from the judged one, which is served otherwise."""

    max_negative_flips: Share = Field(
        0.25,
        description="Maximum share of test rows that the judged model decides right and the served one wrong; for "
        "regression, rows whose error grows by more than 0.1 standard deviations of the target.",
    )
    max_drop: float = Field(
        0.1,
        ge=0,
        description="By how much the tuning metric may be worse than the judged model's on the rows that both were "
        f"fitted on; as a share for {AS_SHARE}.",
    )


class Gates(Strict):
    """What a version must pass before it becomes the champion."""

    metrics: dict[str, MetricLimit] = Field(default_factory=dict, description="Limits by metric name.")
    overfit: OverfitGate | None = Field(None, description="Limit of the gap between training and test score.")
    champion: ChampionGate = Field(
        default_factory=lambda: ChampionGate(), description="Comparison with the current champion."
    )
    costs: CostsGate | None = Field(
        default_factory=lambda: CostsGate(),
        description="Limit of the money that decisions may lose, if `costs` are given.",
    )
    slices: SlicesGate | None = Field(None, description="Limits per slice of the data.")
    sensitivity: SensitivityGate | None = Field(
        None, description="Limits of decisions that flip under noise or with missing values."
    )
    fairness: FairnessGate | None = Field(None, description="Limit of the differences between groups.")
    calibration: CalibrationGate | None = Field(None, description="Limit of the calibration error.")
    leakage: LeakageGate | None = Field(default_factory=lambda: LeakageGate(), description="Signs of target leakage.")
    refit: RefitGate | None = Field(
        default_factory=lambda: RefitGate(),
        description="Limits of the refit model compared with the judged one. null: no limits.",
    )
    serving: ServingGate | None = Field(
        default_factory=lambda: ServingGate(),
        description="Limits of the scoring server. null: package the release without starting it.",
    )
    approval: Literal["auto", "manual"] = Field(
        "auto", description="auto: promote a version that passes all gates; manual: it waits for `ml-assets approve`."
    )
