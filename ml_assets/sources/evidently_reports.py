"""Drift reports that other jobs made with Evidently, read from their JSON: `monitoring.reports` names their folder.

Two layouts are known: that of Evidently 0.7 (`snapshot.save_json`), and that of 0.4 to 0.6 (`report.save_json`), which
0.7 still writes from `evidently.legacy`. Nothing of Evidently is imported.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_assets.errors import SourceError
from ml_assets.ml.drift_measures import beyond

SETTLE_S = 5
YOUNG_S = 60  # so long a file that cannot be parsed may still be in the making
LARGEST_BYTES = 256 * 1024**2
SHARE = 0.5  # Evidently's own share of columns, where a report does not say another
FIX = "Write a report that holds DataDriftPreset, DriftedColumnsCount or ValueDrift with snapshot.save_json(...)."

Stamp = tuple[int, int, str]


@dataclass(frozen=True)
class ForeignColumn:
    """What a report says of one column."""

    column: str
    method: str
    score: float
    threshold: float | None
    drifted: bool


@dataclass(frozen=True)
class ForeignReport:
    """What one file says.

    Args:
        file: Path, relative to the folder that was looked through.
        sha256: Of its bytes.
        drifted: The report's own verdict on the data; None where there is an error.
        share: Share of columns that have drifted.
        columns: Where the report says them, the columns.
        rows: Rows of the current data, where the report says it.
        reference_rows: Rows of the reference, where the report says it.
        error: Why it is no drift report, and what to do; empty where it is one.
        size: Bytes.
        mtime_ns: Time of its last change.
    """

    file: str
    sha256: str = ""
    drifted: bool | None = None
    share: float | None = None
    columns: list[ForeignColumn] = field(default_factory=list)
    rows: int | None = None
    reference_rows: int | None = None
    error: str = ""
    size: int = 0
    mtime_ns: int = 0

    @property
    def stamp(self) -> Stamp:
        """What `scan` wants to be given for this file the next time."""
        return (self.size, self.mtime_ns, self.sha256)

    @property
    def drifted_columns(self) -> list[str]:
        return [column.column for column in self.columns if column.drifted]


def scan(folder: Path, seen: Mapping[str, Sequence[Any]], now: float | None = None) -> list[ForeignReport]:
    """The reports in a folder and its subfolders that are new or have changed, in the order of their last change.

    Keep `{report.file: report.stamp}` of what was answered, for example as a sensor's cursor, and give it the next
    time: such a file is not opened again while its size and time stay. A file whose bytes were seen before, under any
    name, is left out. A file that was changed less than five seconds ago, and a young one that is no JSON yet, waits.

    Args:
        folder: `*.json` files in it are read; names that begin with a dot are left out.
        seen: File -> its stamp (size, mtime_ns, sha256).
        now: Seconds since the epoch; by default the clock's.

    Raises:
        SourceError: There is no such folder.
    """
    if not folder.is_dir():
        raise SourceError(
            "The folder of monitoring.reports does not exist.",
            where={"folder": folder},
            fix="Create it, or correct monitoring.reports in defs.yaml.",
        )
    moment = time.time() if now is None else now
    known = {stamp[2] for stamp in seen.values()}
    found = []
    for path in folder.rglob("*.json"):
        name = path.relative_to(folder)
        try:
            state = path.stat()
            if any(part.startswith(".") for part in name.parts) or not path.is_file():
                continue
            age = moment - state.st_mtime
            if 0 <= age < SETTLE_S or list(seen.get(name.as_posix(), ()))[:2] == [state.st_size, state.st_mtime_ns]:
                continue
            report = read_report(path, name.as_posix())
        except FileNotFoundError:  # taken away meanwhile
            continue
        if report.sha256 in known or (report.error and 0 <= age < YOUNG_S):
            continue
        known.add(report.sha256)
        found.append(report)
    return sorted(found, key=lambda report: (report.mtime_ns, report.file))


def read_report(path: Path, name: str | None = None) -> ForeignReport:
    """What one file says; a file that is no drift report has an `error` instead of a verdict.

    Args:
        path: The file.
        name: What it is called in the answer; by default its name.
    """
    state = path.stat()
    facts: dict[str, Any] = {"file": name or path.name, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    if state.st_size > LARGEST_BYTES:
        digest = f"{state.st_size}-{state.st_mtime_ns}"  # nobody reads a gigabyte for a hash
        return ForeignReport(**facts, sha256=digest, error=_error(f"{state.st_size:,} bytes, more than a report has"))
    data = path.read_bytes()
    facts["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        content = json.loads(data)
    except ValueError as error:  # UnicodeDecodeError is one, too
        return ForeignReport(**facts, error=_error(f"no JSON: {error}", "Write it anew, or take it away."))
    metrics = content.get("metrics") if isinstance(content, dict) else None
    if not isinstance(metrics, list):
        return ForeignReport(**facts, error=_error(_looks_like(content)))
    try:
        return ForeignReport(**facts, **_verdict(metrics))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"metrics in a layout that is not known ({type(error).__name__}: {error})"
        return ForeignReport(**facts, error=_error(what))


def _error(found: str, fix: str = FIX) -> str:
    return str(SourceError("The file is no drift report of Evidently.", found=found, fix=fix))


def _looks_like(content: object) -> str:
    if not isinstance(content, dict):
        return f"a JSON {type(content).__name__} instead of an object"
    if isinstance(content.get("tests"), list):
        return "a test suite, which says passed or failed; its report says how far each column has moved"
    if "metric_results" in content:
        return "a run of an Evidently workspace"
    return "an object with " + (", ".join(sorted(map(str, content))[:8]) or "nothing in it") + ", but no list `metrics`"


def _verdict(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fields of a report, from the metrics of either layout."""
    facts = _of_06(metrics) if all("metric" in metric for metric in metrics) else _of_07(metrics)
    limit = facts.pop("limit", SHARE)
    columns = facts.get("columns", [])
    if facts.get("share") is None and columns:
        facts["share"] = len([column for column in columns if column.drifted]) / len(columns)
    if facts.get("share") is None:
        raise ValueError("none of them is about drift")
    if facts.get("drifted") is None:
        facts["drifted"] = facts["share"] >= limit
    return facts


