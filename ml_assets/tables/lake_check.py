"""A check of the lake with what only the tables know: which models a fault touches, and which artifacts they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ml_assets.errors import MLAssetsError
from ml_assets.lake import check as engine
from ml_assets.lake.check import CheckedLake, LakeFault
from ml_assets.lake.copying import LakeFiles, Tell
from ml_assets.lake.lake import Lake
from ml_assets.tables import evaluations, releases, training_sets, versions
from ml_assets.tables.data import FEATURES, QUARANTINE, RAW_DATA, VALIDATED_DATA
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.evaluations import EVALUATIONS

# What a training set is read from again, besides the batches' files of other tables.
TRAINED_ON = (FEATURES.name, VALIDATED_DATA.name)
# Every write of a batch replaces all its rows in these.
BY_BATCH = tuple(family.name for family in (RAW_DATA, VALIDATED_DATA, QUARANTINE, FEATURES))
BACK = "`ml-assets lake recover --from BACKUP` puts it back"
FIXES = {
    "bundle": f"{BACK}; or train again: `ml-assets train {{0}}`.",
    "release": f"{BACK}; or pack it again: materialize {{0}}/release_candidate.",
    "drift report": f"{BACK}; or make it again: materialize {{0}}/drift_report of that batch.",
    "evaluation report": f"{BACK}. Of the newest version, materializing {{0}}/evaluation_report makes it again, too.",
}
Models = dict[int, dict[str, set[str]]]  # snapshot -> version -> batches of its training set


def check(place: LakeFiles, lake: Lake, is_fast: bool, tell: Tell) -> CheckedLake:
    """Check the catalog, every file of every living snapshot, and every artifact that a table names.

    Args:
        place: The lake's catalog and files.
        lake: The same lake, to read its tables.
        is_fast: Names and sizes only.
        tell: Told of each file.

    Raises:
        LakeError: There is no lake, or its place cannot be reached.
    """
    checked = engine.check(place, is_fast, tell, BY_BATCH)
    if not checked.snapshots:
        return checked
    try:
        models = _models(lake)
        checked.faults = [dataclasses.replace(fault, models=_touched(fault, models)) for fault in checked.faults]
        for pipeline in versions.with_models(lake):
            checked.faults += _artifacts(place, lake, pipeline, is_fast)
    except MLAssetsError as error:
        what = f"models and artifacts could not be checked: {error.rule} {error.found or ''}".strip()
        checked.faults.append(
            LakeFault(what, place.files.url, error.fix or "Do what the other faults say; check again.")
        )
    return checked


def _models(lake: Lake) -> Models:
    found: Models = {}
    for pipeline in versions.with_models(lake):
        pins = {row["pin_id"]: row for row in training_sets.made(lake, pipeline)}
        for model in versions.versions(lake, pipeline):
            pin = pins.get(model.pin_id, {})
            parts = [pin.get(f"{part}_batches") or [] for part in training_sets.PARTS]
            batches = {batch for part in (*parts, model.train_batches or []) for batch in part}
            for snapshot in {model.snapshot_id, pin.get("snapshot_id", model.snapshot_id)}:
                found.setdefault(int(snapshot), {})[f"{pipeline}@{model.version}"] = batches
    return found


def _touched(fault: LakeFault, models: Models) -> list[str]:
    """Model versions whose training set reads the file of a fault."""
    if fault.table is None or fault.snapshots is None:
        return []
    pipeline, _, table_name = fault.table.partition(".")
    first, last = fault.snapshots
    return sorted(
        {
            version
            for snapshot, named in models.items()
            if table_name in TRAINED_ON and first <= snapshot and (last is None or snapshot <= last)
            for version, batches in named.items()
            if version.startswith(f"{pipeline}@") and (fault.batch is None or fault.batch in batches)
        }
    )


def _artifacts(place: LakeFiles, lake: Lake, pipeline: str, is_fast: bool) -> Iterator[LakeFault]:
    """Bundles, releases and reports that a table names, and that are lost or have other bytes."""
    folders: dict[tuple[str, str], tuple[str, str]] = {}
    for model in versions.versions(lake, pipeline):
        if model.bundle:
            folders["bundle", model.bundle] = (model.bundle_sha256, model.version)
    for row in releases.made(lake, pipeline):
        folders["release", row["folder"]] = (row["sha256"], row["version"])
        if row["bundle"]:
            folders["bundle", row["bundle"]] = (row["bundle_sha256"], row["version"])
    for (kind, folder), (digest, version) in sorted(folders.items()):
        wrong = engine.folder_fault(place.files, f"{kind}s/{folder}", digest, is_fast)
        if wrong:
            yield _fault(kind, folder, wrong, pipeline, [f"{pipeline}@{version}"])
    there = {file.name for file in place.files.every_file(f"reports/{pipeline}")}
    for row in DRIFT.query(lake, pipeline, "SELECT batch, html FROM {t} WHERE html IS NOT NULL ORDER BY batch"):
        if f"reports/{row['html']}" not in there:
            yield dataclasses.replace(_fault("drift report", row["html"], "is lost", pipeline, []), batch=row["batch"])
    for row in EVALUATIONS.query(lake, pipeline, "SELECT DISTINCT version FROM {t} ORDER BY version"):
        name = evaluations.report_name(pipeline, row["version"])
        if f"reports/{name}" not in there:
            yield _fault("evaluation report", name, "is lost", pipeline, [f"{pipeline}@{row['version']}"])


def _fault(kind: str, name: str, wrong: str, pipeline: str, models: list[str]) -> LakeFault:
    folder = f"{kind.rpartition(' ')[2]}s"
    return LakeFault(f"the {kind} {wrong}", f"{folder}/{name}", FIXES[kind].format(pipeline), models=models)
