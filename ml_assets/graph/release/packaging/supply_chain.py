"""What a release is made of besides our own files: its base image, libraries with their hashes, and the list of all."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.ml import bundle

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

# Python's official slim images (Debian 13, all architectures), by digest: a tag may point to other bytes tomorrow.
BASE_IMAGES = {
    "3.11": "python:3.11-slim@sha256:9534e5a8e315485d4061ed659af0fd78a284c015f9b73661b41d6bab25604534",
    "3.12": "python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea",
    "3.13": "python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285",
}
# What the server imports, by engine; uvicorn takes the last where it is installed.
SERVER_NEEDS = ("duckdb", "msgspec", "numpy", "onnxruntime", "pyarrow", "starlette", "uvicorn", "httptools", "uvloop")
SKOPS_NEEDS = ("pandas", "scikit-learn", "skops")
HASHES = Path(__file__).with_name("hashes.txt")
PINNED = re.compile(r"^([A-Za-z0-9._-]+==\S+)(( \\\n +--hash=sha256:[0-9a-f]{64})+)", re.MULTILINE)


def base_image(python: tuple[int, ...] = sys.version_info[:2]) -> str:
    """The image that a release is built on, for a version of Python; by tag where we know no digest."""
    version = f"{python[0]}.{python[1]}"
    return BASE_IMAGES.get(version, f"python:{version}-slim")


def requirements(schema: bundle.Schema, sources: Mapping[str, str]) -> list[str]:
    """Exact versions, as installed here, of all that the server of a release imports.

    Args:
        schema: The bundle's schema; its engine decides what is needed.
        sources: Text of the features function's modules; what they import is needed, too.
    """
    needed = set(SERVER_NEEDS)
    modules = {name for text in sources.values() for name in _imported(text)} | ({"pandas"} if sources else set())
    if schema.engine != "onnx":
        needed |= set(SKOPS_NEEDS)
        modules.add(schema.estimator.partition(".")[0])
    own = {name.partition(".")[0] for name in sources}
    if modules - own:  # half a second, which most releases need not wait
        packages = metadata.packages_distributions()
        needed |= {name for module in modules - own for name in packages.get(module, ())}
    return sorted(f"{name}=={version}" for name, version in _with_dependencies(needed).items())


def _imported(text: str) -> set[str]:
    """Top-level names of the modules that a source imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def _with_dependencies(names: Iterable[str]) -> dict[str, str]:
    """Name -> version of distributions and of all that they require; of those that are installed."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    waiting = [str(name) for name in names]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found or name == "ml-assets":
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def locked(requirements: Sequence[str]) -> str:
    """The text of requirements.txt, with hashes that pip checks.

    pip wants hashes for all lines or for none. Where a library is installed in a version whose hashes we do not know,
    there are none, and a comment names it.

    Args:
        requirements: Lines such as `numpy==2.3.0`.
    """
    known = known_hashes()
    unknown = [line for line in requirements if line not in known]
    if unknown:
        return "\n".join([f"# Without hashes, because those of {', '.join(unknown)} are not known.", *requirements, ""])
    return (
        "\n".join(" \\\n    ".join([line, *(f"--hash=sha256:{h}" for h in known[line])]) for line in requirements)
        + "\n"
    )


@cache
def known_hashes() -> Mapping[str, tuple[str, ...]]:
    """`name==version` -> SHA-256 of its files on PyPI, for what a server of ours may need."""
    return pinned(HASHES.read_text(encoding="ascii")) if HASHES.exists() else {}


def pinned(constraints: str) -> dict[str, tuple[str, ...]]:
    """`name==version` -> SHA-256 of its files, out of a file as pip-compile writes it."""
    return {line: tuple(re.findall("[0-9a-f]{64}", hashes)) for line, hashes, _ in PINNED.findall(constraints)}


def sbom(pipeline: str, version: str, requirements: Iterable[str]) -> str:
    """The software bill of materials of a release as CycloneDX 1.6 JSON: the model, and each library with its hashes.

    Args:
        pipeline: The pipeline.
        version: The model version.
        requirements: Lines such as `numpy==2.3.0`.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    model = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL, name=pipeline, version=version, bom_ref=f"{pipeline}@{version}"
    )
    bom = Bom(components=[_component(line) for line in requirements])
    bom.metadata.component = model
    bom.register_dependency(model, bom.components)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)


def _component(requirement: str) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name, _, version = requirement.partition("==")
    text = _license(name)
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        purl=PackageURL("pypi", name=name, version=version),
        bom_ref=f"{name}@{version}",
        licenses=[LicenseFactory().make_from_string(text)] if text else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in known_hashes().get(requirement, ())],
    )


def _license(name: str) -> str:
    """The licence that an installed distribution states; empty where it states none in a line."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    stated = [str(about[key]) for key in ("License-Expression", "License") if key in about]
    return next((text for text in stated if "\n" not in text), "")
