"""The reports of all batches as an Evidently workspace, which `ml-assets monitor` and `evidently ui` show.

A pipeline is a project and its days of real-time use are another; a batch, or day, is a run, and one that is reported
again replaces its run. Their ids follow from their names, so that pipelines that write at the same time share no file.
Every file appears whole or not at all.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.ml.drift_measures import quiet
from ml_assets.ml.reference import PREDICTION
from ml_assets.reporting import html
from ml_assets.reporting.drift_report import VERDICT
from ml_assets.tables.table import ONLINE, is_online

if TYPE_CHECKING:
    from evidently.sdk.models import DashboardPanelPlot

MOMENTS = "batches.json"
STEP = dt.timedelta(seconds=1)
DATES = ("%Y-%m-%d", "%Y-%m", "%Y%m%d", "%Y%m")


def project_name(pipeline: str, batch: str) -> str:
    """The project of a batch, or of a day of real-time use."""
    return f"{pipeline} {ONLINE.strip()}" if is_online(batch) else pipeline


def project_folder(workspace: Path, name: str) -> Path:
    """The folder of a project."""
    return workspace / str(uuid.uuid5(uuid.NAMESPACE_OID, f"ml_assets/{name}"))


def moments(project: Path) -> dict[str, dt.datetime]:
    """Batch -> the time under which its run is shown."""
    file = project / MOMENTS
    if not file.exists():
        return {}
    return {batch: dt.datetime.fromisoformat(text) for batch, text in json.loads(file.read_text()).items()}


def moment(batch: str, known: Mapping[str, dt.datetime], now: dt.datetime) -> dt.datetime:
    """The time of a run, so that runs are in the order of their batches, whatever the order in which they were made.

    It is the one that the batch has already, else the date in its name, else now; where that would break the order, a
    time between its neighbours.
    """
    if batch in known:
        return known[batch]
    after = max((time for name, time in known.items() if name < batch), default=None)
    before = min((time for name, time in known.items() if name > batch), default=None)
    wanted = _date(batch) or now
    if (after is None or after < wanted) and (before is None or wanted < before):
        return wanted
    if after is not None and before is not None:
        return after + (before - after) / 2
    return after + STEP if after is not None else before - STEP if before is not None else wanted


def _date(batch: str) -> dt.datetime | None:
    text = batch.removeprefix(ONLINE)
    for pattern in DATES:
        try:
            found = dt.datetime.strptime(text, pattern)
        except ValueError:
            continue
        if found.strftime(pattern) == text:
            return found
    return None


def saved(workspace: Path, pipeline: str, batch: str) -> str | None:
    """The run of a batch as `keep` has written it; None where there is none."""
    file = _run_file(project_folder(workspace, project_name(pipeline, batch)), batch)
    return file.read_text(encoding="utf-8") if file.exists() else None


def _run_file(project: Path, batch: str) -> Path:
    return project / "snapshots" / f"{uuid.uuid5(uuid.UUID(project.name), batch)}.json"


def keep(workspace: Path, pipeline: str, batch: str, time: dt.datetime, snapshot: Any, features: Sequence[str]) -> None:
    """Add a batch's run to the workspace, or replace it.

    Args:
        workspace: The folder.
        pipeline: Its project and dashboard are made with the first run, and a dashboard that is there is kept.
        batch: The run.
        time: What `moment` says.
        snapshot: Evidently's run.
        features: Names for the dashboard, the most important first.
    """
    name = project_name(pipeline, batch)
    project = project_folder(workspace, name)
    (project / "snapshots").mkdir(parents=True, exist_ok=True)
    with quiet():
        _once(project, name, features)
        run = _run_file(project, batch)
        html.write(run, snapshot.dumps())
    os.utime(run)  # a running `evidently ui` does not see a file that was renamed, but one that was touched
    known = {**moments(project), batch: time}
    html.write(project / MOMENTS, json.dumps({name: known[name].isoformat() for name in sorted(known)}, indent=1))


def _once(project: Path, name: str, features: Sequence[str]) -> None:
    """The project and its dashboard, where they are missing."""
    from evidently.sdk.models import DashboardModel, DashboardTabModel, ProjectModel

    panels = _panels(features)
    tab = DashboardTabModel(title="Drift", panels=[panel.id for panel in panels])
    files = {
        "dashboard.json": DashboardModel(tabs=[tab], panels=panels),
        "metadata.json": ProjectModel(
            id=uuid.UUID(project.name),
            name=name,
            description=f"{name}: batches or days against what the champion was fitted on",
        ),
    }
    for file, model in files.items():
        if not (project / file).exists():
            html.write(project / file, json.dumps(model.dict(), default=str))


def _panels(features: Sequence[str]) -> list[DashboardPanelPlot]:
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel

    def of(column: str) -> PanelMetric:
        return PanelMetric(legend=column, metric="ValueDrift", metric_labels={"column": column})

    share = PanelMetric(legend="share", metric="MeanValue", metric_labels={"column": VERDICT})
    panels = [
        line_plot_panel(title="Share of the model's importance in drifted columns", values=[share], size="half"),
        line_plot_panel(title="Drift of the prediction", values=[of(PREDICTION)], size="half"),
    ]
    if features:
        panels.append(line_plot_panel(title="Drift of the most important features", values=[*map(of, features)]))
    return panels
