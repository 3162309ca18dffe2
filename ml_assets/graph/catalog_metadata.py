"""What Dagster's UI and data catalogues want to know of an asset: its table, where that lies, its columns, its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster_shared.yaml_utils.source_position import SourcePositionTree

from ml_assets.graph.code_version import source_file
from ml_assets.graph.declare import column_schema, table_of
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec

Reference = dg.LocalFileCodeReference
# Asset name -> the key of the YAML that declares it; lookups and candidates have their own.
YAML_KEYS = {
    "arrivals": "source",
    "raw_data": "columns",
    "validated_data": "columns",
    "quarantine": "rules",
    "outcomes": "outcomes",
    "features": "features",
    "training_set": "split",
    "trained_model": "tuning",
    "evaluation_report": "gates",
    "release_candidate": "gates",
    "champion": "gates",
    "predictions": "serving",
    "drift_report": "monitoring",
    "performance_report": "monitoring",
    "mlflow_run": "tracking",
}
NO_TABLE = frozenset({"mlflow_run"})


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
        if name not in NO_TABLE:
            made |= table_metadata(asset.key, self.paths)
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
        kind, _, own = name.partition("_")
        key = YAML_KEYS.get(name, "")
        if kind == "lookup" and own in self.spec.lookups:
            key = f"lookups.{own}"
            yield self._file(self.spec.lookups[own].sql)
        elif kind == "candidate" and own in self.spec.candidates:
            key = f"candidates.{own}"
            yield from _estimator(self.spec.candidates[own].estimator)
        elif name == "features":
            if self.function:
                yield Reference(file_path=str(self.function[0]), line_number=self.function[1], label=self.spec.features)
            else:
                yield self._file(self.spec.features)
        yield from self._yaml(key)

    def _file(self, name: str) -> Reference:
        return Reference(file_path=str(self.folder / name), line_number=1, label=name)

    def _yaml(self, key: str) -> Iterator[Reference]:
        found = self.positions.lookup(["attributes", *key.split(".")]) if self.positions and key else None
        if found:
            file = Path(found.filename)
            yield Reference(file_path=str(file.absolute()), line_number=found.start.line, label=f"{file.name}: {key}")


def table_metadata(key: dg.AssetKey, paths: Paths) -> dict[str, object]:
    """An asset's table as SQL clients name it, and the folder of its Parquet files."""
    return {
        "dagster/table_name": f"lake.{table_of(key)}",
        "dagster/uri": paths.lake.joinpath("data", *key.path).as_uri(),
    }


def _estimator(path: str) -> Iterator[Reference]:
    """The class of an estimator that is the user's own, and not of an installed package."""
    module, _, name = path.rpartition(".")
    file = source_file(module)
    if file is None or {"site-packages", "dist-packages"} & set(file.parts):
        return
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            yield Reference(file_path=str(file), line_number=node.lineno, label=path)