def _of_07(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {"columns": []}
    for metric in metrics:
        name = str(metric.get("metric_name") or metric.get("metric_id"))
        kind, config, value = name.partition("(")[0], metric.get("config") or {}, metric.get("value")
        if kind == "DriftedColumnsCount" and isinstance(value, Mapping):
            facts["share"] = float(value["share"])
            facts["limit"] = float(config.get("drift_share") or argument(name, "drift_share") or SHARE)
        elif kind == "ValueDrift" and isinstance(value, int | float):
            method = str(config.get("method") or argument(name, "method"))
            threshold = config.get("threshold") or argument(name, "threshold")
            column = str(config.get("column") or argument(name, "column"))
            if method and threshold:  # the first releases of 0.7 say neither; their share says enough
                facts["columns"].append(_column(column, method, float(value), float(threshold)))
        elif kind == "RowCount" and isinstance(value, int | float):
            facts["rows"] = int(value)
    return facts


def _column(name: str, method: str, score: float, threshold: float) -> ForeignColumn:
    return ForeignColumn(name, method, score, threshold, beyond(method, score, threshold))


def argument(text: str, name: str) -> str:
    """An argument in a metric's name, such as `ValueDrift(column=x,method=K-S p_value,threshold=0.05)`."""
    match = re.search(rf"[(,]{name}=(.*?)(?:,\w+=|\)$)", text)
    return match[1] if match else ""


def _of_06(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    columns: dict[str, ForeignColumn] = {}
    for metric in metrics:
        result = metric["result"]
        if metric["metric"] in ("DatasetDriftMetric", "DataDriftTable"):
            facts["drifted"] = bool(result["dataset_drift"])
            facts["share"] = float(result["share_of_drifted_columns"])
        elif metric["metric"] == "DatasetSummaryMetric":
            for part, asset_name in (("current", "rows"), ("reference", "reference_rows")):
                facts[asset_name] = (result.get(part) or {}).get("number_of_rows")
        columns |= {column.column: column for column in _columns_of_06(result)}
    return {**facts, "columns": list(columns.values())}


def _columns_of_06(result: Mapping[str, Any]) -> Iterator[ForeignColumn]:
    of_table = (result.get("drift_by_columns") or {}).values()
    for found in [*of_table, *([result] if "drift_detected" in result else [])]:
        threshold = found.get("stattest_threshold")
        yield ForeignColumn(
            column=str(found["column_name"]),
            method=str(found["stattest_name"]),
            score=float(found["drift_score"]),
            threshold=None if threshold is None else float(threshold),
            drifted=bool(found["drift_detected"]),
        )
