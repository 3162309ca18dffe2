"""Monitoring, retraining, deployment, alerts, serving and maintenance: what goes on once there is a model."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from ml_assets.spec.base import Share, Strict

Alias = Literal["champion", "challenger"]
# Names of Evidently's measures; those whose name is a test answer with a p-value.
DriftMethod = Literal[
    "wasserstein",
    "jensenshannon",
    "psi",
    "kl_div",
    "hellinger",
    "TVD",
    "ks",
    "anderson",
    "cramer_von_mises",
    "ed",
    "es",
    "mannw",
    "t_test",
    "z",
    "chisquare",
    "fisher_exact",
    "g_test",
]


class Performance(Strict):
    """When the champion's live score counts as decayed."""

    metric: str | None = Field(
        None, description="Metric of the predictions against the outcomes; default: the tuning metric."
    )
    max_drop: Annotated[float, Field(ge=0)] = Field(
        0.05,
        description="Largest loss against the promised test score: absolute, and for mae, rmse, log_loss as a share.",
    )
    min_rows: int = Field(100, ge=1, description="Fewest scored rows with a known outcome for a verdict.")


class ColumnDrift(Strict):
    """How one feature, or `prediction`, is compared. Default: an effect size, with Evidently's threshold."""

    method: DriftMethod | None = Field(
        None,
        description="Evidently's name of the measure; default: wasserstein for numbers, jensenshannon for categories.",
    )
    threshold: Annotated[float, Field(gt=0)] | None = Field(
        None, description="From here on the column has drifted; for a p-value, below it."
    )
    ignore: bool = Field(False, description="Leave it out of the verdict; it is measured all the same.")


class Monitoring(Strict):
    """How a batch is compared with what the champion was trained on, and with what it promised."""

    drift_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="A batch has drifted when at least this share of the model's importance lies in drifted columns.",
    )
    sample: int = Field(20_000, ge=100, description="Rows of each side that are compared, drawn with a seed.")
    min_rows: int = Field(100, ge=1, description="A batch with fewer rows gets no verdict of drift.")
    columns: dict[str, ColumnDrift] = Field(
        default_factory=dict, description="Other measures and thresholds, by feature; `prediction` is one, too."
    )
    reports: str | None = Field(
        None,
        description="Folder that is watched for JSON reports that other jobs made with Evidently: drift there counts.",
    )
    performance: Performance = Field(
        default_factory=lambda: Performance(), description="When a live score counts as decayed."
    )


class NewBatches(Strict):
    """Train after this many new batches."""

    new_batches: int = Field(ge=1, description="New batches since the last training.")


class Retrain(Strict):
    """What starts a training without a person. The first one starts by itself, unless `on` is empty."""

    on: list[Literal["drift", "decay"] | NewBatches] = Field(
        default=["drift", "decay"],
        description="drift: a drifted batch. decay: a live score below the promised one. {new_batches: N}: so many "
        "since the last training. Empty: only by hand.",
    )
    cooldown_batches: int = Field(
        1,
        ge=0,
        description="Batches that must arrive between two trainings; doubled for each refused version in a row.",
    )
    min_batches: int = Field(3, ge=1, description="No training is started before this many batches have features.")
    min_rows: int = Field(100, ge=0, description="Labelled rows that the last training did not have, to start another.")
    cron: str | None = Field(
        None, pattern=r"^\S+( \S+){4}$", description="Cron expression (UTC) of a schedule that asks for a training."
    )


class Deploy(Strict):
    """What a new champion sets in motion, beyond the servers that follow the lake by themselves."""

    publish: str | None = Field(
        None,
        description="Folder or URL, such as s3://bucket/models, to which its release is copied, with champion.json.",
    )
    servers: list[str] = Field(
        default_factory=list, description="Addresses of servers that are told, such as http://127.0.0.1:8000."
    )
    webhook: str | None = Field(
        None, description="Address that gets a POST with pipeline, version and release, such as {{ env.DEPLOY_HOOK }}."
    )


AlertEvent = Literal["run_failure", "refused_batch", "drift", "decay", "pending", "refused", "champion"]


class Alerts(Strict):
    """Who is told. Every alert is a row of the table `alerts` in any case."""

    webhook: str | None = Field(
        None, description="Address that gets a POST for each alert, as Slack takes it, such as {{ env.SLACK_WEBHOOK }}."
    )
    on: list[AlertEvent] = Field(
        default_factory=lambda: list(get_args(AlertEvent)),
        description="run_failure, refused_batch, drift, decay, pending (a version waits for a person), refused (a gate "
        "refused a version), champion (it changed).",
    )


class Tracking(Strict):
    """Where trainings are copied to, for people who compare them elsewhere."""

    mlflow: str = Field(
        min_length=1,
        description="Tracking URI of an MLflow server, such as http://127.0.0.1:5000 or {{ env.MLFLOW_URI }}.",
    )


class Serving(Strict):
    """Which versions score beside the champion. The server itself answers with the champion only, so far."""

    routes: dict[Alias, Share] = Field(
        default={"champion": 1.0},
        description="Share of requests by alias: champion, challenger. Each that is named scores every batch.",
    )
    shadow: list[str] = Field(
        default_factory=list,
        description="challenger, or version numbers such as 1.0.0, that score every batch without being used.",
    )

    @field_validator("shadow")
    @classmethod
    def _named(cls, shadow: list[str]) -> list[str]:
        for name in shadow:
            if name != "challenger" and not re.fullmatch(r"\d+\.\d+\.\d+", name):
                raise ValueError(f"{name!r} is neither challenger nor a version number such as 1.0.0")
        return shadow


class Maintenance(Strict):
    """How the pipeline's part of the lake is kept small: what nothing needs goes, what a model was trained on stays."""

    cron: str | None = Field(
        "0 3 * * *",
        pattern=r"^\S+( \S+){4}$",
        description="Cron expression (UTC). null: only by hand, `ml-assets lake maintenance`.",
    )
    keep_days: int = Field(30, ge=1, description="Days for which every state of the lake can still be read.")
