"""Monitoring, retraining, deployment, alerts, serving and maintenance: what goes on once there is a model."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from ml_assets.spec.base import AS_SHARE, Share, Strict

Alias = Literal["champion", "challenger"]
# Names of Evidently's measures; those named after a statistical test return a p-value.
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
    """When the champion's live score counts as decayed, compared with its test score."""

    metric: str | None = Field(None, description="Metric of the live score. Default: the tuning metric.")
    max_drop: Annotated[float, Field(ge=0)] = Field(
        0.05,
        description=f"By how much the live score may be worse than the test score; as a share for {AS_SHARE}.",
    )
    min_rows: int = Field(
        100, ge=1, description="Minimum number of scored rows with a known outcome; with fewer there is no verdict."
    )


class ColumnDrift(Strict):
    """How drift of one feature, or of `prediction`, is measured. Default: an effect size with Evidently's threshold."""

    method: DriftMethod | None = Field(
        None,
        description="Evidently's name of the measure. Default: wasserstein for numbers, jensenshannon for categories.",
    )
    threshold: Annotated[float, Field(gt=0)] | None = Field(
        None, description="The column has drifted from this value on; if the measure is a p-value, below it."
    )
    ignore: bool = Field(False, description="Exclude the column from the verdict; it is still measured.")


class Monitoring(Strict):
    """How a batch is compared with the champion's training data, and live scores with its test score."""

    drift_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="A batch has drifted when drifted columns carry at least this share of the model's importance.",
    )
    sample: int = Field(20_000, ge=100, description="Number of rows sampled from each side, with a fixed seed.")
    min_rows: int = Field(100, ge=1, description="Batches with fewer rows get no drift verdict.")
    columns: dict[str, ColumnDrift] = Field(
        default_factory=dict, description="Other measures and thresholds, by feature name or `prediction`."
    )
    reports: str | None = Field(
        None,
        description="Folder to watch for Evidently JSON reports of other jobs; drift in them triggers retraining, too.",
    )
    performance: Performance = Field(
        default_factory=lambda: Performance(), description="When live scores count as decayed."
    )


class NewBatches(Strict):
    """Retrain after a number of new batches."""

    new_batches: int = Field(ge=1, description="Number of new batches since the last training.")


class Retrain(Strict):
    """What starts a training automatically. The first training starts by itself, unless `on` is empty."""

    on: list[Literal["drift", "decay"] | NewBatches] = Field(
        default=["drift", "decay"],
        description="Triggers. drift: a drifted batch. decay: a decayed live score. {new_batches: N}: N new batches "
        "since the last training. Empty: no automatic training.",
    )
    cooldown_batches: int = Field(
        1,
        ge=0,
        description="Number of batches between two trainings; doubles with each training in a row that does not "
        "replace the champion.",
    )
    min_batches: int = Field(3, ge=1, description="Minimum number of batches with features before the first training.")
    min_rows: int = Field(100, ge=0, description="Minimum number of labelled rows that the last training did not have.")
    cron: str | None = Field(
        None, pattern=r"^\S+( \S+){4}$", description="Cron expression (UTC) of a schedule that requests trainings."
    )


class Deploy(Strict):
    """Where a new champion is deployed, besides servers that follow the lake by themselves."""

    publish: str | None = Field(
        None,
        description="Folder or URL, such as s3://bucket/models, to copy the release to, with a champion.json that "
        "names it.",
    )
    servers: list[str] = Field(
        default_factory=list, description="Addresses of servers to reload, such as http://127.0.0.1:8000."
    )
    webhook: str | None = Field(
        None, description="URL to post pipeline, version and release to, such as {{ env.DEPLOY_HOOK }}."
    )


AlertEvent = Literal[
    "run_failure",
    "refused_batch",
    "rejected_file",
    "duplicate_file",
    "drift",
    "decay",
    "pending",
    "refused",
    "champion",
    "digest",
    "daemon",
]
Severity = Literal["info", "warning", "critical"]  # in ascending order
WEBHOOK = "webhook"  # name of the channel of alerts.webhook


