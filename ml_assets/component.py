"""MLPipeline: one YAML file becomes the six stages of the asset graph. The one module that sees every stage."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from pydantic import BaseModel

from ml_assets.errors import MLAssetsError, SpecError
from ml_assets.graph.alerting.sensors import alerts_sensor
from ml_assets.graph.deployment.job import deploy_job
from ml_assets.graph.deployment.sensors import release_sensor
from ml_assets.graph.features.assets import feature_assets
from ml_assets.graph.features.checks import feature_checks
from ml_assets.graph.features.function import Function, find_function, is_function
from ml_assets.graph.features.select import check_select
from ml_assets.graph.ingest.assets import ingest_assets
from ml_assets.graph.ingest.checks import ingest_checks
from ml_assets.graph.ingest.outcome_assets import outcome_assets
from ml_assets.graph.ingest.outcome_sensors import outcomes_sensor
from ml_assets.graph.ingest.sensors import new_data_sensor
from ml_assets.graph.ingest.validation import check_sql
from ml_assets.graph.invalidation.sensors import stale_sensor
from ml_assets.graph.monitoring.assets import monitoring_assets
from ml_assets.graph.monitoring.checks import monitoring_checks
from ml_assets.graph.monitoring.performance_assets import performance_assets, performance_checks
from ml_assets.graph.release.approval import approve_job
from ml_assets.graph.release.assets import release_assets
from ml_assets.graph.release.checks import release_checks
from ml_assets.graph.retraining.sensors import retrain_schedule, retrain_sensor
from ml_assets.graph.scoring.assets import scoring_assets
from ml_assets.graph.scoring.checks import scoring_checks
from ml_assets.graph.tracking.assets import tracking_assets
from ml_assets.graph.training.assets import training_assets
from ml_assets.graph.training.checks import training_checks
from ml_assets.graph.upkeep import upkeep_job, upkeep_schedule
from ml_assets.io_manager import LakeIOManager
from ml_assets.ml.estimators import check_path
from ml_assets.resources import LakeResource, memory_limit
from ml_assets.scaffold.scaffolder import PipelineScaffolder
from ml_assets.spec import PipelineSpec
from ml_assets.store.paths import Paths
from ml_assets.templates import rendered

# scikit-learn's OpenMP threads spin while they wait for each other. On cores that are shared, with another run or
# another machine's tenant, one boosting fit of 0.6 s then took up to 55 s; waiting passively it stayed at 0.6 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Blocks of memory from this size on return to the system when they are freed. By itself, glibc raises the size up to
# 32 MiB with each one, and a training run kept 150 MiB that nothing used.
MAPPED_BYTES = 4 * 1024**2
M_MMAP_THRESHOLD = -3
if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)

YAML_FILE = "defs.yaml"


@dg.scaffold_with(PipelineScaffolder)
class MLPipeline(dg.Component):
    """A tabular machine-learning pipeline: from the folder where files arrive to the champion and its drift reports."""

    def __init__(self, spec: PipelineSpec, folder: Path) -> None:
        self.spec, self.folder = spec, folder

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The YAML's model, for loading, `dg check yaml` and editors."""
        return PipelineSpec

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> MLPipeline:
        """A component from validated YAML; templates such as `{{ env.NAME }}` are rendered here."""
        if attributes is None:
            raise SpecError("The YAML has no attributes.", where={"file": context.path / YAML_FILE})
        refuse_repeated_keys(context.path / YAML_FILE)
        spec = rendered(PipelineSpec.model_validate(attributes), context.resolution_context.at_path("attributes"))
        return cls(spec, context.path)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, checks, jobs, sensors and schedules of the pipeline."""
        try:
            return build_pipeline(self.spec, self.folder, Paths.of(context.project_root))
        except MLAssetsError as error:
            raise error.at(pipeline=self.spec.name, yaml=context.path / YAML_FILE) from None


def build_pipeline(spec: PipelineSpec, folder: Path, paths: Paths) -> dg.Definitions:
    """Definitions of one pipeline.

    Args:
        spec: The pipeline.
        folder: Where its SQL files lie.
        paths: Folders of the project.

    Raises:
        MLAssetsError: A SQL file, rule, target or estimator that cannot work, found without any data.
    """
    texts = sql_texts(spec, folder)
    function = features_function(spec, folder)
    check(spec, texts)
    before_champion = [*ingest_assets(spec), *feature_assets(spec, texts, function)]
    late, performance = outcome_assets(spec), performance_assets(spec)
    after_champion = [*scoring_assets(spec), *monitoring_assets(spec), *performance]
    sources = {**texts, **(function.sources if function else {})}
    trained = [*training_assets(spec, sources), *release_assets(spec, function), *tracking_assets(spec)]
    ingest_job = _job(spec, "ingest", [*before_champion, *after_champion])
    train_job = _job(spec, "train", trained)
    jobs = [ingest_job, train_job, approve_job(spec), upkeep_job(spec), deploy := deploy_job(spec)]
    jobs += [_job(spec, "outcomes", [*late, *performance])] if late else []
    early_keys = [key for asset in before_champion for key in asset.keys]
    return dg.Definitions(
        assets=[*before_champion, *late, *trained, *after_champion],
        asset_checks=[
            *ingest_checks(spec),
            *feature_checks(spec),
            *training_checks(spec),
            *release_checks(spec),
            *scoring_checks(spec),
            *monitoring_checks(spec),
            *performance_checks(spec),
        ],
        jobs=jobs,
        sensors=[
            new_data_sensor(spec, paths, ingest_job.name, early_keys),
            stale_sensor(spec, paths, ingest_job.name, before_champion),
            *outcomes_sensor(spec, paths, f"{spec.name}_outcomes"),
            retrain_sensor(spec, paths, train_job.name),
            release_sensor(spec, paths, [deploy, ingest_job], [key for one in after_champion for key in one.keys]),
            alerts_sensor(spec, paths, [job.name for job in jobs]),
        ],
        schedules=[*retrain_schedule(spec, paths, train_job.name), *upkeep_schedule(spec)],
        resources={"lake": lake_resource(paths), "lake_io": lake_io_manager(paths)},
    )


@cache
def lake_resource(paths: Paths) -> LakeResource:
    """One resource for all pipelines of a project, so that their definitions can be merged."""
    return LakeResource(root=str(paths.root), data=str(paths.data), memory_limit=memory_limit())


@cache
def lake_io_manager(paths: Paths) -> LakeIOManager:
    """One I/O manager for a project, for its own assets beside the pipelines."""
    return LakeIOManager(root=str(paths.root), data=str(paths.data), memory_limit=memory_limit())


def _job(spec: PipelineSpec, name: str, assets: list[dg.AssetsDefinition]) -> Any:
    return dg.define_asset_job(
        f"{spec.name}_{name}",
        selection=dg.AssetSelection.assets(*(key for asset in assets for key in asset.keys)),
        tags={"ml_assets/pipeline": spec.name},
        executor_def=dg.in_process_executor,
    )


def sql_texts(spec: PipelineSpec, folder: Path) -> dict[str, str]:
    """File name -> text of every SQL file that the YAML names.

    Raises:
        SpecError: A file does not exist.
    """
    texts = {}
    named = {f"lookups.{name}.sql": lookup.sql for name, lookup in spec.lookups.items()}
    if not is_function(spec.features):
        named = {"features": spec.features, **named}
    for place, name in named.items():
        file = folder / name
        if not file.is_file():
            present = ", ".join(sorted(path.name for path in folder.glob("*.sql"))) or "none"
            raise SpecError(
                f"{place} names a file that does not exist.", found=name, fix=f"SQL files beside it: {present}"
            )
        texts[name] = file.read_text(encoding="utf-8")
    return texts


def features_function(spec: PipelineSpec, folder: Path) -> Function | None:
    """The features function that the YAML names; None where it names a SQL file."""
    if not is_function(spec.features):
        return None
    return find_function(spec.features, folder, ["batch", *spec.lookups, *spec.references])


def check(spec: PipelineSpec, texts: dict[str, str]) -> None:
    """Refuse what can be known to be wrong without data: rules, target, SELECTs, estimators."""
    check_sql(spec)
    if spec.features in texts:
        check_select(texts[spec.features], ["batch", *spec.lookups, *spec.references], spec.features)
    for lookup in spec.lookups.values():
        check_select(texts[lookup.sql], ["history"], lookup.sql)
    for name, candidate in spec.candidates.items():
        try:
            check_path(candidate.estimator)
        except SpecError as error:
            raise error.at(candidate=name) from None


def refuse_repeated_keys(file: Path) -> None:
    """YAML keeps the last of two equal keys in silence; that is nearly always a mistake.

    Raises:
        SpecError: A mapping of the file has a key twice.
    """
    if not file.is_file():
        return
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it
    for document in yaml.compose_all(file.read_text(encoding="utf-8"), Loader=loader):
        for mapping in _mappings(document):
            seen: dict[Any, int] = {}
            for key, _ in mapping.value:
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise SpecError(
                        f"The key {key.value!r} stands twice in one mapping.",
                        found=f"lines {seen[key.value]} and {line}",
                        where={"file": f"{file}:{line}"},
                        fix="Remove one of them.",
                    )
                seen[key.value] = line


def _mappings(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value)
