"""The attributes of a YAML as Dagster hands them over, and what is wrong with them."""

from __future__ import annotations

from typing import Any

from dagster_shared.yaml_utils.source_position import SourcePositionTree
from pydantic import ConfigDict, PrivateAttr, ValidationError, model_validator

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
