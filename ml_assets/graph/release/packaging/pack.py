"""The release folder of a version: all that a server needs, in one immutable place (`ml/release.py` lists it)."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ml_assets.graph.code_version import PACKAGE, closure, source_file
from ml_assets.graph.release.evaluation import leakage
from ml_assets.graph.release.packaging import features_engine, supply_chain
from ml_assets.graph.release.packaging.features_engine import Parity
from ml_assets.graph.release.packaging.golden import golden_rows
from ml_assets.lake.artifacts import Artifacts
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier, literal
from ml_assets.ml import bundle, manifest, release
from ml_assets.reporting.model_card import model_card
from ml_assets.sources.references import load_references
from ml_assets.spec import PipelineSpec
from ml_assets.tables import releases
from ml_assets.tables.data import is_online_batch, lookup
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets.tables.releases import Served
from ml_assets.tables.training_sets import Pin
from ml_assets.tables.versions import ModelVersion, now

SERVER = ("ml_assets.server.__main__", "ml_assets.server.pyfunc")
PAGE = "ml_assets.server.page"
WHAT = {
    "bundle": "the model that serves: the recipe of the judged model, refit on all labelled rows",
    "judged": "the model that metrics.json and model_card.md evaluate; it has never seen the test rows",
    "both": "the model that serves, and that metrics.json and model_card.md evaluate",
}
DOCKERFILE = """\
FROM {image}
RUN useradd --create-home --uid 10001 server
WORKDIR /release
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
# Who builds the image vouches for the release; --build-arg SHA256=... refuses another than that one.
ARG SHA256
RUN sum=$(sha256sum manifest.json) && echo "${{sum%% *}}" > /etc/release.sha256 && \\
  test "${{SHA256:-$(cat /etc/release.sha256)}}" = "$(cat /etc/release.sha256)"
ENV PYTHONPATH=/release/{sources} PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
ENV ORT_DISABLE_TELEMETRY=1 MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \\
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
# Without keys in ML_ASSETS_API_KEYS it does not start, unless it is run with --insecure.
ENTRYPOINT ["sh", "-c", "exec python -m ml_assets.server . --host 0.0.0.0 --sha256 $(cat /etc/release.sha256) $*", "sh"]
"""


class FeaturesFunction(Protocol):
    """The features function, as `graph/features` finds it."""

    @property
    def module(self) -> str:
        """Dotted name to import."""

    @property
    def function(self) -> str:
        """Its name in the module."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the views that it takes."""

    @property
    def sources(self) -> dict[str, str]:
        """File name -> text of its module and of what that imports of the same project."""


@dataclass(frozen=True)
class Packed:
    """A release folder.

    Args:
        name: What it is called among the releases.
        folder: Where it can be read.
        sha256: SHA-256 of its manifest.
        schema: Schema of its bundle.
        facts: What it says about itself.
        golden: Its golden rows.
        size_bytes: Size of all its files.
    """

    name: str
    folder: Path
    sha256: str
    schema: bundle.Schema
    facts: release.ServingFacts
    golden: release.Golden
    size_bytes: int


