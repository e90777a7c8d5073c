"""The daemon's HTTP interface over real sockets, with a double in place of the engine: who may call, what is refused, what REST answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from engine.escalate.runbooks.catalogue import catalogue
from server.app import Operations, build_app
from server.guard import MAX_BODY_BYTES, Activity
from server.openapi import openapi_document
from server.runbooks import as_text
from tests.server.double import EngineDouble
from tools import TOOLS
from tools.tool import call

TOKEN = "t" * 43


class Served(NamedTuple):
    """A served app."""

    url: str
    engine: EngineDouble
    activity: Activity
    http: httpx2.Client


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    engine, activity = EngineDouble(), Activity()
    operations = Operations(
        call=partial(call, engine),  # type: ignore[arg-type]
        report=lambda evaluation_id: f"<h1>{evaluation_id}</h1>",
        signing=lambda request: {"request": request},
        evidence=lambda digest: f"<h1>{digest}</h1>",
        drain=lambda: False,
        stop=lambda servers: None,
    )
    app = build_app(operations, port=port, token=TOKEN, version="test", activity=activity)
    server = uvicorn.Server(uvicorn.Config(app, http="h11", log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {TOKEN}"}, timeout=30) as http:
        yield Served(f"http://127.0.0.1:{port}", engine, activity, http)
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def code(response: httpx2.Response) -> str:
    return str(response.json()["error"]["code"])


@pytest.mark.parametrize("path", ["/api/v1/tools/fleet_status", "/api/v1/openapi.json", "/reports/e1", "/mcp", "/nowhere"])
def test_nothing_but_health_answers_without_the_token(served: Served, path: str) -> None:
    for authorization in ("", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", b"Bearer \xfc"):
        response = httpx2.get(served.url + path, headers={"authorization": authorization})
        assert (response.status_code, code(response)) == (401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in response.text
    health = httpx2.get(f"{served.url}/health")
    assert health.json()["status"] == "ok"
    assert TOKEN not in health.text


@pytest.mark.parametrize("path", ["/health", "/api/v1/tools/fleet_status", "/mcp", "/reports/e1"])
def test_a_name_that_was_bent_to_this_address_is_refused(served: Served, path: str) -> None:
    port = served.url.rsplit(":", 1)[1]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1:{port}.evil.example"):
        response = served.http.get(path, headers={"host": host})
        assert (response.status_code, code(response)) == (421, "host_refused")


@pytest.mark.parametrize("path", ["/health", "/api/v1/tools/fleet_status", "/mcp"])
def test_a_web_page_of_another_origin_is_refused_even_with_the_token(served: Served, path: str) -> None:
    for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"):
        response = served.http.get(path, headers={"origin": origin})
        assert (response.status_code, code(response)) == (403, "origin_refused")
        assert "access-control-allow-origin" not in response.headers
    assert served.http.get("/health", headers={"origin": served.url}).status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/tools/iterate", "/mcp"])
def test_a_body_over_the_limit_is_refused_declared_or_not(served: Served, path: str) -> None:
    body = b'{"cluster": "' + b"x" * MAX_BODY_BYTES + b'"}'

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    response = served.http.post(path, content=body, headers=headers)
    assert (response.status_code, code(response)) == (413, "too_large")
    try:
        response = served.http.post(path, content=chunks(), headers=headers)
    except httpx2.TransportError:
        return  # it hung up while we were still sending, which is as clear
    assert response.status_code == 413


def test_a_tool_answers_a_post_and_a_reading_one_a_get_too(served: Served) -> None:
    posted = served.http.post("/api/v1/tools/diagnose", json={"cluster": "travel", "limit": 2})
    assert posted.status_code == 200
    assert posted.json() == served.http.get("/api/v1/tools/diagnose", params={"cluster": "travel", "limit": "2"}).json()
    assert served.http.post("/api/v1/tools/fleet_status").status_code == 200
    refused = served.http.get("/api/v1/tools/iterate", params={"cluster": "travel"})
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("tool", "body", "status", "expected"),
    [
        ("iterate", b'{"cluster": "nope"}', 404, "not_found"),
        ("iterate", b'{"cluster": 7}', 400, "argument_invalid"),
        ("iterate", b"{", 400, "argument_invalid"),
        ("iterate", b'{"cluster": "travel", "cluster": "travel"}', 400, "argument_invalid"),
        ("iterate", b'[{"cluster": "travel"}]', 400, "argument_invalid"),
        ("iterate", b"[" * 100_000, 400, "argument_invalid"),
        ("iterate", b'{"cluster": "travel", "max_iterations": NaN}', 400, "argument_invalid"),
        ("iterate", b'{"cluster": "\xff"}', 400, "argument_invalid"),
        ("iterate", b'{"cluster": "burning"}', 503, "server_failed"),
        ("iterate", b'{"cluster": "leaking"}', 500, "leakage_found"),
        ("iterate", b'{"cluster": "broken"}', 500, "internal_error"),
        ("dance", b"{}", 404, "not_found"),
    ],
)
def test_an_error_has_a_status_by_its_class_and_the_common_form(served: Served, tool: str, body: bytes, status: int, expected: str) -> None:
    response = served.http.post(f"/api/v1/tools/{tool}", content=body)
    assert (response.status_code, code(response)) == (status, expected)
    assert response.json()["error"].keys() == {"code", "message", "next_step", "details", "runbook"}
    assert "hunter2" not in response.text


def test_runbooks_are_listed_and_read_by_id_code_or_class(served: Served) -> None:
    listed = served.http.get("/api/v1/runbooks").json()["runbooks"]
    assert [each["runbook"] for each in listed] == list(catalogue())
    by_id, by_code, by_class = (served.http.get(f"/api/v1/runbooks/{name}").json() for name in ("person-reads", "generation_failed", "unlearnable"))
    assert by_id == by_class
    assert by_id["text"] == as_text(catalogue()["person-reads"])
    assert by_code["runbook"]["id"] == "server-failed"
    refused = served.http.get("/api/v1/runbooks/nope")
    assert (refused.status_code, code(refused)) == (404, "not_found")


def test_what_the_guard_refuses_names_its_runbook_too(served: Served) -> None:
    refused = [
        httpx2.get(f"{served.url}/api/v1/runbooks"),
        served.http.get("/health", headers={"host": "evil.example"}),
        served.http.get("/health", headers={"origin": "http://evil.example"}),
        served.http.get("/api/v1/tools/iterate"),
    ]
    for response in refused:
        error = response.json()["error"]
        assert error["code"] in catalogue()[error["runbook"]].triggers.errors


def test_a_report_is_a_page_that_can_run_nothing(served: Served) -> None:
    page = served.http.get("/reports/evaluate-1121-a1b2c3")
    assert page.text == "<h1>evaluate-1121-a1b2c3</h1>"
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_served_description_is_that_of_the_table(served: Served) -> None:
    document = served.http.get("/api/v1/openapi.json").json()
    assert document == json.loads(json.dumps(openapi_document()))
    assert [path for path in document["paths"] if path.startswith("/api/v1/tools/")] == [f"/api/v1/tools/{tool.name}" for tool in TOOLS]
    assert {"get", "post"} == document["paths"]["/api/v1/tools/fleet_status"].keys()
    references = json.dumps(document).count("#/components/schemas/")
    assert references > len(TOOLS)
    for name in _references(document):
        assert name in document["components"]["schemas"], name


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and value.startswith("#/components/schemas/"):
                yield value.rsplit("/", 1)[1]
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def test_who_is_served_counts_as_activity_and_health_does_not(served: Served) -> None:
    before = served.activity.idle_seconds()
    for _ in range(3):
        served.http.get("/health")
    assert served.activity.idle_seconds() >= before
    served.http.get("/api/v1/tools/fleet_status")
    assert served.activity.in_flight() == 0
    assert served.activity.idle_seconds() < 5


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_mcp_over_http_serves_both_eras_and_reports_progress(served: Served, era: str) -> None:
    seen: list[str | None] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(message)
        served.engine.cancel(run_id)

    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as http,
        Client(streamable_http_client(f"{served.url}/mcp", http_client=http), mode=era) as session,
    ):
        run_id = (await session.call_tool("iterate", {"cluster": "travel"})).structured_content["run_id"]
        result = await session.call_tool("run_status", {"run_id": run_id, "wait_seconds": 30}, progress_callback=on_progress)
    assert result.structured_content["state"] == "cancelled"
    assert seen == ["starting"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
