"""A small project whose lake is copied, checked and moved: two batches, a log, a model with its bundle, a report."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from ml_assets.lake.copying import Progress
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.lake.paths import Paths
from ml_assets.tables import training_sets, versions
from ml_assets_tests.conftest import shared
from ml_assets_tests.lake.history_helpers import content, log, rows, write


def quiet(_: Progress) -> None:
    """Says nothing."""


def make(folder: Path) -> None:
    """Five snapshots: three writes of two batches, a log and version 1.0.0, which was trained on the third."""
    paths = Paths(folder, folder / "data")
    with paths.artifacts.bundles.put("t/1.0.0") as bundle:
        bundle.mkdir()
        (bundle / "model").write_bytes(b"weights")
    with paths.artifacts.reports.put("t/drift/a.html") as file:
        file.write_text("calm")
    digest = hashlib.sha256((paths.bundles / "t/1.0.0/manifest.json").read_bytes()).hexdigest()
    with Lake.of(paths) as lake:
        for batch, value in (("a", 1), ("b", 2), ("a", 3)):
            pinned = write(lake, "features", batch, rows({1: value})).snapshot_id
        log(lake, 1)
        pin = {"pin_id": "p", "snapshot_id": pinned, "train_batches": ["a"], "validation_batches": ["b"]}
        model = {"version": "1.0.0", "pin_id": "p", "snapshot_id": pinned, "bundle": "t/1.0.0", "bundle_sha256": digest}
        model |= {"train_batches": ["a"]}
        put = [Rows("t.training_set", training_sets.TRAINING_SETS.types, [pin])]
        lake.append([*put, versions.VERSIONS.rows("t", [model])], Commit("t/trained_model"))


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Paths:
    """A copy of the project, to change."""
    shutil.copytree(shared(tmp_path_factory, "shared_kept", make), tmp_path / "p")
    return Paths(tmp_path / "p", tmp_path / "p/data")


def states(paths: Paths) -> dict[int, dict[str, tuple[object, ...]]]:
    """Snapshot -> content of every table at it."""
    with Lake.of(paths, read_only=True) as lake:
        return {one: content(lake, one) for (one,) in lake.fetch("SELECT snapshot_id FROM lake.snapshots()")}


def data_files(paths: Paths, table: str = "features") -> list[Path]:
    return sorted((paths.lake / "data/t" / table).rglob("*.parquet"))
