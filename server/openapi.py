"""The OpenAPI 3.1 description of the REST interface, derived from the tool table."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from engine.errors import error_classes
from server.failures import failure_of
from server.version import VERSION
from tools import TOOLS
from tools.tool import Tool

_REFERENCE = "#/components/schemas/{model}"


def openapi_document() -> dict[str, Any]:
    """The whole document. It depends on nothing but the code."""
    models = [(model, "validation") for tool in TOOLS for model in (tool.arguments, tool.result)]
    _, schemas = models_json_schema(models, ref_template=_REFERENCE)  # type: ignore[arg-type]  # the literal type is lost in the list
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelsmith",
            "version": VERSION,
            "description": (
                "Each operation is a POST with its arguments as a JSON object; operations that only read also answer a GET. The daemon listens on "
                "loopback; its port and token stand in .modelsmith/daemon.json. Fields whose value is null are left out of results."
            ),
        },
        "servers": [{"url": "http://127.0.0.1:{port}", "variables": {"port": {"default": "8765"}}}],
        "security": [{"token": []}],
        "paths": {f"/api/v1/tools/{tool.name}": _path(tool) for tool in TOOLS} | _other_paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas["$defs"] | {"Error": _error_schema()},
            "responses": {"Error": {"description": "What happened and what to do.", "content": _json({"$ref": "#/components/schemas/Error"})}},
        },
    }


def _path(tool: Tool) -> dict[str, Any]:
    about = {"operationId": tool.name, "summary": tool.title, "description": tool.description, "x-effect": tool.effect}
    responses = {
        "200": {"description": "The result.", "content": _json({"$ref": _REFERENCE.format(model=tool.result.__name__)})},
        **{str(status): {"$ref": "#/components/responses/Error"} for status in (400, 401, 403, 404, 409, 413, 500, 503)},
    }
    body = {"content": _json({"$ref": _REFERENCE.format(model=tool.arguments.__name__)}), "required": bool(_required(tool))}
    path: dict[str, Any] = {"post": {**about, "requestBody": body, "responses": responses}}
    if tool.effect == "read":
        path["get"] = {**about, "operationId": f"get_{tool.name}", "parameters": _parameters(tool), "responses": responses}
    return path


def _required(tool: Tool) -> list[str]:
    return [name for name, field in tool.arguments.model_fields.items() if field.is_required()]


def _parameters(tool: Tool) -> list[dict[str, Any]]:
    properties = tool.arguments.model_json_schema().get("properties", {})
    required = _required(tool)
    return [{"name": name, "in": "query", "required": name in required, "schema": schema} for name, schema in properties.items()]


def _other_paths() -> dict[str, Any]:
    page = {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
    runbook = {"description": "The runbook.", "content": _json({"type": "object"})}
    return {
        "/api/v1/runbooks": {
            "get": {"operationId": "runbooks", "summary": "What to do about each error code and failure class", "responses": {"200": runbook}}
        },
        "/api/v1/runbooks/{name}": {
            "get": {
                "operationId": "runbook",
                "summary": "One runbook, by its id, an error code or a failure class: as data and as text",
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"200": runbook, "404": {"$ref": "#/components/responses/Error"}},
            }
        },
        "/reports/{evaluation_id}": {
            "get": {
                "operationId": "report",
                "summary": "A measurement as a page",
                "parameters": [{"name": "evaluation_id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"200": page, "404": {"$ref": "#/components/responses/Error"}},
            }
        },
        "/api/v1/pages": {
            "post": {
                "operationId": "pages",
                "summary": "The addresses of the pages about the atlas; whoever has one can read them",
                "responses": {"200": {"description": "The addresses.", "content": _json({"type": "object"})}},
            }
        },
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Whether the daemon answers; needs no token",
                "security": [],
                "responses": {"200": {"description": "It does.", "content": _json({"type": "object"})}},
            }
        },
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _error_schema() -> dict[str, Any]:
    codes = {code: failure_of(cls(""), "").status for code, cls in sorted(error_classes().items())}
    listed = ", ".join(f"{code} ({status})" for code, status in codes.items())
    properties = {
        "code": {"type": "string", "description": f"{listed}; internal_error (500), unauthorized (401), origin_refused (403), host_refused (421)."},
        "message": {"type": "string", "description": "What happened, with values."},
        "next_step": {"type": "string", "description": "The next useful act."},
        "details": {"type": "object", "description": "The same as data."},
        "runbook": {"type": "string", "description": "The runbook that covers the code: /api/v1/runbooks/{name}."},
    }
    error = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}
