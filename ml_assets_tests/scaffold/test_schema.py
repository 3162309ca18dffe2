"""The JSON schema of pipelines: what an editor sees of the YAML that is shipped, and of that which `init` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from docs.reference import SCHEMA, schema
from ml_assets.cli import main
from ml_assets.scaffold.project import OUR_SCHEMA

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "ml_assets/defs/flights/defs.yaml", *(ROOT / "ml_assets_tests/pipelines").glob("*/defs.yaml")]


class Yaml12(yaml.SafeLoader):
    """Reads as editors do: `on` is a word, only true and false are booleans."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:bool"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))  # type: ignore[no-untyped-call]


def validator() -> Any:
    """Imported here: that takes 0.7 s of each process which collects tests."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator


def mistakes(text: str, file: Path = OUR_SCHEMA) -> list[str]:
    document: Any = yaml.load(text, Loader=Yaml12)
    return [one.message for one in validator()(json.loads(file.read_text())).iter_errors(document)]


def named_schema(file: Path) -> Path:
    """The file that the first line of a YAML names, as a language server resolves it."""
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", file.read_text().splitlines()[0])
    assert found, file
    return (file.parent / found[1]).resolve()


def test_the_schema_is_up_to_date() -> None:
    assert SCHEMA == OUR_SCHEMA
    assert SCHEMA.read_text() == schema(), "make fix"
    validator().check_schema(json.loads(schema()))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.parent.name)
def test_the_shipped_pipelines_keep_it(file: Path) -> None:
    text = file.read_text()
    assert mistakes(text) == []
    (wrong,) = mistakes(text.replace("\n  target:", "\n  targte:", 1))[-1:]
    assert "target" in wrong
    assert "'targte' was unexpected" in "\n".join(mistakes(text.replace("\n  target:", "\n  targte:", 1)))
    assert any("was expected" in one for one in mistakes(text.replace("MLPipeline", "MLPipelin", 1)))


def test_the_demo_names_it() -> None:
    assert named_schema(SHIPPED[0]) == OUR_SCHEMA


def test_init_writes_it_beside_the_pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "retention"
    root.mkdir()
    rows = [{"account": n, "months": n % 37, "left": "yes" if n % 37 < 9 else "no"} for n in range(200)]
    pd.DataFrame(rows).to_csv(tmp_path / "customers_1.csv", index=False)
    monkeypatch.chdir(root)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    said = CliRunner().invoke(main, ["init", "churn", "--source", "../customers_1.csv", "--target", "left"])
    assert said.exit_code == 0, said.output
    file = root / "retention/defs/churn/defs.yaml"
    named = named_schema(file)
    assert named == root / "retention/defs/pipeline.schema.json"
    assert mistakes(file.read_text(), named) == []
    assert mistakes(file.read_text().replace("  split:", "  spilt:"), named) != []
    named.write_text("{}")  # as an earlier version had it
    said = CliRunner().invoke(main, ["home"])
    assert f"wrote {named}" in said.output
    assert named.read_text() == OUR_SCHEMA.read_text()
    assert "wrote" not in CliRunner().invoke(main, ["home"]).output
