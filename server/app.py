"""The daemon's HTTP interface: MCP at /mcp, REST at /api/v1, pages, all behind one guard.

    /health                      answers without a token
    /mcp                         streamable HTTP, both protocol eras
    /api/v1/tools/<name>         POST arguments as JSON; GET for tools that only read
    /api/v1/openapi.json
    /api/v1/daemon/drain         POST: make way for a newer daemon, if nothing is going on
    /api/v1/daemon/stop          POST: stop; with {"servers": true} the model servers too
    /api/v1/runbooks             GET: what to do about each error and failure class; /<id, code or class> is one of them
    /reports/<evaluation id>     a measurement as a page
    /api/v1/signing/<request>    a promotion request for the page on which a passkey signs
    /approve, /passkey, ...      pages for people, without a token (`pages.py`)
    /at/<code>/                  pages about the atlas, for whoever has the code (`atlas_pages`)
    /api/v1/pages                POST: their addresses
    /v1/…                        answers for clusters in the format of OpenAI's API (`gateway.py`)

It knows the engine only through the functions it is given, so the same app serves tests with a double.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from engine.base.files import parse_strict
from engine.errors import ArgumentInvalid
from server.atlas_pages.asking import AtlasPages
from server.atlas_pages.routes import atlas_routes
from server.calls import Call, call_tool
from server.failures import with_runbook
from server.gateway import Answers, Gateway
from server.guard import Activity, Guard
from server.late_mcp import LateMcp
from server.openapi import openapi_document
from server.pages import HARMLESS, failed, page_routes
from server.runbooks import listing, shown
from tools import TOOLS
from tools.tool import Tool, check_arguments, find_tool


class Operations(NamedTuple):
    """What the app can do, each a blocking function."""

    call: Call
    report: Callable[[str], str]
    """A measurement's page, by its id."""
    signing: Callable[[str], dict[str, Any]]
    """A promotion request, by its id, for the page on which a passkey signs."""
    evidence: Callable[[str], str]
    """The page of some evidence, by its digest."""
    drain: Callable[[], bool]
    """Stops the daemon if it is idle; whether it does."""
    stop: Callable[[bool], None]
    """Stops the daemon, and the model servers when asked to."""


def build_app(
    operations: Operations,
    *,
    port: int,
    token: str | None,
    version: str,
    activity: Activity,
    answers: Answers | None = None,
    atlas: AtlasPages | None = None,
) -> Guard:
    """The whole ASGI app for a daemon on `port`. `token=None` asks nobody for a token and is for tests alone."""
    mcp = LateMcp(operations.call, port)
    gateway = None if answers is None else Gateway(answers)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with mcp.running():
            yield
        if gateway is not None:
            await gateway.close()

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "pid": os.getpid(), "version": version})

    answering = [] if gateway is None else gateway.routes()
    pages = [*page_routes(operations.evidence), *([] if atlas is None else atlas_routes(atlas, port))]
    routes = [Route("/health", health, methods=["GET"]), *_rest_routes(operations), *answering, *pages, Route("/mcp", mcp)]
    code = None if atlas is None else atlas.code
    return Guard(Starlette(routes=routes, lifespan=lifespan), port=port, token=token, activity=activity, code=code)


def _rest_routes(operations: Operations) -> list[Route]:
    async def run_tool(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            tool = find_tool(TOOLS, name)
            if request.method == "GET" and tool.effect != "read":
                return _method_refused(tool)
            arguments = _from_query(tool, request) if request.method == "GET" else await _from_body(request)
            return JSONResponse(await call_tool(operations.call, tool, arguments, _unless_gone(request)))
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            return failed(error, name[:100])

    async def openapi(_request: Request) -> Response:
        return JSONResponse(openapi_document())

    async def report(request: Request) -> Response:
        try:
            page = await anyio.to_thread.run_sync(operations.report, request.path_params["evaluation_id"])
        except Exception as error:
            return failed(error, "report")
        return HTMLResponse(page, headers=HARMLESS)

    async def signing(request: Request) -> Response:
        try:
            return JSONResponse(await anyio.to_thread.run_sync(operations.signing, request.path_params["request"]))
        except Exception as error:
            return failed(error, "signing")

    async def runbooks(_request: Request) -> Response:
        return JSONResponse(listing())

    async def one_runbook(request: Request) -> Response:
        try:
            return JSONResponse(shown(request.path_params["name"]))
        except Exception as error:
            return failed(error, "runbooks")

    async def drain(_request: Request) -> Response:
        return JSONResponse({"draining": await anyio.to_thread.run_sync(operations.drain)})

    async def stop(request: Request) -> Response:
        try:
            await anyio.to_thread.run_sync(operations.stop, bool((await _from_body(request)).get("servers", False)))
        except Exception as error:
            return failed(error, "stop")
        return JSONResponse({"stopping": True})

    return [
        Route("/api/v1/tools/{name}", run_tool, methods=["GET", "POST"]),
        Route("/api/v1/openapi.json", openapi, methods=["GET"]),
        Route("/api/v1/runbooks", runbooks, methods=["GET"]),
        Route("/api/v1/runbooks/{name}", one_runbook, methods=["GET"]),
        Route("/api/v1/daemon/drain", drain, methods=["POST"]),
        Route("/api/v1/daemon/stop", stop, methods=["POST"]),
        Route("/reports/{evaluation_id}", report, methods=["GET"]),
        Route("/api/v1/signing/{request}", signing, methods=["GET"]),
    ]


def _unless_gone(request: Request) -> Callable[[dict[str, Any], float], Any]:
    async def waiting(_result: dict[str, Any], _waited: float) -> bool:
        return not await request.is_disconnected()

    return waiting


async def _from_body(request: Request) -> Mapping[str, Any]:
    body = await request.body()
    try:
        arguments = parse_strict(body) if body.strip() else {}
    except ValueError as error:
        raise ArgumentInvalid(f"the request's body is not JSON: {error}", next_step="Send the arguments as one JSON object.") from None
    if not isinstance(arguments, dict):
        raise ArgumentInvalid("the request's body is not a JSON object", next_step="Send the arguments as one JSON object.")
    return arguments


def _from_query(tool: Tool, request: Request) -> Mapping[str, Any]:
    record = check_arguments(tool, dict(request.query_params), from_text=True)
    return record.model_dump(mode="json", exclude_unset=True)


def _method_refused(tool: Tool) -> Response:
    error = {"code": "argument_invalid", "message": f"{tool.name} is more than a read", "next_step": "Use POST.", "details": {}}
    return JSONResponse({"error": with_runbook(error)}, status_code=405, headers={"allow": "POST"})
