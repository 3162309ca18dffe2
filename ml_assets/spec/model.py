"""Split, candidates, tuning, costs and gates: how features become a model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ml_assets.spec.base import Share, Strict


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
    steps: int = Field(5, ge=2, description="sampler: grid only: how many values of the range are tried.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high; found {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0; found {self.low:g}")
        return self


Scalar = str | int | float | bool | None


class Preprocess(Strict):
    """What happens to the features before an estimator sees them.

    Unset keys follow the estimator's kind: one that takes missing numbers (trees) gets numbers as they are and
    categories as codes; any other gets medians, unit variance and one column per frequent category.
    """

    impute: Literal["median", "mean", "most_frequent", "none"] | None = Field(
        None, description="What stands in for a missing number; a column that says so is added."
    )
    scale: Literal["standard", "robust", "minmax", "none"] | None = Field(None, description="Scale of numbers.")
    encode: Literal["onehot", "ordinal", "target"] | None = Field(
        None, description="How categories become numbers; unknown ones are borne by each."
    )
    select: int | None = Field(
        None,
        ge=1,
        description="Keep this many of the resulting columns: those that tell most about the target (F test).",
    )
    reduce: Annotated[int | float, Field(gt=0)] | None = Field(
        None, description="Principal components: how many (whole number), or the share of variance to keep (below 1)."
    )
    balance: Literal["none", "weights", "undersample", "oversample"] = Field(
        "none",
        description="Rare classes weigh as much as frequent ones: by class weights, or by drawing train rows. "
        "It distorts probabilities; calibrate mends them.",
    )

    @model_validator(mode="after")
    def _whole_or_share(self) -> Self:
        if self.reduce is not None and self.reduce >= 1 and self.reduce % 1:
            raise ValueError(f"reduce is a whole number of components or a share below 1; found {self.reduce:g}")
        return self


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
    preprocess: Preprocess = Field(
        default_factory=lambda: Preprocess(), description="What happens to the features first."
    )
    calibrate: Literal["sigmoid", "isotonic"] | None = Field(
        None, description="Make probabilities true, by cross-validation on the rows that the model is fitted on."
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
    sampler: Literal["tpe", "random", "grid"] = Field(
        "tpe", description="How the next trial is chosen; grid tries every combination, up to `trials` of them."
    )
    prune: bool = Field(True, description="Stop a trial whose first fold is worse than the median of those before.")
    parallel: int = Field(
        4,
        ge=1,
        description="Trials that are chosen at a time and run side by side on the cores there are. The result depends "
        "on this number, never on the number of cores.",
    )
    seconds: float = Field(300, gt=0, description="No new trial of a candidate starts after this many seconds.")
    seed: int = Field(0, ge=0, description="Seed of sampler, folds and estimators.")


class Training(Strict):
    """What becomes of the best candidate."""

    refit: Literal["all", "judged"] = Field(
        "all",
        description="all: once the gates that need no server have passed, the judged recipe is fitted again on all "
        "labelled rows, test rows included, and that model serves. judged: the model that was tested serves; it never "
        "learns the newest labelled batches.",
    )


class Costs(Strict):
    """What a wrong decision costs (binary only); sets the decision threshold, on rows that the model has not seen."""

    false_positive: float = Field(1, ge=0, description="Cost of acting on a row that was negative.")
    false_negative: float = Field(1, ge=0, description="Cost of missing a row that was positive.")
    unit: str = Field("", max_length=20, description="What the costs are counted in, such as EUR.")


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


class CostsGate(Strict):
    """A version must not surely lose money; judged where `costs` are given."""

    max_loss: float = Field(
        0.0,
        ge=0,
        description="Largest loss a row, against the champion's decisions and against the cheapest constant decision. "
        "Refused where the loss is surely greater: the whole 95% interval lies beyond it.",
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
    missing: Share = Field(0.05, description="Share of feature values that are taken away, to see what that turns.")
    max_flips_missing: Share | None = Field(
        None, description="Largest share of decisions that missing values may flip; null: reported, not judged."
    )


class FairnessGate(Strict):
    """Groups of people or things must be served alike."""

    by: list[str] = Field(min_length=1, description="Columns whose values are the groups.")
    metric: str | None = Field(
        None,
        description="What must be alike: a metric, or selection_rate (share of rows decided positive, or decided for "
        "the most frequent class). Default: selection_rate; for regression the tuning metric.",
    )
    max_gap: float = Field(0.2, ge=0, description="Largest difference between the best and the worst served group.")
    min_rows: int = Field(500, ge=1, description="Groups with fewer test rows are reported but not judged.")


class CalibrationGate(Strict):
    """A probability must come true as often as it says."""

    max_error: Share = Field(0.05, description="Largest expected calibration error over ten bins of equal rows.")


class LeakageGate(Strict):
    """A model that is too good has often seen the answer."""

    max_single: Share = Field(
        0.999,
        description="Most that one feature alone may explain of the target: ROC AUC (classes), or R2 (regression).",
    )
    max_score: Share | None = Field(
        0.999,
        description="A version that scores better on test rows (ROC AUC, balanced accuracy of several classes, R2), or "
        "two or three of whose features do, waits for a person's approval: too good to be true. 1 or null: never.",
    )
    max_identical: Share | None = Field(
        None, description="Largest share of test rows that stand among the train rows too, label included."
    )


class ServingGate(Strict):
    """Limits of the scoring server: the bundle is started as a process and asked."""

    p95_ms: float = Field(50, gt=0, description="Slowest 95th percentile of a one-row request, in milliseconds.")
    rss_mib: float = Field(600, gt=0, description="Most memory of the server process, in MiB.")
    parity: float = Field(1e-5, ge=0, description="Largest difference from the batch path on golden rows.")


class RefitGate(Strict):
    """How far the model that serves may be from the judged one (`training.refit: all`)."""

    max_negative_flips: Share = Field(
        0.25,
        description="Largest share of the test rows that the judged model decides right and the served one wrong; of a "
        "regression, whose error grows by more than 0.1 standard deviations of the target.",
    )
    max_drop: float = Field(
        0.1,
        ge=0,
        description="Largest loss of the tuning metric, against the judged model, on the rows that both were fitted "
        "on; of mae, rmse and log_loss as a share.",
    )


class Gates(Strict):
    """What a model must show before it goes live."""

    metrics: dict[str, MetricLimit] = Field(default_factory=dict, description="Limits by metric name.")
    overfit: OverfitGate | None = Field(None, description="Gap between train and test.")
    champion: ChampionGate = Field(default_factory=lambda: ChampionGate(), description="Against today's champion.")
    costs: CostsGate | None = Field(
        default_factory=lambda: CostsGate(), description="What the decisions lose, where `costs` are given."
    )
    slices: SlicesGate | None = Field(None, description="Per value of some columns.")
    sensitivity: SensitivityGate | None = Field(None, description="Under small noise.")
    fairness: FairnessGate | None = Field(None, description="Between groups.")
    calibration: CalibrationGate | None = Field(None, description="Of probabilities.")
    leakage: LeakageGate | None = Field(default_factory=lambda: LeakageGate(), description="Signs of a leak.")
    refit: RefitGate | None = Field(
        default_factory=lambda: RefitGate(), description="The model that serves against the judged one."
    )
    serving: ServingGate | None = Field(
        default_factory=lambda: ServingGate(),
        description="Limits of the scoring server. null: the bundle is built, not started.",
    )
    approval: Literal["auto", "manual"] = Field(
        "auto", description="manual: a model that passes waits for `ml-assets approve`."
    )
