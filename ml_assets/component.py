"""MLPipeline: one YAML file becomes the six stages of the asset graph. The one module that sees every stage."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_shared.yaml_utils.source_position import SourcePositionTree
from pydantic import BaseModel

from ml_assets import pipeline_file
from ml_assets.attributes import Attributes, invalid
from ml_assets.broken import NOTES, checking, stand_in, strict, text_of
from ml_assets.errors import MLAssetsError, SpecError, did_you_mean
from ml_assets.graph.alerting.sensors import alerts_sensor
from ml_assets.graph.backfills import policy_of
from ml_assets.graph.catalog_metadata import Catalogue
from ml_assets.graph.deployment.job import deploy_job
from ml_assets.graph.deployment.sensors import release_sensor
from ml_assets.graph.features import earlier
from ml_assets.graph.features.assets import feature_assets
from ml_assets.graph.features.binding import Bound, check_selects
from ml_assets.graph.features.checks import feature_checks
from ml_assets.graph.features.function import Function, find_function, is_function
from ml_assets.graph.features.lineage import pipeline_lineage
from ml_assets.graph.features.online_assets import online_assets as online_lookup_assets
from ml_assets.graph.ingest.assets import ingest_assets
from ml_assets.graph.ingest.checks import ingest_checks
from ml_assets.graph.ingest.online_sensors import online_batch_sensor
from ml_assets.graph.ingest.outcome_assets import outcome_assets
from ml_assets.graph.ingest.outcome_sensors import outcomes_sensor
from ml_assets.graph.ingest.sensors import new_data_sensor
from ml_assets.graph.ingest.validation import check_sql
from ml_assets.graph.maintenance import maintenance_job, maintenance_schedule
from ml_assets.graph.monitoring.assets import monitoring_assets
from ml_assets.graph.monitoring.checks import monitoring_checks
from ml_assets.graph.monitoring.online_assets import online_assets, online_checks
from ml_assets.graph.monitoring.performance_assets import performance_assets, performance_checks
from ml_assets.graph.release.assets import release_assets
from ml_assets.graph.release.checks import release_checks
from ml_assets.graph.release.promotion.approval_job import approve_job
from ml_assets.graph.retraining.sensors import retrain_schedule, retrain_sensor
from ml_assets.graph.scoring.assets import scoring_assets
from ml_assets.graph.scoring.checks import scoring_checks
from ml_assets.graph.scoring.log_assets import log_assets, log_checks
from ml_assets.graph.scoring.log_sensors import log_sensor
from ml_assets.graph.staleness.sensors import stale_sensor
from ml_assets.graph.tracking.assets import tracking_assets
from ml_assets.graph.training.assets import training_assets
from ml_assets.graph.training.checks import training_checks
from ml_assets.io_manager import LakeIOManager
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle, signatures
from ml_assets.ml.reference import PREDICTION
from ml_assets.project import YAML_FILE
from ml_assets.resources import LakeResource, memory_limit
from ml_assets.scaffold.scaffolder import PipelineScaffolder
from ml_assets.server import parity
from ml_assets.spec import PipelineSpec
from ml_assets.tables import data, training_sets
from ml_assets.tables.data import FEATURES
from ml_assets.tables.prediction_log import PREDICTION_LOG
from ml_assets.tables.training_sets import Pin
from ml_assets.tables.versions import ModelVersion
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

MapSpec = Callable[[dg.AssetSpec], dg.AssetSpec]


@dg.scaffold_with(PipelineScaffolder)
class MLPipeline(dg.Component):
    """A tabular machine-learning pipeline: from the folder where files arrive to the champion and its drift reports."""

    def __init__(self, spec: PipelineSpec, folder: Path, positions: SourcePositionTree | None = None) -> None:
        """A pipeline.

        Args:
            spec: What its YAML says.
            folder: Where its SQL files are.
            positions: Lines of the YAML, for errors; None where the component is made in Python.
        """
        self.spec, self.folder, self.positions = spec, folder, positions

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The YAML's model, for loading, `dg check yaml` and editors."""
        return Attributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> MLPipeline:
        """A component from validated YAML; templates such as `{{ env.NAME }}` are rendered here."""
        try:
            return cls._load(attributes, context)
        except Exception as error:
            if strict():
                raise
            return BrokenPipeline(context.path, text_of(error))

    @classmethod
    def _load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> MLPipeline:
        file, positions = context.path / YAML_FILE, context.resolution_context.source_position_tree
        if attributes is None:
            raise SpecError("The YAML has no attributes.", where={"file": file})
        if file.is_file():
            pipeline_file.check(file)
        if isinstance(attributes, Attributes) and attributes.error:
            raise invalid(attributes.error, positions)
        spec = PipelineSpec.model_validate(attributes.model_dump(exclude_unset=True))
        return cls(rendered(spec, context.resolution_context.at_path("attributes")), context.path, positions)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, checks, jobs, sensors and schedules of the pipeline; where it is wrong, one asset that says why."""
        try:
            self._refuse_namesakes(context)
            paths = Paths.of(context.project_root)
            made = build_pipeline(self.spec, self.folder, paths, self.positions, self.get_asset_spec)
            return dg.Definitions.merge(made, self.more_definitions(context))
        except Exception as error:
            if isinstance(error, MLAssetsError):
                place = self._position(error) or self.folder / YAML_FILE
                error.at(pipeline=self.spec.name, yaml=place)
            if strict() or self.positions is None:
                raise
            return stand_in(place_of(context), self.folder / YAML_FILE, text_of(error))

    def get_asset_spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        """Each asset of the pipeline as it is declared; override it to change tags, owners, metadata and the like.

        Args:
            spec: What the pipeline declares. The key has to stay.
        """
        return spec

    def more_definitions(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - for subclasses
        """Assets, checks, jobs and sensors to add to the pipeline's; override it. `self.spec` is the YAML.

        An exception here is shown as one of the YAML is: this pipeline is not loaded, the others are.
        """
        return dg.Definitions()

    def _position(self, error: MLAssetsError) -> object:
        """File and line of the key that an error names."""
        key = str(error.where.pop("key", ""))
        if not key or self.positions is None:
            return None
        return self.positions.lookup_closest_and_path(["attributes", *key.split(".")], trace=None)[0]

    def _refuse_namesakes(self, context: dg.ComponentLoadContext) -> None:
        """Raise SpecError where two pipelines would write the same tables."""
        if self.positions is None:  # made in Python, beside the tree of components
            return
        for other in context.component_tree.get_all_components(MLPipeline):
            if not isinstance(other, BrokenPipeline) and other is not self and other.spec.name == self.spec.name:
                raise SpecError(
                    f"Two pipelines have the name {self.spec.name!r}.",
                    found=f"{self.folder / YAML_FILE} and {other.folder / YAML_FILE}",
                    where={"key": "name"},
                    fix="Give one of them another name.",
                )


class BrokenPipeline(MLPipeline):
    """A pipeline whose YAML is wrong."""

    def __init__(self, folder: Path, problem: str) -> None:
        self.folder, self.problem = folder, problem

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset that stands for it."""
        return stand_in(place_of(context), self.folder / YAML_FILE, self.problem)