class Channel(Strict):
    """A place where alerts go, by an address of Apprise: e-mail, Teams, PagerDuty, Telegram and many more."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)] = Field(
        description="Name of the channel, which is shown instead of its address."
    )
    address: str | None = Field(
        description="Apprise address, which is a secret: take it from the environment, such as {{ env.ALERTS_EMAIL }}."
    )
    on: list[AlertEvent] | None = Field(None, description="Events to send here. Default: those of alerts.on.")
    severity: Severity = Field(
        "info", description="Least severity of what is sent here: info (everything), warning or critical."
    )


class Alerts(Strict):
    """Where alerts are sent. Every alert is also a row of the table `alerts`."""

    webhook: str | None = Field(
        None, description="URL to post alerts to, in Slack's format, such as {{ env.SLACK_WEBHOOK }}."
    )
    channels: list[Channel] = Field(default_factory=list, description="Further channels, by addresses of Apprise.")
    on: list[AlertEvent] = Field(
        default_factory=lambda: list(get_args(AlertEvent)),
        description="Events to send: run_failure, refused_batch, rejected_file (cannot be ingested), duplicate_file "
        "(the same bytes again), drift, decay, pending (a version waits for approval), refused (gates refused a "
        "version), champion (the champion changed), digest (see below), daemon (`ml-assets doctor --watch` finds the "
        "daemon down, or back).",
    )
    digest: str | None = Field(
        None,
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="Time of day (UTC), such as '08:00', of one message a day with all that needs attention.",
    )

    @field_validator("digest", mode="before")
    @classmethod
    def _as_text(cls, digest: object) -> object:
        """YAML 1.1 reads 18:00 as a number to the base of 60."""
        return f"{digest // 60:02}:{digest % 60:02}" if isinstance(digest, int) else digest

    @field_validator("channels")
    @classmethod
    def _distinct(cls, channels: list[Channel]) -> list[Channel]:
        names = [WEBHOOK, *(channel.name for channel in channels)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two channels are named {name!r}; {WEBHOOK} is the one of alerts.webhook")
        return channels

    @property
    def receivers(self) -> list[Channel]:
        """All channels that the YAML names, the webhook among them, also those whose address is empty."""
        is_named = self.webhook or "webhook" in self.model_fields_set
        webhook = [Channel(name=WEBHOOK, address=self.webhook)] if is_named else []
        return [*webhook, *self.channels]

    def takes(self, channel: Channel, event: str, severity: Severity) -> bool:
        """Is an event sent to a channel?"""
        words = get_args(Severity)
        on = self.on if channel.on is None else channel.on
        return event in on and words.index(severity) >= words.index(channel.severity)


class Tracking(Strict):
    """Where trainings are logged, and versions registered, in addition to the lake."""

    mlflow: str = Field(
        min_length=1,
        description="Tracking URI of an MLflow server, such as http://127.0.0.1:5000 or {{ env.MLFLOW_URI }}.",
    )


class Log(Strict):
    """What the server logs of each request before it responds, and how long the lake keeps it."""

    sample: Share = Field(1.0, description="Share of the requests that are logged.")
    leave_out: list[str] = Field(
        default_factory=list, description="Columns that are never logged, nor features of the same name."
    )
    required: bool = Field(
        True,
        description="Respond only if the prediction can be logged: while the disk is full, requests get status 503. "
        "false: respond anyway.",
    )
    train: bool = Field(
        True,
        description="Logged rows whose outcome came back become training data. It needs a `key`, by which a row that "
        "also arrives in a file counts once, and nothing that is left out.",
    )
    keep_days: int | None = Field(
        90, ge=1, description="Number of days for which the lake keeps logged requests and feedback; null: for ever."
    )


class Serving(Strict):
    """Which versions score besides the champion, and what the server does with broken constraints."""

    routes: dict[Alias, Share] = Field(
        default={"champion": 1.0},
        description="Share of rows by alias (champion, challenger), in requests as in batches; a row's key decides. "
        "What is left over, or has no version, is the champion's. Each alias listed here scores every batch.",
    )
    shadow: list[str] = Field(
        default_factory=list,
        description="Versions whose scores of every batch are stored but not used: challenger, or numbers such as "
        "1.0.0.",
    )
    constraints: Literal["warn", "refuse"] = Field(
        "warn",
        description="What the server does with a value that breaks a column's min, max, allowed or regex: predict and "
        "name it (warn), or refuse the request (refuse).",
    )
    log: Log | None = Field(
        default_factory=lambda: Log(), description="The log of what the server predicts; null turns it off."
    )

    @field_validator("routes")
    @classmethod
    def _whole(cls, routes: dict[Alias, Share]) -> dict[Alias, Share]:
        if sum(routes.values()) > 1 + 1e-9:
            raise ValueError(f"the shares add up to {sum(routes.values()):g}; they must not exceed 1")
        return routes

    @field_validator("shadow")
    @classmethod
    def _named(cls, shadow: list[str]) -> list[str]:
        for name in shadow:
            if name != "challenger" and not re.fullmatch(r"\d+\.\d+\.\d+", name):
                raise ValueError(f"{name!r} is neither challenger nor a version number such as 1.0.0")
        return shadow


class Maintenance(Strict):
    """Maintenance of the pipeline's tables: merges small files and deletes old states that no model was trained on."""

    cron: str | None = Field(
        "0 3 * * *",
        pattern=r"^\S+( \S+){4}$",
        description="Cron expression (UTC). null: only by hand, with `ml-assets lake maintenance`.",
    )
    keep_days: int = Field(30, ge=1, description="Number of days for which every state of the lake can be read.")
