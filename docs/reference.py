"""Writes the generated pages of docs/reference and the YAML's JSON schema: `python -m docs.reference [--check]`."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.notebook_pages import notebook_pages
from docs.reference_code import commands_page, errors_page, python_page
from ml_assets.metrics import METRICS, Metric
from ml_assets.spec import PipelineSpec
from ml_assets.tables.families import TABLES
from ml_assets.tables.table import Table

FOLDER = Path(__file__).parent / "reference"
PAGE = FOLDER / "yaml.md"
SCHEMA = Path(__file__).parents[1] / "ml_assets" / "spec" / "pipeline.schema.json"
HEAD = """# The YAML, key by key

A pipeline is a folder under `defs/` with one file `defs.yaml` and its SQL files. `make fix` generates this page from
the descriptions in `ml_assets/spec/`. For a complete example, see
[the flights pipeline](https://github.com/ml-assets/ml-assets/blob/main/ml_assets/defs/flights/defs.yaml).

```yaml
type: ml_assets.MLPipeline
attributes:
  name: flights
  ...
```

Editors with a YAML language server (VS Code, Neovim, JetBrains) complete and check the keys with the JSON schema
that the first line of the file names ([Start from your files](../how-to/start.md#in-an-editor)).

Invalid YAML is rejected when the pipeline is loaded, with file, line, the rule, what was found and the nearest valid
word. `ml-assets validate` and `dagster definitions validate` check all pipelines with their SQL and estimators
([Running](running.md#errors)); `dg check yaml` checks only one file per kind of component.

A string that contains `{{` or `{%` is a template. `{{ env.NAME }}` is the value of an environment variable, always a
string (`{{ env.NAME | int }}` gives a number for `params`), or None if it is not set; `{{ env('NAME', 'x') }}` has a
default. All other strings are used exactly as written.
"""

METRICS_HEAD = """# Metrics

The names that `tuning.metric`, `gates.metrics` and the other keys of [the YAML](yaml.md) accept, and that the
tables `evaluation_report` and `performance_report` use. A metric that is undefined on the data, such as ROC AUC where
only one class occurs, is NaN, never 0. `make fix` generates this page from `ml_assets/metrics/`.
"""

TABLES_HEAD = """# The tables

Every pipeline has these tables in its schema of [the lake](lake.md): `lake.flights.predictions`. `make fix` generates
this page from `ml_assets/tables/`. The same descriptions are comments in the lake, so that a SQL client shows them:

```sql
SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'flights' AND table_name = 'predictions';
```

Rows of a table with a key take the place of earlier rows with the same key, those of a batch all at once; without a
key they are events, and stay. A
table that a release has changed has a higher format. Tables of an earlier format are read as if they had today's
columns, and changed by the first write.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, model in sections(PipelineSpec, "attributes"):
        parts.append(f"## {title}\n\n{inspect.cleandoc(model.__doc__ or '')}\n\n{rows(model)}")
    return "\n".join(parts)


def metrics_page() -> str:
    """Every metric that the YAML can name."""
    lines = ["| metric | targets | better | range | scikit-learn's scorer | meaning |", "|---|---|---|---|---|---|"]
    return "\n".join([METRICS_HEAD, *lines, *map(metric_row, METRICS.values())]) + "\n"


def metric_row(metric: Metric) -> str:
    """A metric as a row of a table."""
    better = "higher" if metric.is_higher_better else "lower"
    low, high = (f"{bound:g}".replace("inf", "∞") for bound in metric.bounds)
    scorer = f"`{metric.scorer}`" if metric.scorer else "none"
    kinds = ", ".join(metric.kinds)
    return f"| `{metric.name}` | {kinds} | {better} | {low} to {high} | {scorer} | {metric.description} |"


def schema() -> str:
    """JSON schema of defs.yaml, for editors and for checks without Python."""
    attributes = PipelineSpec.model_json_schema()
    definitions = attributes.pop("$defs")
    properties = {
        "type": {"const": "ml_assets.MLPipeline"},
        "attributes": {"$ref": "#/$defs/PipelineSpec"},
        "requirements": {"type": "object", "description": "Dagster's own: environment variables that must be set."},
        "post_processing": {"type": "object", "description": "Dagster's own: changes of the definitions once made."},
        "template_vars_module": {"type": "string", "description": "Dagster's own: a module of template variables."},
    }
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline of ml_assets",
        "type": "object",
        "properties": properties,
        "required": ["type", "attributes"],
        "additionalProperties": False,
        "$defs": {**definitions, "PipelineSpec": attributes},
    }
    return json.dumps(document, indent=1) + "\n"


def sections(model: type[BaseModel], title: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """A title and model for each mapping of the YAML, depth first."""
    yield title, model
    for name, field in model.model_fields.items():
        for inner, suffix in models_in(field.annotation):
            yield from sections(inner, f"{name}{suffix}" if title == "attributes" else f"{title}.{name}{suffix}")


def models_in(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """Models inside an annotation, with `.NAME` for a mapping and `[]` for a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix
    mark = {dict: ".NAME", list: "[]"}.get(get_origin(annotation), "")  # type: ignore[arg-type]
    for argument in get_args(annotation):
        yield from models_in(argument, suffix + mark)


def rows(model: type[BaseModel]) -> str:
    """The fields of a model as a table."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        cells = [cell.replace("|", r"\|") for cell in (default(field), field.description or "")]
        lines.append(f"| `{name}` | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def default(field: FieldInfo) -> str:
    """A field's default as it would stand in YAML."""
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}`"
    return f"`[{', '.join(map(str, value))}]`" if isinstance(value, list) else f"`{value}`"


def tables_page() -> str:
    """The page of the tables."""
    return "\n".join([TABLES_HEAD, *map(described, TABLES)])


def described(table: Table) -> str:
    """A table's part of the page."""
    key = ", ".join(f"`{name}`" for name in table.key) or "none"
    changes = [f"`{column.name}` was `{column.earlier}`" for column in table.columns if column.earlier]
    changes += [f"the table was `{table.earlier_name}`"] if table.earlier_name else []
    lines = [
        f"## {table.name}\n",
        f"{table.description}\n",
        f"Written by: {table.written_by}. Key: {key}. Format {table.format}"
        + (f": {', '.join(changes)}.\n" if changes else ".\n"),
        *(["| column | type | meaning |", "|---|---|---|"] if table.columns else []),
    ]
    for column in table.columns:
        kind = " ".join(column.type.split()).replace("|", r"\|")
        lines.append(f"| `{column.name}` | {kind} | {column.description.replace('|', chr(92) + '|')} |")
    if table.further:
        lines.append(f"\nAnd {table.further}." if table.columns else f"Columns: {table.further}.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files, or with --check fail where one is not up to date."""
    pages = {
        PAGE: page(),
        SCHEMA: schema(),
        FOLDER / "tables.md": tables_page(),
        FOLDER / "metrics.md": metrics_page(),
        FOLDER / "commands.md": commands_page(),
        FOLDER / "python.md": python_page(),
        FOLDER / "errors.md": errors_page(),
        **notebook_pages(),
    }
    for file, text in pages.items():
        if "--check" not in sys.argv:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            sys.exit(f"{file} is not up to date: make fix")


if __name__ == "__main__":
    main()
