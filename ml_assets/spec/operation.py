"""Monitoring, retraining, serving and upkeep: what goes on once there is a model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ml_assets.spec.base import NO_EFFECT, Share, Strict


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


class Tracking(Strict):
    """Where trainings are copied to, for people who compare them elsewhere."""

    mlflow: str = Field(
        min_length=1,
        description="Tracking URI of an MLflow server, such as http://127.0.0.1:5000 or {{ env.MLFLOW_URI }}.",
    )


class Serving(Strict):
    """Which versions the scoring server answers with. No effect yet: the server is not part of this version."""

    routes: dict[str, Share] = Field(
        default_factory=lambda: {"champion": 1.0}, description="Share of requests by alias."
    )
    shadow: list[str] = Field(default_factory=list, description="Aliases that are asked too, without being answered.")


class Upkeep(Strict):
    """How the pipeline's part of the lake is kept small: what nothing needs goes, what a model was trained on stays."""

    cron: str | None = Field(
        "0 3 * * *",
        pattern=r"^\S+( \S+){4}$",
        description="Cron expression (UTC). null: only by hand, `ml-assets lake upkeep`.",
    )
    keep_days: int = Field(30, ge=1, description="Days for which every state of the lake can still be read.")
