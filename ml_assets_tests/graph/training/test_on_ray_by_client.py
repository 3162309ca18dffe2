"""A search from a machine that is no node of the Ray cluster, by an address of Ray's client, gives the same."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets import ray_cluster
from ml_assets.errors import TrainingError
from ml_assets.graph.training.candidates import folds_of
from ml_assets.graph.training.on_ray import on_ray
from ml_assets.graph.training.search import search
from ml_assets.lake.lake import Lake
from ml_assets_tests.conftest import TESTS
from ml_assets_tests.graph.training.small import spec_of, written
from ml_assets_tests.graph.training.test_on_ray import NOTED, started
from ml_assets_tests.graph.training.test_search import told
from ml_assets_tests.ports import free_port

pytestmark = [
    pytest.mark.slow,  # the cluster and a process for each connection cost half a minute of CPU
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # files that Ray leaves open
]


@pytest.fixture
def fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cluster that is known by a client's address alone: the file with a line for each fit on it."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    on_sigterm = signal.getsignal(signal.SIGTERM)
    port = free_port()
    monkeypatch.setenv("FITS", str(tmp_path / "fits"))
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))  # a client's path is not the workers', as a driver's is
    cluster = Cluster()
    try:
        started(cluster, {"no_monitor": True, "ray_client_server_port": port})
        monkeypatch.setenv(ray_cluster.ENV_ADDRESS, f"ray://127.0.0.1:{port}")
        yield tmp_path / "fits"
    finally:
        cluster.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)


def test_a_client_finds_what_one_machine_finds(fits: Path, tmp_path: Path) -> None:
    spec = spec_of(NOTED, trials=4, folds=2)
    folder = tmp_path / "project" / "lake"
    with Lake(folder) as lake:
        pin = written(lake, spec)
    with Lake(folder, read_only=True) as lake:
        folds = folds_of(lake, spec, "slow", pin)
        here = told(search(folds, spec.tuning))
        own = set(fits.read_text().split())
        fits.unlink()
        try:
            there = told(search(folds, spec.tuning, compute=on_ray(lake, folder, spec, "slow", pin)))
        except TrainingError as error:  # Ray gives up a server of a client that has not started within 30 s
            if "Initialization failure from server" not in str(error):
                raise
            pytest.skip("This machine is too busy to start a server of Ray's client.")
        assert there == here
        assert not own & set(fits.read_text().split()), "fitted by the cluster"
        away = Lake(tmp_path / "a folder of this machine alone", read_only=True)
        with pytest.raises(TrainingError, match="node of the Ray cluster cannot read the lake"):
            search(folds, spec.tuning, compute=on_ray(away, folder, spec, "slow", pin))
