"""A search on Ray whose rows come from PostgreSQL and S3 gives what one machine with an embedded lake gives.

Servers and a cluster of its own cost half a minute of CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.graph.training.candidates import folds_of
from ml_assets.graph.training.on_ray import on_ray
from ml_assets.graph.training.search import search
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets_tests import postgres, s3
from ml_assets_tests.graph.training.small import spec_of, written
from ml_assets_tests.graph.training.test_on_ray import NOTED, Nodes, nodes
from ml_assets_tests.graph.training.test_search import told

pytestmark = pytest.mark.slow
__all__ = ["nodes"]


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings of a lake on servers; nodes get the secrets from their environment, as they are started later."""
    with (
        postgres.server() as database,
        s3.running(tmp_path_factory.mktemp("s3"), "ml-assets") as objects,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {**objects.environment(), "PGPASSWORD": database.password}.items():
            patch.setenv(name, value)
        database.database("lake")
        yield {"address": database.address("lake", with_password=False), "data": "s3://ml-assets/credit"}


def test_trials_and_scores_are_those_of_one_machine(place: dict[str, str], nodes: Nodes, tmp_path: Path) -> None:
    spec = spec_of(NOTED, trials=8, folds=2)
    with Lake(tmp_path / "embedded") as lake:
        alone = told(search(folds_of(lake, spec, "slow", written(lake, spec)), spec.tuning))
    paths = Paths(tmp_path, tmp_path / "data")
    catalog = paths.place_at(**place).catalog
    with Lake(paths.lake, catalog=catalog) as lake:
        pin = written(lake, spec)
    nodes.fits.unlink(missing_ok=True)
    with Lake(paths.lake, read_only=True, catalog=catalog) as lake:
        found = search(
            folds_of(lake, spec, "slow", pin), spec.tuning, compute=on_ray(lake, tmp_path, spec, "slow", pin)
        )
    assert told(found) == alone
    assert len(set(nodes.noted())) == 2, "both nodes have fitted"
