"""The libraries of a release: pinned with hashes, listed with licences, on a base image by digest."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ml_assets.graph.release.packaging import supply_chain

ROOT = Path(__file__).parents[4]
EXTRAS = ("postgres", "s3", "mlflow", "demo")
BOOSTERS = ("lightgbm", "xgboost-cpu", "catboost")


def renewed() -> str:
    """Hashes of all that a server may need, out of constraints.txt; `python -m` this module writes them."""
    known = supply_chain.pinned((ROOT / "constraints.txt").read_text())
    wanted = supply_chain._with_dependencies([*supply_chain.SERVER_NEEDS, *supply_chain.SKOPS_NEEDS, *BOOSTERS])
    lines = [line for line in known if line.partition("==")[0] in wanted]
    return "".join(" \\\n    ".join([line, *(f"--hash=sha256:{h}" for h in known[line])]) + "\n" for line in lines)


def image_requirements() -> str:
    """requirements.txt of the image: what `ml-assets[postgres,s3,mlflow,demo]` takes, out of constraints.txt."""
    known = supply_chain.pinned((ROOT / "constraints.txt").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *(one for name in EXTRAS for one in project["optional-dependencies"][name])]
    wanted = _with_extras(["setuptools", *needed], set(), {})
    lines = [line for line in known if line.partition("==")[0] in wanted]
    return "".join(" \\\n    ".join([line, *(f"--hash=sha256:{h}" for h in known[line])]) + "\n" for line in lines)


def _with_extras(requirements: Iterable[str], extras: set[str], seen: dict[str, set[str]]) -> set[str]:
    """Names of distributions and of all that they need, with the extras that each is needed with."""
    for text in requirements:
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            name = canonicalize_name(needed.name)
            if name not in seen or needed.extras - seen[name]:
                seen[name] = seen.get(name, set()) | needed.extras
                _with_extras(metadata.requires(name) or (), seen[name], seen)
    return set(seen)


def test_the_image_installs_what_the_suite_runs_with() -> None:
    """Renewed by `make lock`, like the hashes."""
    assert (ROOT / "requirements.txt").read_text() == image_requirements()


def test_the_hashes_are_those_of_constraints() -> None:
    known = supply_chain.known_hashes()
    every = supply_chain.pinned((ROOT / "constraints.txt").read_text())
    assert {line: every.get(line) for line in known} == dict(known)
    assert {line.partition("==")[0] for line in known} >= {*supply_chain.SERVER_NEEDS, *supply_chain.SKOPS_NEEDS}


def test_requirements_have_hashes_or_say_why_not() -> None:
    known = sorted(supply_chain.known_hashes())[:3]
    text = supply_chain.locked(known)
    assert supply_chain.pinned(text) == {line: supply_chain.known_hashes()[line] for line in known}
    mixed = supply_chain.locked([*known, "tulip-field==4.2"])
    assert "--hash" not in mixed
    assert mixed.splitlines()[0] == "# Without hashes, because those of tulip-field==4.2 are not known."
    assert mixed.splitlines()[1:] == [*known, "tulip-field==4.2"]


@pytest.mark.parametrize("python", [(3, 11), (3, 12), (3, 13)])
def test_base_images_are_named_by_digest(python: tuple[int, int]) -> None:
    assert re.fullmatch(rf"python:3\.{python[1]}-slim@sha256:[0-9a-f]{{64}}", supply_chain.base_image(python))
    assert supply_chain.base_image((3, 99)) == "python:3.99-slim"


def test_the_bill_of_materials_is_valid_and_complete() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    lines = [*sorted(supply_chain.known_hashes())[:2], "tulip-field==4.2"]
    text = supply_chain.sbom("tulips", "2.1.0", lines)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["name"] == "tulips"
    listed = {f"{part['name']}=={part['version']}": part for part in bom["components"]}
    assert set(listed) == set(lines)
    first = listed[lines[0]]
    assert tuple(sorted(h["content"] for h in first["hashes"])) == tuple(sorted(supply_chain.known_hashes()[lines[0]]))
    assert len(next(d for d in bom["dependencies"] if d["ref"] == "tulips@2.1.0")["dependsOn"]) == len(lines)


if __name__ == "__main__":
    supply_chain.HASHES.write_text(renewed(), encoding="ascii")
    (ROOT / "requirements.txt").write_text(image_requirements(), encoding="ascii")
