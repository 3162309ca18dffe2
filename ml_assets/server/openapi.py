"""The API as an OpenAPI document, made from the schemas of the versions that answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ml_assets.server.keeping import FeedbackRequest
from ml_assets.server.keys import SCOPES
from ml_assets.server.registry import Pipeline, Registry
from ml_assets.server.requests import PredictResponse

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": "integer"},
                    "field": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
REFUSED = {
    "400": "The body is no JSON.",
    "404": "There is no such pipeline or version.",
    "413": "The body is too large.",
    "422": "A row or field is wrong; `errors` names it.",
    "429": "Too many requests are waiting; Retry-After says when to try again.",
    "503": "Not ready, too busy, or too late; Retry-After says when to try again.",
}
KEYS = {"401": "The key is missing or unknown.", "403": "The key does not have the scope."}


def document(registry: Registry, with_keys: bool) -> dict[str, Any]:
    """The document of what the registry answers now.

    Args:
        registry: The pipelines.
        with_keys: Does the server ask for API keys?
    """
    refused = {**REFUSED, **(KEYS if with_keys else {})}
    ready = [one for one in registry.pipelines.values() if one.versions is not None]
    types = [PredictResponse, FeedbackRequest, *(one.need().champion.request for one in ready)]
    (response, feedback, *requests), components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Any] = {}
    for pipeline, request in zip(ready, requests, strict=True):
        paths |= _paths(pipeline, request, response, feedback, refused)
    paths |= {
        "/v1": {"get": _get("The pipelines and the versions that answer")},
        "/health/live": {"get": _get("Does the process answer?")},
        "/health/ready": {"get": _get("Are all pipelines loaded?")},
        "/metrics": {"get": _get("Counters for Prometheus")},
    }
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "ml_assets", "version": "1"},
        "paths": paths,
        "components": {"schemas": {**components, "Problem": PROBLEM}},
    }
    if with_keys:
        scheme = {"type": "http", "scheme": "bearer", "description": f"An API key; scopes: {', '.join(SCOPES)}."}
        found["components"]["securitySchemes"] = {"key": scheme}
        found["security"] = [{"key": []}]
    return found


def _paths(
    pipeline: Pipeline, request: Any, response: Any, feedback: Any, refused: Mapping[str, str]
) -> dict[str, Any]:
    body = {"required": True, **_json(request)}
    example = pipeline.need().champion.golden.rows[:1]
    body["content"]["application/json"]["example"] = {"rows": example}
    responses: dict[str, Any] = {
        "200": {"description": "Scores and decisions in the order of the rows.", **_json(response)}
    }
    problem = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    wrong = {status: {"description": why, **problem} for status, why in refused.items()}
    responses |= wrong
    explained = {
        "name": "explain",
        "in": "query",
        "description": "How many features of each row are said to move its score.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999, "default": 0},
    }
    predict = {"requestBody": body, "responses": responses, "tags": [pipeline.name]}
    name = pipeline.name
    version = {
        "name": "version",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": sorted(pipeline.need().loaded)},
    }
    return {
        f"/v1/{name}/predict": {"post": {"summary": f"Score rows with {name}", "parameters": [explained], **predict}},
        f"/v1/{name}/versions/{{version}}/predict": {
            "post": {"summary": f"Score rows with one version of {name}", "parameters": [version, explained], **predict}
        },
        f"/v1/{name}": {"get": _get(f"Versions, routes, schema and lookups of {name}")},
        f"/v1/{name}/feedback": {
            "post": {
                "summary": f"Send outcomes of rows that {name} has scored",
                "requestBody": {"required": True, **_json(feedback)},
                "responses": {"200": {"description": "The outcomes are kept."}, **wrong},
                "tags": [name],
            }
        },
        f"/v1/{name}/reload": {"post": _get(f"Look for the versions of {name} at once")},
    }


def _json(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _get(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "The answer."}}}
