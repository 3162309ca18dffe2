"""What Dagster's UI and data catalogues want to know of an asset: its table, where that lies, its columns, its code."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster_shared.yaml_utils.source_position import SourcePositionTree

from ml_assets.graph.code_version import source_file
from ml_assets.graph.declare import column_schema
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.data import FEATURES, QUARANTINE, RAW_DATA, VALIDATED_DATA
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.evaluations import EVALUATIONS
from ml_assets.tables.families import table_of
from ml_assets.tables.outcomes import OUTCOMES
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.prediction_log import PREDICTION_LOG
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.releases import RELEASES
from ml_assets.tables.training_sets import TRAINING_SETS
from ml_assets.tables.versions import VERSIONS

Reference = dg.LocalFileCodeReference
# Table of an asset -> the key of the YAML that declares the asset; lookups and candidates have their own.
YAML_KEYS = {
    ARRIVALS: "source",
    RAW_DATA: "columns",
    VALIDATED_DATA: "columns",
    QUARANTINE: "rules",
    OUTCOMES: "outcomes",
    FEATURES: "features",
    TRAINING_SETS: "split",
    VERSIONS: "tuning",
    EVALUATIONS: "gates",
    RELEASES: "gates",
    DECISIONS: "gates",
    PREDICTIONS: "serving",
    PREDICTION_LOG: "serving",
    DRIFT: "monitoring",
    PERFORMANCE: "monitoring",
}


@dataclass(frozen=True)
class Catalogue:
    """What is known of a pipeline's assets beyond their own declarations.

    Args:
        spec: The pipeline.
        folder: Where its SQL files are.
        paths: Folders of the project.
        positions: Lines of the YAML; None where the pipeline is made in Python.
        lineage: Asset name -> column -> the (asset name, column)s that it is computed from.
        columns: Asset name -> column -> SQL type, where no run is needed to know them.
        function: File and line of the features function, if there is one.
        more: Asset name -> other metadata.
    """

    spec: PipelineSpec
    folder: Path
    paths: Paths
    positions: SourcePositionTree | None = None
    lineage: Mapping[str, Mapping[str, frozenset[tuple[str, str]]]] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    function: tuple[Path, int] | None = None
    more: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def described(self, asset: dg.AssetSpec) -> dg.AssetSpec:
        """The asset with all that is known of it; what its declaration says stays."""
        return asset.replace_attributes(metadata={**self._metadata(asset), **asset.metadata})

    def _metadata(self, asset: dg.AssetSpec) -> dict[str, object]:
        name = asset.key.path[-1]
        made: dict[str, object] = {**self.more.get(name, {})}
        if table_of(name):  # the candidates share one, and a catalogue takes its name for an asset's own
            made |= table_metadata(self.spec.name, name, self.paths)
        if name in self.columns:
            made["dagster/column_schema"] = column_schema(self.columns[name])
        if self.lineage.get(name):
            made["dagster/column_lineage"] = self._lineage(name)
        references = list(self._references(name))
        if references:
            made["dagster/code_references"] = dg.CodeReferencesMetadataValue(code_references=references)
        return made

    def _lineage(self, name: str) -> dg.TableColumnLineage:
        return dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(dg.AssetKey([self.spec.name, of]), c) for of, c in sorted(origins)]
                for column, origins in self.lineage[name].items()
            }
        )

    def _references(self, name: str) -> Iterator[Reference]:
        """The lines that make the asset what it is: SQL, Python, then YAML."""
        key, table = "", table_of(name)
        if lookup := _of(name, "lookup", self.spec.lookups):
            key = f"lookups.{lookup}"
            yield self._file(self.spec.lookups[lookup].sql)
        elif candidate := _of(name, "candidate", self.spec.candidates):
            key = f"candidates.{candidate}"
            yield from _estimator(self.spec.candidates[candidate].estimator)
        elif table in YAML_KEYS:
            key = YAML_KEYS[table]
        if table is FEATURES and self.function:
            yield Reference(file_path=str(self.function[0]), line_number=self.function[1], label=self.spec.features)
        elif table is FEATURES:
            yield self._file(self.spec.features)
        yield from self._yaml(key)

    def _file(self, name: str) -> Reference:
        return Reference(file_path=str(self.folder / name), line_number=1, label=name)

    def _yaml(self, key: str) -> Iterator[Reference]:
        found = self.positions.lookup(["attributes", *key.split(".")]) if self.positions and key else None
        if found:
            file = Path(found.filename)
            yield Reference(file_path=str(file.absolute()), line_number=found.start.line, label=f"{file.name}: {key}")


def table_metadata(pipeline: str, table: str, paths: Paths) -> dict[str, object]:
    """A table as SQL clients name it, and the folder of its Parquet files."""
    place = f"{paths.catalog.data.url}/{pipeline}/{table}"
    return {
        "dagster/table_name": f"lake.{pipeline}.{table}",
        "dagster/uri": place if "://" in place else Path(place).as_uri(),
    }


def _of(asset_name: str, kind: str, declared: Container[str]) -> str:
    """NAME of the asset `kind_NAME` that the YAML declares; empty where it is another asset."""
    name = asset_name.removeprefix(f"{kind}_")
    return name if name != asset_name and name in declared else ""


def _estimator(path: str) -> Iterator[Reference]:
    """The class of an estimator that is the user's own, and not of an installed package."""
    module, _, name = path.rpartition(".")
    file = source_file(module)
    if file is None or {"site-packages", "dist-packages"} & set(file.parts):
        return
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            yield Reference(file_path=str(file), line_number=node.lineno, label=path)