def pack(
    lake: Lake,
    paths: Paths,
    spec: PipelineSpec,
    pin: Pin,
    model: ModelVersion,
    found: Sequence[EvaluatedNumber],
    function: FeaturesFunction | None,
    served: Served | None = None,
    parity: Parity | None = None,
) -> Packed:
    """Write the release of a version; one that is there already is kept, if it is the one that was registered.

    Args:
        lake: The lake.
        paths: Where bundles and releases are kept.
        spec: The pipeline.
        pin: The training set of the version.
        model: The version.
        found: Its evaluation.
        function: The features function; None where features are a SELECT.
        served: The model that it ships; by default the one of the version's newest release, or the judged one.
        parity: Compares the engines that can compute features; without it, DuckDB does.

    Raises:
        ModelError: The bundle, or the release that is there, is not the one that was registered.
    """
    served = served or releases.served(lake, spec.name, model)
    store, bundles = paths.artifacts.releases, paths.artifacts.bundles
    name = _name(lake, store, spec.name, model, served)
    registered = releases.digest(lake, spec.name, name)
    if not store.exists(name):
        loaded = bundle.load(bundles.fetch(served.bundle), served.bundle_sha256)
        with store.put(name) as new:
            shutil.copytree(bundles.fetch(served.bundle), new / "bundle")
            if served.serves != releases.JUDGED:
                bundle.verify(bundles.fetch(model.bundle), model.bundle_sha256)
                shutil.copytree(bundles.fetch(model.bundle), new / release.JUDGED)
            batch = max(name for name in pin.all_batches if not is_online_batch(name))  # lookups of its own
            _write_tables(lake, paths, spec, pin, batch, new)
            facts = release.ServingFacts(
                pipeline=spec.name,
                version=model.version,
                batch=batch,
                sql=None if function else spec.features,
                function=f"{function.module}:{function.function}" if function else None,
                parameters=list(function.parameters) if function else [],
                lookups={name: lookup.key for name, lookup in spec.lookups.items()},
                references=list(spec.references),
                parity=spec.gates.serving.parity if spec.gates.serving else release.PARITY,
                models=_models(pin, model, served),
                constraints=_constraints(spec),
                broken=spec.serving.constraints,
            )
            if parity is not None:
                facts = features_engine.choose(lake, spec, pin, new, facts, loaded.schema, parity)
            release.write(new, facts, golden_rows(lake, spec, pin, batch, loaded))
            sources = function.sources if function else {}
            write_sources(new / release.SOURCES, sources)
            libraries = supply_chain.requirements(loaded.schema, sources)
            (new / "requirements.txt").write_text(supply_chain.locked(libraries))
            (new / "sbom.cdx.json").write_text(supply_chain.sbom(spec.name, model.version, libraries))
            image = supply_chain.base_image()
            (new / "Dockerfile").write_text(DOCKERFILE.format(image=image, sources=release.SOURCES))
            (new / "metrics.json").write_text(json.dumps([_plain(asdict(finding)) for finding in found], indent=1))
            (new / "model_card.md").write_text(
                model_card(spec, model, pin, found, leakage.suspects(spec, found), served), encoding="utf-8"
            )
            manifest.write(new, {"pipeline": spec.name, "version": model.version})
        registered = None
    folder = store.fetch(name)
    fix = f"Put it back from a backup, or remove it and materialize {spec.name}/release_candidate again."
    manifest.verify(folder, registered, "release", fix)
    return Packed(
        name=name,
        folder=folder,
        sha256=manifest.sha256(folder / manifest.NAME),
        schema=bundle.verify(folder / "bundle", served.bundle_sha256),
        facts=release.read_facts(folder),
        golden=release.read_golden(folder),
        size_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


def _name(lake: Lake, store: Artifacts, pipeline: str, model: ModelVersion, served: Served) -> str:
    """The release with that model, as it is called or shall be. One that holds another model is left as it is."""
    known = releases.newest(lake, pipeline, model.version)
    if known is not None and (known.bundle_sha256 or model.bundle_sha256) == served.bundle_sha256:
        return known.folder
    taken = releases.folders(lake, pipeline)
    name = f"{pipeline}/{model.version}"
    name = f"{name}-{served.serves}" if name in taken else name
    if name not in taken:
        store.remove(name)  # of a run that was killed before its release was recorded
    return name


def _models(pin: Pin, model: ModelVersion, served: Served) -> dict[str, Any]:
    """Folder of the release -> which model it holds."""
    folders = {"bundle": served}
    if served.serves != releases.JUDGED:
        folders[release.JUDGED] = releases.judged(model)
    return {
        folder: {
            "what": WHAT[folder] if len(folders) > 1 else WHAT["both"],
            "sha256": one.bundle_sha256,
            "fitted_on": list(one.parts),
            "batches": sorted({batch for part in one.parts for batch in pin.batches[part]}),
            "rows": sum(pin.rows[part] for part in one.parts),
        }
        for folder, one in folders.items()
    }


def _constraints(spec: PipelineSpec) -> dict[str, dict[str, Any]]:
    """Column of a request -> the constraints that it declares."""
    words = ("min", "max", "allowed", "regex")
    declared = {
        column.name: {word: getattr(column, word) for word in words if getattr(column, word) is not None}
        for column in spec.columns
        if not column.outcome
    }
    return {name: found for name, found in declared.items() if found}


def as_row(packed: Packed, version: str, run_id: str) -> dict[str, Any]:
    """What was packed, as columns of `release_candidate`."""
    return {
        "version": version,
        "created_at": now(),
        "folder": packed.name,
        "sha256": packed.sha256,
        "engine": packed.schema.engine,
        "engine_why": packed.schema.why,
        "features_engine": packed.facts.features_engine,
        "features_why": packed.facts.features_why,
        "size_bytes": packed.size_bytes,
        "golden_rows": len(packed.golden.rows),
        "run_id": run_id,
    }


def _write_tables(lake: Lake, paths: Paths, spec: PipelineSpec, pin: Pin, batch: str, folder: Path) -> None:
    """Lookups and references as the features of the batch saw them."""
    lake.con.execute("SET VARIABLE batch = ?", [batch])
    load_references(lake, spec, paths, spec.references)
    queries = {f"references/{name}": f"FROM {identifier(name)}" for name in spec.references}
    for name in spec.lookups:
        source = lookup(name).sql(spec.name, pin.snapshot_id)
        queries[f"lookups/{name}"] = f"SELECT * EXCLUDE (batch) FROM {source} WHERE batch = getvariable('batch')"
    for place, query in queries.items():
        file = folder / f"{place}.parquet"
        file.parent.mkdir(exist_ok=True)
        lake.con.execute(f"COPY ({query}) TO {literal(str(file))} (FORMAT parquet)")


def write_sources(file: Path, sources: Mapping[str, str]) -> None:
    """A zip, the same bytes each time, of the server's modules and of a features function's.

    Args:
        file: The zip.
        sources: Dotted module name with `.py` -> text.
    """
    texts = {}
    for module in {PACKAGE}.union(*map(closure, SERVER)):
        found = source_file(module)
        if found is not None:
            path = module.replace(".", "/")
            texts[f"{path}/__init__.py" if found.name == "__init__.py" else f"{path}.py"] = found.read_text("utf-8")
            if module == PAGE:
                files = sorted(found.with_name("page_files").iterdir())
                texts |= {f"{Path(path).parent}/page_files/{file.name}": file.read_text("utf-8") for file in files}
    texts |= {f"{name.removesuffix('.py').replace('.', '/')}.py": text for name, text in sources.items()}
    for path in [path for path in texts if path.endswith(".py")]:  # packages need a file, which may be empty
        for parent in Path(path).parents[:-1]:
            texts.setdefault((parent / "__init__.py").as_posix(), "")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(texts):
            packed.writestr(zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0)), texts[path])


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
