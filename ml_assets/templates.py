"""Templates such as `{{ env.NAME }}` in a pipeline's YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
from jinja2.nativetypes import NativeEnvironment, NativeTemplate
from pydantic import ValidationError

from ml_assets.errors import SpecError
from ml_assets.spec import PipelineSpec

Path = tuple[str | int, ...]


def rendered(spec: PipelineSpec, context: dg.ResolutionContext) -> PipelineSpec:
    """The same pipeline with its templates filled in.

    Only a text with `{{` or `{%` is a template. Dagster takes every text for one, and then for a Python literal: the
    SQL `"left"` would become the word left, the value '10' a number.

    Raises:
        SpecError: A template gives what its place does not take.
        dagster.ResolutionException: A template that cannot be filled in.
    """
    raw = spec.model_dump(exclude_unset=True)
    given = dict(_templates(raw))
    if not given:
        return spec
    values = {path: _value(text, context, path) for path, text in given.items()}
    try:
        return PipelineSpec.model_validate(_replaced(raw, values))
    except ValidationError as error:
        raise _refused(error, given, values, context) from None


def filled(raw: Any, variables: Mapping[str, str]) -> Any:
    """A part of a YAML with its templates filled in from these environment variables; loading it would take seconds.

    Raises:
        dagster.ResolutionException: A template that cannot be filled in.
    """
    context = dg.ResolutionContext.default().with_scope(env=_Variables(variables))
    return _replaced(raw, {path: _value(text, context, path) for path, text in _templates(raw)})


class _Variables:
    """`env` of a template, of other variables than this process has."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __call__(self, key: str, default: str | None = None) -> str | None:
        return self._variables.get(key, default)

    def __getattr__(self, key: str) -> str | None:
        if key.startswith(("jinja", "_")):
            raise AttributeError(key)
        return self._variables.get(key)


def _templates(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        yield path, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _templates(inner, (*path, key))


def _replaced(value: Any, values: dict[Path, Any], path: Path = ()) -> Any:
    if path in values:
        return values[path]
    if isinstance(value, dict):
        return {key: _replaced(inner, values, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, values, (*path, place)) for place, inner in enumerate(value)]
    return value


def _value(text: str, context: dg.ResolutionContext, path: Path) -> Any:
    """What a template gives: the value of its only expression, else text."""
    at = context
    for part in path:
        at = at.at_path(part)
    at.resolve_value(text)  # Dagster's own, for its errors with file and line
    return _Template(text).render(**context.scope)


class _Environment(NativeEnvironment):
    """Jinja with values as they are: text from the environment stays text, be it a password such as 007 or None."""

    @staticmethod
    def concat(values: Iterable[Any]) -> Any:
        """The only value, or all of them as one text."""
        found = list(values)
        return found[0] if len(found) == 1 else "".join(map(str, found))


class _Template(NativeTemplate):
    environment_class = _Environment


def _refused(
    error: ValidationError, given: dict[Path, str], values: dict[Path, Any], context: dg.ResolutionContext
) -> SpecError:
    """The first problem, with file and line; the template stands for its value, which may be secret."""
    first = error.errors(include_url=False)[0]
    path = tuple(first["loc"])
    rule, template = first["msg"].removeprefix("Value error, "), given.get(path)
    if template is not None:
        rule = rule.replace(repr(values[path]), repr(template)).replace(str(values[path]), template)
    position = None
    if context.source_position_tree:
        position, _ = context.source_position_tree.lookup_closest_and_path([*context.path, *path], trace=None)
    unset = path in values and values[path] is None
    return SpecError(
        rule,
        where={"file": position, "key": ".".join(map(str, path))},
        fix="Set the environment variable that the template names." if unset else None,
    )
