"""Which snapshot of the lake is meant: by its number, by a model version that was trained on it, or by a moment."""

from __future__ import annotations

import datetime as dt

from ml_assets.errors import LakeError, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.tables.versions import VERSIONS, with_models

SnapshotLike = int | str | dt.datetime


def snapshot_id(lake: Lake, snapshot: SnapshotLike, pipeline: str | None = None) -> int:
    """The id of a snapshot; only reading it shows whether it still exists.

    Args:
        lake: The lake.
        snapshot: An id; a model version such as `1.2.0` or `flights@1.2.0`, for the snapshot that its training set
            reads; or a moment, UTC where it has no zone, for what the lake held then.
        pipeline: Whose model version it is, where `snapshot` does not say.

    Raises:
        LakeError: No such version, no snapshot at that moment, or maintenance has expired it.
    """
    if isinstance(snapshot, dt.datetime):
        return _as_of(lake, snapshot)
    if isinstance(snapshot, int) or snapshot.isdigit():
        return int(snapshot)
    named, _, version = snapshot.rpartition("@")
    return _of_version(lake, named or pipeline, version)


def _of_version(lake: Lake, pipeline: str | None, version: str) -> int:
    models = with_models(lake)
    if pipeline is None:
        raise LakeError(
            "A snapshot is a number, or a model version with its pipeline.",
            found=version,
            fix=f"Such as {(models or ['flights'])[0]}@{version}, or an id that `ml-assets lake snapshots` lists.",
        )
    if pipeline not in models:
        raise LakeError(f"No model of a pipeline {pipeline!r} is registered.", fix=did_you_mean(pipeline, models))
    rows = VERSIONS.query(lake, pipeline, "SELECT version, snapshot_id FROM {t}")
    found = {row["version"]: int(row["snapshot_id"]) for row in rows}
    if version not in found:
        raise LakeError(f"The pipeline {pipeline} has no model version {version!r}.", fix=did_you_mean(version, found))
    return found[version]


def _as_of(lake: Lake, moment: dt.datetime) -> int:
    moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    rows = lake.rows(
        """SELECT snapshot_id, snapshot_time, lead(snapshot_id) OVER (ORDER BY snapshot_id) AS next_id
        FROM lake.snapshots() QUALIFY snapshot_time <= ? ORDER BY snapshot_id DESC LIMIT 1""",
        [moment],
    )
    if not rows:
        raise LakeError(
            f"The lake has no snapshot as old as {moment:%Y-%m-%d %H:%M:%S} UTC.",
            fix="`ml-assets lake snapshots` lists those that exist.",
        )
    found, following = int(rows[0]["snapshot_id"]), rows[0]["next_id"]
    # An id that is missing may have been the one of that moment: its neighbour would be other data in silence.
    if following is not None and following != found + 1:
        raise LakeError(
            f"What the lake held at {moment:%Y-%m-%d %H:%M:%S} UTC cannot be told: snapshots have been expired.",
            found=f"snapshot {found} of {rows[0]['snapshot_time']:%Y-%m-%d %H:%M:%S} is kept, the next is {following}",
            fix=f"Read snapshot {found} or {following} by its number, or a model version.",
        )
    return found
