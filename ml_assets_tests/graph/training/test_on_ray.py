"""A search on a real Ray cluster of two nodes gives what one machine gives, also when a node is killed meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ml_assets import ray_cluster
from ml_assets.errors import TrainingError
from ml_assets.graph.training.candidates import folds_of
from ml_assets.graph.training.on_ray import on_ray
from ml_assets.graph.training.search import search
from ml_assets.lake.lake import Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables.training_sets import Pin
from ml_assets_tests.conftest import wait_until
from ml_assets_tests.graph.training.small import spec_of, written
from ml_assets_tests.graph.training.test_search import told
from ml_assets_tests.ports import free_ports

NOTED = {
    "estimator": "ml_assets_tests.graph.training.noted_tree.NotedTree",
    "search": {"max_depth": {"low": 1, "high": 6}, "ccp_alpha": {"low": 0.0001, "high": 0.1, "log": True}},
}
# A node that is gone is noticed at once, and not after a quarter of a minute.
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 2}


@dataclass
class Nodes:
    """A cluster of two nodes with a CPU each.

    Args:
        cluster: Ray's own.
        second: The node that is not its head.
        fits: A line for each fit: the process of its node.
    """

    cluster: Any
    second: Any
    fits: Path

    def noted(self) -> list[str]:
        return self.fits.read_text().split() if self.fits.exists() else []


# A small node of this machine alone. Each further process of Ray's costs two seconds of CPU at its start.
NODE = {
    "num_cpus": 1,
    "object_store_memory": 80 * 1024**2,
    "include_dashboard": False,
    "include_log_monitor": False,
}


def ports() -> dict[str, int]:
    """Ports for a node's agents; for those that it has to choose itself it waits 15 s and then gives up."""
    names = ("dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")
    return dict(zip(names, free_ports(len(names)), strict=True))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    fits, on_sigterm = tmp_path_factory.mktemp("ray") / "fits", signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FITS", str(fits))
        cluster = Cluster()
        try:
            started(cluster, {"no_monitor": True, "_system_config": QUICK})
            second = started(cluster, {})
            patch.setenv(ray_cluster.ENV_ADDRESS, cluster.address)
            yield Nodes(cluster, second, fits)
        finally:
            cluster.shutdown()
            signal.signal(signal.SIGTERM, on_sigterm)  # which the cluster's nodes have set, too


def started(cluster: Any, options: dict[str, Any]) -> Any:
    """A node. Ray gives one up whose agents, 3 s of CPU each, have not started within 15 s."""
    try:
        return cluster.add_node(**NODE, **ports(), **options)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        pytest.skip("This machine is too busy to start a node of Ray.")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[PipelineSpec, Path, Pin]:
    """A pipeline in a lake, and its training set."""
    spec = spec_of(NOTED, trials=12, folds=2)
    folder = tmp_path_factory.mktemp("project") / "lake"
    with Lake(folder) as lake:
        return spec, folder, written(lake, spec)


def test_a_lost_node_changes_nothing(made: tuple[PipelineSpec, Path, Pin], nodes: Nodes) -> None:
    spec, folder, pin = made
    with Lake(folder, read_only=True) as lake:
        folds = folds_of(lake, spec, "slow", pin)
        undisturbed = told(search(folds, spec.tuning))
        nodes.fits.unlink()

        def lose_a_node() -> None:
            wait_until(
                lambda: len(set(nodes.noted())) == 2 and len(nodes.noted()) >= 6, 120, "fits on both nodes", 0.01
            )
            nodes.cluster.remove_node(nodes.second, allow_graceful=False)

        loser, on_sigterm = threading.Thread(target=lose_a_node), signal.getsignal(signal.SIGTERM)
        loser.start()
        found = search(folds, spec.tuning, compute=on_ray(lake, folder, spec, "slow", pin))
        loser.join()
    assert signal.getsignal(signal.SIGTERM) == on_sigterm, "Ray's own is gone with the connection"
    assert told(found) == undisturbed
    assert all(trial.memory_mib for trial in found)
    assert len(set(nodes.noted()[-4:])) == 1
    # More where the node had a fit in work: that was done again.
    assert len(nodes.noted()) >= sum(len(trial.scores) for trial in found)


def test_what_a_worker_refuses_is_an_error_of_its_own(
    made: tuple[PipelineSpec, Path, Pin], nodes: Nodes, tmp_path: Path
) -> None:
    spec, folder, pin = made
    with Lake(folder, read_only=True) as lake:
        folds = folds_of(lake, spec, "slow", pin)
        away = Lake(tmp_path / "a folder of this machine alone", read_only=True)
        with pytest.raises(TrainingError, match="node of the Ray cluster cannot read the lake"):
            search(folds, spec.tuning, compute=on_ray(away, folder, spec, "slow", pin))


def test_other_versions_on_a_node_are_named() -> None:
    ray_cluster.refuse_other_versions(ray_cluster.versions_here(["sklearn"]))
    with pytest.raises(TrainingError, match=r"numpy [\d.]+, not 0\.1; catboost2 missing, not 3"):
        ray_cluster.refuse_other_versions({"numpy": "0.1", "catboost2": "3"})


@pytest.mark.parametrize(
    ("address", "text"),
    [(None, r"needs the address of a Ray cluster(.|\n)*RAY_ADDRESS=HOST:6379"), ("127.0.0.1:9", "refused(.|\n)*127")],
)
def test_a_cluster_that_is_not_there_is_said(
    address: str | None, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv(ray_cluster.ENV_ADDRESS, raising=False)
    if address:
        (tmp_path / "pyproject.toml").write_text(f'[tool.ml_assets.ray]\naddress = "{address}"\n')
    with pytest.raises(TrainingError, match=text), ray_cluster.connected(tmp_path):
        pass


def test_without_the_package_the_next_step_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(TrainingError, match=r"pip install 'ml-assets\[ray\]'"), ray_cluster.connected(tmp_path):
        pass
