"""The OpenAPI document as a page that needs no other file, no script and no internet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }
details { border: 1px solid #d5dde5; border-radius: 6px; margin: .6rem 0; padding: .5rem .9rem }
summary { cursor: pointer } code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #f4f7fa; padding: .8rem; overflow-x: auto; border-radius: 4px }
.verb { display: inline-block; min-width: 3.6rem; font-weight: 700; color: #0b6bcb } td, th { text-align: left;
padding: .15rem 1rem .15rem 0; vertical-align: top }
"""


def page(document: Mapping[str, Any]) -> str:
    """The page."""
    schemas = document["components"]["schemas"]
    operations = "".join(
        _operation(verb, path, operation, schemas)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    )
    locked = "<p>Send a key in the header <code>Authorization: Bearer KEY</code>.</p>" if "security" in document else ""
    types = "".join(_details(f"<code>{escape(name)}</code>", _pre(schema)) for name, schema in schemas.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><h1>API</h1>{locked}"
        '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>'
        f"{operations}<h2>Types</h2>{types}</html>"
    )


def _operation(verb: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    title = f'<span class="verb">{verb.upper()}</span> <code>{escape(path)}</code> {escape(operation["summary"])}'
    rows = "".join(
        f"<tr><td><code>{escape(status)}</code><td>{escape(response['description'])}"
        for status, response in operation["responses"].items()
    )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    request = (
        _fields(body["schema"], schemas) + (_curl(path, body["example"]) if "example" in body else "") if body else ""
    )
    return _details(title, f"{request}<table><tr><th>Status<th>{rows}</table>")


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The fields of a row."""
    (listed,) = (one for one in _resolved(schema, schemas)["properties"].values() if one.get("type") == "array")
    row = _resolved(listed["items"], schemas)
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(_type(found))}" for name, found in row["properties"].items()
    )
    return f"<table><tr><th>Field<th>Type{lines}</table>"


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    return str(schema.get("format") or schema.get("type", "any"))


def _curl(path: str, example: Any) -> str:
    text = json.dumps(example).replace("'", "'\\''")
    return f"<pre>curl -s localhost:8000{escape(path)} -d '{escape(text)}'</pre>"


def _details(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def _pre(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1))}</pre>"
