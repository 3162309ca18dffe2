"""The attributes of a YAML as Dagster hands them over, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from dagster_shared.yaml_utils.source_position import SourcePositionTree
from pydantic import ConfigDict, PrivateAttr, ValidationError, model_validator

from ml_assets.broken import strict
from ml_assets.errors import SpecError
from ml_assets.spec import PipelineSpec


class Attributes(PipelineSpec):
    """The YAML's model as Dagster sees it. One that is wrong is kept with its errors, until `MLPipeline.load`."""

    model_config = ConfigDict(title="PipelineSpec")
    _error: ValidationError | None = PrivateAttr(None)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, data: Any, handler: Any) -> Any:
        try:
            return handler(data)
        except ValidationError as error:
            if strict():
                raise
            kept = cls.model_construct()  # type: ignore[call-arg]
            kept._error = error
            return kept

    @property
    def error(self) -> ValidationError | None:
        """What is wrong with it."""
        return self._error


def invalid(error: ValidationError, positions: SourcePositionTree | None) -> SpecError:
    """Everything that is wrong with a YAML, each with file and line."""
    lines = []
    for line in error.errors(include_url=False):
        key = ".".join(map(str, ("attributes", *line["loc"])))
        place = positions.lookup_closest_and_path(["attributes", *line["loc"]], trace=None)[0] if positions else ""
        lines.append(f"{key} at {place}: {line['msg'].removeprefix('Value error, ')}")
    return SpecError("The YAML is wrong.\n  " + "\n  ".join(lines))


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
                        f"The key {key.value!r} appears twice in one mapping.",
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
