"""Templates of the YAML: filled in where one stands, and nothing else is touched."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster.components.resolved.errors import ResolutionException
from dagster_shared.yaml_utils import parse_yaml_with_source_position

from ml_assets.errors import SpecError
from ml_assets.spec import PipelineSpec
from ml_assets.templates import rendered
from ml_assets_tests.conftest import SPEC

CONTEXT = dg.ResolutionContext.default().at_path("attributes")
# Texts that Python reads as something else, and some that look like the start of a template.
LITERALS = ["10", "-3", "1e5", "0x1F", "1_000", "007", "1.50", "True", "False", "None", '"left"', "'left'", "('a')"]
LITERALS += ["[1, 2]", "{'a': 1}", "{1}", "()", "...", "b'x'", '"""x"""', "1 + 2j", " 5", "a\n", "{#x", "{ {x} }", "}}"]


def spec(**changes: Any) -> PipelineSpec:
    return PipelineSpec.model_validate({**copy.deepcopy(SPEC), **changes})


@pytest.mark.parametrize("text", LITERALS)
def test_text_without_a_template_stays_as_it_stands(text: str) -> None:
    """In SQL, in values, in names of columns and in free text."""
    column = {"name": text, "type": "string", "allowed": [text, "B"], "description": text}
    is_outcome = not text.isprintable() or '"' in text or "\\" in text  # no other column may have such a name
    columns = [*SPEC["columns"], {**column, "outcome": is_outcome}]
    given = spec(
        columns=columns,
        key=["loan", *([] if is_outcome else [text])],
        target={"name": "late", "sql": text, "kind": "binary"},
        rules={"own": text},
        candidates={"one": {"estimator": "sklearn.dummy.DummyClassifier", "params": {"strategy": text}}},
    )
    assert rendered(given, CONTEXT) == given


@pytest.mark.parametrize("value", ["10", "007", "None", "True", '"left"', "{{ 1 + 1 }}", "plain"])
@pytest.mark.parametrize(
    "template", ["{{ env.LOANS_VALUE }}", "{{ env('LOANS_VALUE') }}", "s3://{{ env.LOANS_VALUE }}/in"]
)
def test_a_value_of_the_environment_is_text(template: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOANS_VALUE", value)
    options = {"key": template, "depth": {"list": [template, 3]}}
    source = rendered(spec(source={**SPEC["source"], "path": template, "options": options}), CONTEXT).source
    expected = f"s3://{value}/in" if "s3" in template else value
    assert source.path == expected
    assert source.options == {"key": expected, "depth": {"list": [expected, 3]}}


def test_a_template_may_give_a_number_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOANS_LEAVES", "12")
    monkeypatch.delenv("LOANS_NO_HOOK", raising=False)
    tree = {
        "estimator": "sklearn.tree.DecisionTreeClassifier",
        "params": {"max_leaf_nodes": "{{ env.LOANS_LEAVES | int }}"},
    }
    found = rendered(spec(candidates={"tree": tree}, alerts={"webhook": "{{ env.LOANS_NO_HOOK }}"}), CONTEXT)
    assert found.candidates["tree"].params == {"max_leaf_nodes": 12}
    assert found.alerts.webhook is None


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("  path: '{{ env.LOANS_UNSET }}'", "valid string"),
        ("  pattern: '(?P<batch>{{ env.LOANS_SECRET }})'", "not a regular expression"),
        ("  path: '{{ nothing.here }}'", "nothing"),
    ],
)
def test_what_a_template_gives_wrongly_has_file_and_line(
    line: str, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOANS_SECRET", "geheim(")
    file = tmp_path / "defs.yaml"
    file.write_text(f"attributes:\n source:\n{line}\n")
    tree = parse_yaml_with_source_position(file.read_text(), str(file)).source_position_tree
    name, _, template = line.strip().partition(": ")
    given = spec(source={**SPEC["source"], name: template.strip("'")})
    with pytest.raises((SpecError, ResolutionException)) as caught:
        rendered(given, CONTEXT.with_source_position_tree(tree))
    assert rule in str(caught.value)
    assert f"{file}:3" in str(caught.value)
    assert "geheim" not in str(caught.value)
