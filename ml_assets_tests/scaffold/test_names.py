"""Every kind of name that files bring: from `ml-assets init` to definitions that Dagster loads."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml

from ml_assets.ml.bundle import Schema
from ml_assets.scaffold.draft import Draft, draft
from ml_assets.scaffold.project import place_of_target, write_pipeline
from ml_assets.scaffold.render import decisions
from ml_assets.server.requests import columns, request_type
from ml_assets.spec import Column, PipelineSpec
from ml_assets.templates import rendered

CONTEXT = dg.ResolutionContext.default().at_path("attributes")
NAMES = [
    *("label_", "part_", "bin", "v"),
    *("10", "1.5", "-3", "True", "None", "null", "yes", "select", "left", "group", "at", "batch_", "x" * 300),
    *("two words", " lead", "trail ", "it's", 'say "hi"', "a\\b", "a, b", "a;b", "#tag", "- dash", "key: value"),
    *(
        "{{ x }}",
        "{% if %}",
        "{{'",
        "{# x",
        "{one}",
        "$x",
        "größe",
        "名前",
        "🙂",
        "?",
        "*",
        "[1]",
        "é",
        "e",
        "Tag",
        "tag",
    ),
]
UNFIT = {'say "hi"', "a\\b"}
TARGETS: dict[str, list[object]] = {
    "10": [0, 1],
    " lead": [True, False],
    "None": ["no", "yes"],
    "{{ x }}": ["it's", "{{ y }}"],
    'say "hi"': ["10", "20"],
}


def table(target: str, rows: int = 120) -> pd.DataFrame:
    """A column for each name; that of the target holds its two values, which two of the others tell."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({name: rng.normal(size=rows).round(3) for name in NAMES})
    positive = frame["two words"] + frame["{one}"] + rng.normal(size=rows) > 0
    frame[target] = [TARGETS[target][one] for one in positive.astype(int)]
    return frame


def of_yaml(folder: Path) -> PipelineSpec:
    """The pipeline as its component has it, templates filled in."""
    attributes = yaml.safe_load((folder / "defs.yaml").read_text(encoding="utf-8"))["attributes"]
    return rendered(PipelineSpec.model_validate(attributes), CONTEXT)


def test_names_and_values_of_every_kind_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defs = tmp_path / "odd" / "defs"
    defs.mkdir(parents=True)
    (defs / "__init__.py").touch()
    (tmp_path / "odd" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "odd"\n')
    made: dict[str, Draft] = {}
    for number, target in enumerate(TARGETS):
        folder = tmp_path / f"in {{{{ coming }}}} [{number}] 'of' #1"
        folder.mkdir()
        table(target).to_csv(folder / "report[1] {{a}}.csv", index=False)
        table(target).to_csv(folder / "report[2] {{a}}.csv", index=False)
        made[target] = draft(f"p{number}", str(folder), target, tmp_path, tmp_path)
        write_pipeline(made[target], defs / f"p{number}")
        spec = of_yaml(defs / f"p{number}")
        assert spec.outcome_columns == [target.strip()]  # DuckDB strips the names of CSV files
        assert spec.source.path == folder.name
        assert made[target].batches == ["1", "2"]
        read = {name.lower() for name in made[target].read.types}
        assert {column.name.lower() for column in spec.columns} == read
        unfit = UNFIT - {target}
        assert set(made[target].read.left_out) == unfit
        assert {name.strip().lower() for name in NAMES} - unfit <= read
    monkeypatch.syspath_prepend(tmp_path)
    graph = dg.load_from_defs_folder(path_within_project=tmp_path).resolve_asset_graph()
    loaded = {key.path[0] for key in graph.get_all_asset_keys() if key.path[-1] == "champion"}
    assert loaded == {f"p{number}" for number in range(len(TARGETS))}


def test_a_target_that_a_person_has_to_write(tmp_path: Path) -> None:
    frame = table("10").assign(note=[f"note {n}" for n in range(120)])
    frame.to_csv(tmp_path / "a.csv", index=False)
    made = draft("notes", "a.csv", "note", tmp_path, tmp_path)
    folder = tmp_path / "defs"
    written = [folder / "defs.yaml", folder / "features.sql", tmp_path / "pipeline.schema.json"]
    assert write_pipeline(made, folder) == written
    assert "write target.sql" in decisions(made)[0]
    place = place_of_target(folder / "defs.yaml")
    line = (folder / "defs.yaml").read_text().splitlines()[int(place.rpartition(":")[2]) - 1]
    assert "TODO" in line
    with pytest.raises(ValueError, match=r"target\.sql is still to be written here"):
        of_yaml(folder)
    text = (folder / "defs.yaml").read_text()
    mine = "  target: {name: long_note, sql: length(note) > 7, kind: binary}"
    (folder / "defs.yaml").write_text(text.replace(line, mine))
    assert of_yaml(folder).target.name == "long_note"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_refused_where_no_request_could_carry_it(name: str) -> None:
    schema = Schema("binary", "late", {name: "number"}, {"a": "number"}, [], 0.5, "x.Y", [])
    column = {"name": name, "type": "number"}
    if name in UNFIT:
        with pytest.raises(ValueError, match="Renamed field names"):
            request_type(schema, "loans")
        with pytest.raises(ValueError, match="a request to the server could not carry"):
            Column.model_validate(column)
        assert Column.model_validate({**column, "outcome": True}).name == name
    else:
        body = msgspec.json.encode({"rows": [{name: 1.5}]})
        assert columns(msgspec.json.decode(body, type=request_type(schema, "loans")).rows, schema) == {name: [1.5]}
        assert Column.model_validate(column).name == name
