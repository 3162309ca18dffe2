"""The fits of a search on a Ray cluster: which parameters are tried, and in which order, stays with the driver.

Rows go from the lake to the workers: one worker reads the train part at the pinned snapshot and preprocesses a fold,
and Ray's object store holds it for all fits of that fold. What was lost with a node, folds or fits, Ray makes again.
What comes back is a score. The final model is fitted by the driver.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import LakeError, MLAssetsError, TrainingError
from ml_assets.graph.training.search import Compute, FitAll, Folds, largest_first
from ml_assets.graph.training.trials import Fit, Fold, Task, Trial, blas, warnings_by_thread
from ml_assets.lake.lake import Lake
from ml_assets.ray_cluster import HOW_TO, connected, refuse_other_versions, versions_here
from ml_assets.spec import PipelineSpec

if TYPE_CHECKING:
    from ml_assets.tables.training_sets import Pin

# How often a fit whose node or process was lost is begun again: one that always kills its process ends the search.
RETRIES = 5
IDLE_S = 60


def on_ray(lake: Lake, root: Path, spec: PipelineSpec, name: str, pin: Pin) -> Compute:
    """Where the fits of a candidate's search run, on the project's cluster.

    Args:
        lake: Its place goes to the workers, who open it by themselves.
        root: Folder of the project's pyproject.toml.
        spec: The pipeline.
        name: The candidate.
        pin: The training set.
    """

    @contextmanager
    def compute(folds: Folds) -> Iterator[FitAll]:
        library = spec.candidates[name].estimator.partition(".")[0]
        place, text, versions = (lake.folder, lake.catalog), spec.model_dump_json(), versions_here([library])
        with connected(root) as ray:
            options = {"num_cpus": 1, "max_retries": RETRIES}
            prepare, fit = ray.remote(**options)(_prepared), ray.remote(**options)(_fitted)
            prepared: dict[int, Any] = {}

            def fit_all(trials: Sequence[Trial], numbers: Sequence[int]) -> Iterator[tuple[int, int, Fit]]:
                order = largest_first(numbers)
                for number in order:
                    if number not in prepared:
                        prepared[number] = prepare.remote(place, text, name, pin, number, versions)
                waiting = {
                    fit.remote(folds.task, trial.params, prepared[number]): (trial.number, number)
                    for number in order
                    for trial in trials
                }
                with _errors(ray):
                    while waiting:
                        done, _ = ray.wait(list(waiting), timeout=IDLE_S)
                        for one in done:
                            yield (*waiting.pop(one), ray.get(one))
                        if not done:
                            _refuse_empty(ray)

            yield fit_all

    return compute


def _prepared(
    place: tuple[Path, Any], spec_text: str, name: str, pin: Pin, number: int, versions: dict[str, str]
) -> Fold:
    """A fold, made by a worker from the lake."""
    from ml_assets.graph.training.candidates import folds_of

    refuse_other_versions(versions)
    folder, catalog = place
    try:
        with Lake(folder, read_only=True, catalog=catalog) as lake:
            return folds_of(lake, PipelineSpec.model_validate_json(spec_text), name, pin)[number]
    except LakeError as error:
        raise TrainingError(
            "A node of the Ray cluster cannot read the lake.",
            found=str(error),
            where={"node": socket.gethostname()},
            fix=f"Nodes need the lake's own addresses and secrets in their environment. {HOW_TO}",
        ) from error


def _fitted(task: Task, params: dict[str, Any], fold: Fold) -> Fit:
    """A fit, made by a worker on a core of its own."""
    with blas(1), warnings_by_thread():
        return task.fit(params, fold, 1)


def _refuse_empty(ray: Any) -> None:
    if ray.cluster_resources().get("CPU", 0) < 1:
        raise TrainingError("The Ray cluster has no node with a CPU left.", fix="Start nodes, then the training again.")


@contextlib.contextmanager
def _errors(ray: Any) -> Iterator[None]:
    """What a worker refuses is its own error; what Ray gives up is one that names the next step."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MLAssetsError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise TrainingError(
            "The Ray cluster has given up a fit.",
            found=str(error).strip().splitlines()[0],
            fix="Start the training again: it goes on from its last trial.",
        ) from error