def place_of(context: dg.ComponentLoadContext) -> tuple[str, ...]:
    """Folder names of a component below defs/, and its number where its file holds several."""
    parts = context.path.relative_to(context.defs_module_path).parts or ("defs",)
    number = context.component_path.instance_key
    return (*parts, str(number)) if number else parts


def build_pipeline(
    spec: PipelineSpec,
    folder: Path,
    paths: Paths,
    positions: SourcePositionTree | None = None,
    map_spec: MapSpec = lambda spec: spec,
) -> dg.Definitions:
    """Definitions of one pipeline.

    Args:
        spec: The pipeline.
        folder: Where its SQL files lie.
        paths: Folders of the project.
        positions: Lines of the YAML; None where the pipeline is made in Python.
        map_spec: Changes the spec of each asset.

    Raises:
        MLAssetsError: A SQL file, rule, target or estimator that cannot work, found without any data.
    """
    texts = sql_texts(spec, folder)
    function = features_function(spec, folder)
    bound = check(spec, texts, paths)
    catalogue = catalogue_of(spec, folder, paths, positions, texts, function, bound)
    policy = policy_of(paths.root)

    def described(assets: list[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
        found = [made.map_asset_specs(lambda one: map_spec(catalogue.described(one))) for made in assets]
        return [made.with_attributes(backfill_policy=policy) if made.partitions_def else made for made in found]

    online = described(online_lookup_assets(spec, texts))
    before_champion = [*described([*ingest_assets(spec), *feature_assets(spec, texts, function)]), *online]
    of_batches = [one for one in before_champion if one.partitions_def is not None]
    late, performance = described(outcome_assets(spec)), described(performance_assets(spec))
    after_champion = [*described([*scoring_assets(spec), *monitoring_assets(spec)]), *performance]
    logged = described([*log_assets(spec), *online_assets(spec)])
    sources = earlier.sources(spec, texts, function)
    trained = described(
        [
            *training_assets(spec, sources),
            *release_assets(spec, function, earlier_features, parity.difference),
            *tracking_assets(spec),
        ]
    )
    ingest_job = _job(spec, "ingest", [*before_champion, *after_champion])
    train_job = _job(spec, "train", trained)
    jobs = [ingest_job, train_job, approve_job(spec, paths), maintenance_job(spec), deploy := deploy_job(spec)]
    jobs += [_job(spec, "outcomes", [*late, *online, *performance])] if late else []
    # Runs of a pipeline wait for each other, but what servers predict is measured while a training runs.
    jobs += [_job(spec, PREDICTION_LOG.name, logged, tags={})] if logged else []
    early_keys = [key for asset in before_champion for key in asset.keys]
    return dg.Definitions(
        assets=[*before_champion, *late, *trained, *after_champion, *logged],
        asset_checks=[
            *ingest_checks(spec),
            *feature_checks(spec),
            *training_checks(spec),
            *release_checks(spec),
            *scoring_checks(spec),
            *monitoring_checks(spec),
            *performance_checks(spec),
            *log_checks(spec),
            *online_checks(spec),
        ],
        jobs=jobs,
        sensors=[
            new_data_sensor(spec, paths, ingest_job.name, early_keys),
            stale_sensor(spec, paths, ingest_job.name, before_champion),
            *outcomes_sensor(spec, paths, f"{spec.name}_outcomes"),
            *online_batch_sensor(spec, paths, ingest_job.name, [key for one in of_batches for key in one.keys]),
            *log_sensor(spec, paths, f"{spec.name}_{PREDICTION_LOG.name}"),
            retrain_sensor(spec, paths, train_job.name),
            release_sensor(spec, paths, [deploy, ingest_job], [key for one in after_champion for key in one.keys]),
            alerts_sensor(spec, paths, [job.name for job in jobs]),
        ],
        schedules=[*retrain_schedule(spec, paths, train_job.name), *maintenance_schedule(spec)],
        resources={"lake": lake_resource(paths), "lake_io": lake_io_manager(paths)},
    )


def catalogue_of(
    spec: PipelineSpec,
    folder: Path,
    paths: Paths,
    positions: SourcePositionTree | None,
    texts: dict[str, str],
    function: Function | None,
    bound: Bound,
) -> Catalogue:
    """Metadata for the UI and data catalogues, beyond what the assets declare themselves."""
    lookups = {data.lookup(name).name: bound.views[name] for name in spec.lookups}
    known = {name: columns for name, columns in {**lookups, FEATURES.name: bound.features}.items() if columns}
    return Catalogue(
        spec,
        folder,
        paths,
        positions,
        lineage=pipeline_lineage(spec, texts, bound),
        columns={name: {"batch": "VARCHAR", **columns} for name, columns in known.items()},
        function=(function.file, function.line) if function else None,
        more={FEATURES.name: {NOTES: "; ".join(bound.notes)}} if bound.notes else {},
    )


@cache
def lake_resource(paths: Paths) -> LakeResource:
    """One resource for all pipelines of a project, so that their definitions can be merged."""
    return LakeResource(paths=paths, memory_limit=memory_limit())


@cache
def lake_io_manager(paths: Paths) -> LakeIOManager:
    """One I/O manager for a project, for its own assets beside the pipelines."""
    return LakeIOManager(root=str(paths.root), data=str(paths.data), memory_limit=memory_limit())


JOBS = {
    "ingest": "Ingests batches: from their files to features; where there is a champion, also scores, drift and live "
    "scores. Run it for some partitions: a partition is a batch.",
    "train": "Trains a version, evaluates and packages it, and decides whether it becomes the champion.",
    "outcomes": "Reads new files of late outcomes, and measures the live scores of their batches again.",
    PREDICTION_LOG.name: "Reads what scoring servers have logged, and measures the drift and live scores of its days.",
}


def _job(spec: PipelineSpec, name: str, assets: list[dg.AssetsDefinition], tags: dict[str, str] | None = None) -> Any:
    return dg.define_asset_job(
        f"{spec.name}_{name}",
        description=JOBS[name],
        selection=dg.AssetSelection.assets(*(key for asset in assets for key in asset.keys)),
        tags={"ml_assets/pipeline": spec.name} if tags is None else tags,
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
                f"{place} names a file that does not exist.",
                found=name,
                where={"key": place},
                fix=f"SQL files beside it: {present}",
            )
        texts[name] = file.read_text(encoding="utf-8")
    return texts


def features_function(spec: PipelineSpec, folder: Path) -> Function | None:
    """The features function that the YAML names; None where it names a SQL file."""
    if not is_function(spec.features):
        return None
    try:
        return find_function(spec.features, folder, ["batch", *spec.lookups, *spec.references])
    except SpecError as error:
        raise error.at(key="features") from None


def earlier_features(
    lake: Lake, paths: Paths, spec: PipelineSpec, pin: Pin, model: ModelVersion, champion: ModelVersion
) -> Any:
    """The champion's own features of a pin's test batches; None where they are those of the version itself.

    Raises:
        MLAssetsError: They cannot be made any more.
    """
    own, bundle_ = (paths.artifacts.bundles.fetch(one.bundle) for one in (model, champion))
    if earlier.same_features(own, bundle_):
        return None
    schema = bundle.verify(bundle_, champion.bundle_sha256)
    release = paths.artifacts.releases.fetch(f"{spec.name}/{champion.version}")
    target = training_sets.newest(lake, spec.name, pin_id=champion.pin_id).target
    of = earlier.Earlier(champion.version, bundle_, release, schema, target)
    return earlier.features_of(lake, paths, spec, of, pin, pin.batches["test"])


def check(spec: PipelineSpec, texts: dict[str, str], paths: Paths) -> Bound:
    """Refuse what can be known to be wrong without data: rules, target, SELECTs, estimators, names of features.

    Returns:
        What is known of the SELECTs.
    """
    check_sql(spec)
    for name in spec.candidates:
        check_candidate(spec, name)
    bound = check_selects(spec, texts, paths, files_count=checking())
    check_monitored(spec, bound.features)
    return bound


def check_monitored(spec: PipelineSpec, features: Mapping[str, str] | None) -> None:
    """Refuse a name under `monitoring.columns` that is no feature, where the features are known.

    Raises:
        SpecError: With the `key` of the name.
    """
    if features is None:
        return
    known = [*(name for name in features if name != "row_id"), PREDICTION]
    for name in spec.monitoring.columns:
        if name not in known:
            raise SpecError(
                f"monitoring.columns names {name!r}, which is no feature.",
                where={"key": f"monitoring.columns.{name}"},
                fix=did_you_mean(name, known),
            )


def check_candidate(spec: PipelineSpec, name: str) -> None:
    """Refuse an estimator that does not exist, does not fit the target, or does not have a parameter.

    Raises:
        SpecError: With the `key` of what is wrong.
    """
    candidate = spec.candidates[name]
    try:
        signatures.check_path(candidate.estimator)
        signatures.check_kind(candidate.estimator, spec.target.kind, bool(candidate.calibrate))
    except SpecError as error:
        raise error.at(candidate=name, key=f"candidates.{name}.estimator") from None
    for part in ("params", "search"):
        for word in getattr(candidate, part):
            try:
                signatures.check_parameter(candidate.estimator, word)
            except SpecError as error:
                raise error.at(candidate=name, key=f"candidates.{name}.{part}.{word}") from None
