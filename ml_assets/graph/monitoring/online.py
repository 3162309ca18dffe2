"""A day of real-time use, measured by the code that measures batches, under the batch name `online YYYY-MM-DD`.

What was asked is compared with what the champion was fitted on, and what each version predicted with the outcomes that
came back as feedback.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.graph.monitoring import performance, samples
from ml_assets.graph.monitoring.performance import MeasuredRows
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier, literal
from ml_assets.ml import estimators
from ml_assets.ml.reference import PREDICTION
from ml_assets.spec import PipelineSpec
from ml_assets.tables import prediction_log as log
from ml_assets.tables.performance import EARLIER
from ml_assets.tables.prediction_log import FEEDBACK, PREDICTION_LOG
from ml_assets.tables.predictions import ScoredBy
from ml_assets.tables.table import ONLINE
from ml_assets.tables.versions import now

if TYPE_CHECKING:
    import pandas as pd

ROWS, PREDICTED = "online_rows", "online_predictions"


@dataclass(frozen=True)
class Day:
    """What was logged in a day, opened as the temporary tables `online_rows` and `online_predictions`.

    Args:
        batch: The name that it has among batches.
        versions: Those that predicted.
    """

    batch: str
    versions: list[ScoredBy]


def open_day(lake: Lake, spec: PipelineSpec, day: str) -> Day:
    """Read a day of the log. A row that was logged twice, as a client may repeat a request, counts once."""
    batch, logged = f"{ONLINE}{day}", PREDICTION_LOG.relation(lake, spec.name)
    if logged is None:
        return Day(batch, [])
    # Requests to a version by its number are trials, such as those of the server's page.
    roles = "role IN ('champion', 'challenger', 'shadow')"
    of_day = f"(SELECT * FROM {logged} WHERE hour BETWEEN $day || 'T00' AND $day || 'T23' AND {roles})"
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {ROWS} AS
        SELECT row_number() OVER (ORDER BY request_id, row_number) AS row_id, request_id, row_number,
            min(received_at) AS received_at, arg_max(request, received_at) AS request
        FROM {of_day} GROUP BY request_id, row_number""",
        {"day": day},
    )
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {PREDICTED} AS
        SELECT $batch AS batch, r.row_id, l.* EXCLUDE (request_id, row_number, request) FROM {ROWS} r JOIN (
            SELECT DISTINCT ON (request_id, row_number, model_version) * FROM {of_day}
            ORDER BY request_id, row_number, model_version, received_at DESC) l USING (request_id, row_number)""",
        {"day": day, "batch": batch},
    )
    return Day(batch, _versions(lake))


def _versions(lake: Lake) -> list[ScoredBy]:
    """The newest champion of the day first; one that it replaced is not judged any more."""
    found = lake.rows(
        f"""SELECT model_version AS number, arg_max(role, received_at) AS role,
            max(received_at) FILTER (role = 'champion') AS led FROM {PREDICTED}
        GROUP BY 1 ORDER BY led DESC NULLS LAST, 1"""
    )
    roles = ["champion" if row["led"] else row["role"] for row in found]
    roles = [EARLIER if role == "champion" and place else role for place, role in enumerate(roles)]
    return [ScoredBy(row["number"], role, False) for row, role in zip(found, roles, strict=True)]


def performance_rows(lake: Lake, paths: Paths, spec: PipelineSpec, day: Day) -> list[dict[str, Any]]:
    """The rows of `performance_report`: each version on all rows that it predicted and whose outcome is known."""
    known = log.observed_sql(spec, ROWS, FEEDBACK.relation(lake, spec.name))
    labels = f"(SELECT {literal(day.batch)} AS batch, row_id, ({spec.target.sql}\n) AS label FROM {known})"
    lines = []
    for version in day.versions:
        predicted = f"(SELECT * FROM {PREDICTED} WHERE model_version = {literal(version.number)})"
        when = {"measured_at": now(), "outcomes_until": None}
        lines += performance.report_of(lake, paths, spec, day.batch, [version], MeasuredRows(predicted, labels), when)
    return lines


def sample(lake: Lake, by: samples.Watched, size: int, left_out: Container[str]) -> tuple[pd.DataFrame | None, int]:
    """At most `size` rows of the features that a version logged, with its prediction, and how many it predicted.

    None where it predicted nothing on the day that is open.
    """
    types = {name: kind for name, kind in by.loaded.schema.features.items() if name not in left_out}
    words = {name: "number" if kind == "number" else "string" for name, kind in types.items()}
    drawn = f"""SELECT row_id, {log.from_json("features", words)} AS asked, score FROM {PREDICTED}
        WHERE model_version = ? ORDER BY {samples.DRAW} LIMIT ?"""
    rows = lake.rows(f"SELECT count(*) AS rows FROM {PREDICTED} WHERE model_version = ?", [by.model.version])[0]["rows"]
    if not rows:
        return None, 0
    columns = ", ".join(f"asked.{identifier(name)} AS {identifier(name)}" for name in types)
    sampled = lake.con.execute(f"SELECT {columns}, score FROM ({drawn}) ORDER BY row_id", [by.model.version, size]).df()
    return estimators.feature_frame(sampled, types).assign(**{PREDICTION: sampled["score"]}), rows
