"""The gateway over real sockets, with a model server of a few lines: what it passes on, what it hides, when it asks again."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
import uvicorn

from engine.errors import StateConflict
from engine.generate.server_control import ServerAddress
from engine.generate.servers import Session
from engine.serve.production import Answering
from server.app import Operations, build_app
from server.guard import Activity

TOKEN = "t" * 43
SECRET_NAME = "double-0123456789abcdef"
GONE, SILENT = 0, -1
"""In place of a status: the connection is cut; or nothing comes until the test is over."""


class ModelServer(BaseHTTPRequestHandler):
    """Answers what the test has put down, one after another; what it was asked is kept."""

    replies: list[tuple[int, bytes]] = []
    asked: list[tuple[dict[str, Any], str]] = []
    over = threading.Event()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((body, self.headers["Authorization"]))
        status, content = self.replies.pop(0)
        if status == SILENT:
            self.over.wait(30)
        if status in (GONE, SILENT):
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if content.startswith(b"data:") else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is logged."""


class Standing:
    """What serves, as a test says: the model server at a port answers for the cluster `travel`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.held = 0
        self.told_lost = 0
        self.timeout_seconds = 20.0

    def answering(self, cluster: str) -> Answering:
        if cluster != "travel":
            raise StateConflict(f"no version serves {cluster}", next_step="promote")
        self.held += 1
        session = Session(None, ServerAddress(self.port, "key-of-the-server", SECRET_NAME), SECRET_NAME, None)  # type: ignore[arg-type]
        return Answering(cluster, "v-0123456789ab", session, self.timeout_seconds, self._release)

    def _release(self) -> None:
        self.held -= 1

    def lost(self, answering: Answering) -> None:
        self.told_lost += 1

    def clusters(self) -> list[str]:
        return ["travel"]


@pytest.fixture
def standing() -> Iterator[Standing]:
    ModelServer.replies, ModelServer.asked, ModelServer.over = [], [], threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Standing(server.server_port)
    ModelServer.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def http(standing: Standing) -> Iterator[httpx2.Client]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    operations = Operations(call=lambda *_: {}, report=str, signing=lambda _: {}, evidence=str, drain=lambda: False, stop=lambda _: None)
    app = build_app(operations, port=port, token=TOKEN, version="test", activity=Activity(), answers=standing)
    server = uvicorn.Server(uvicorn.Config(app, http="h11", log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
        yield client
    server.should_exit = True
    thread.join(20)


def chat(http: httpx2.Client, **fields: Any) -> httpx2.Response:
    return http.post("/v1/chat/completions", json={"model": "travel", "messages": [], "temperature": 0.5} | fields)


def test_a_request_is_passed_on_in_the_server_s_terms_and_its_answer_in_the_cluster_s(http: httpx2.Client, standing: Standing) -> None:
    ModelServer.replies = [(200, json.dumps({"model": SECRET_NAME, "choices": []}).encode())]
    response = chat(http)
    assert response.json() == {"model": "travel", "choices": []}
    assert response.headers["x-modelsmith-version"] == "v-0123456789ab"
    assert ModelServer.asked == [({"model": SECRET_NAME, "messages": [], "temperature": 0.5}, "Bearer key-of-the-server")]
    assert standing.held == 0


def test_a_stream_comes_through_to_the_byte_but_for_the_name(http: httpx2.Client, standing: Standing) -> None:
    events = [json.dumps({"model": SECRET_NAME, "delta": text}, ensure_ascii=False) for text in ("a", "b\u2028c\x0b", "ü")]
    sent = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()
    ModelServer.replies = [(200, sent)]
    response = chat(http, stream=True)
    assert response.content == sent.replace(SECRET_NAME.encode(), b"travel")
    assert response.headers["content-type"] == "text/event-stream"
    assert standing.held == 0


@pytest.mark.parametrize("failure", [(GONE, b""), (500, b"{}")], ids=["no reply", "an error of the server's own"])
def test_a_request_that_got_no_answer_is_asked_again_and_at_last_given_up(http: httpx2.Client, standing: Standing, failure: tuple[int, bytes]) -> None:
    ModelServer.replies = [failure, failure, (200, b'{"choices": []}')]
    assert chat(http).status_code == 200
    assert (standing.told_lost, standing.held) == (2, 0)
    ModelServer.replies = [failure] * 3
    response = chat(http)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "server_failed")
    assert (standing.told_lost, standing.held) == (5, 0)


def test_a_request_that_takes_longer_than_it_may_is_not_asked_again(http: httpx2.Client, standing: Standing) -> None:
    standing.timeout_seconds = 0.2
    ModelServer.replies = [(SILENT, b"")]
    response = chat(http)
    assert (response.status_code, response.json()["error"]["message"]) == (503, "the server of travel gave no answer: nothing within 0.2 s")
    assert (standing.told_lost, standing.held, len(ModelServer.asked)) == (1, 0, 1)


def test_a_refusal_of_the_server_s_is_the_caller_s_to_read(http: httpx2.Client, standing: Standing) -> None:
    ModelServer.replies = [(400, b'{"error": "max_tokens is too large"}')]
    response = chat(http)
    assert (response.status_code, response.json()) == (400, {"error": "max_tokens is too large"})
    assert (standing.told_lost, standing.held) == (0, 0)


def test_a_request_that_names_no_cluster_or_one_that_nothing_serves_is_refused_in_words(http: httpx2.Client) -> None:
    assert chat(http, model="support").json()["error"]["message"] == "no version serves support"
    assert chat(http, model=3).status_code == 400
    assert http.post("/v1/chat/completions", content=b"{").status_code == 400
    assert [entry["id"] for entry in http.get("/v1/models").json()["data"]] == ["travel"]


def test_nobody_is_answered_without_the_token_or_from_a_web_page(http: httpx2.Client) -> None:
    for path in ("/v1/chat/completions", "/v1/models"):
        assert http.post(path, json={"model": "travel"}, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert http.post(path, json={"model": "travel"}, headers={"origin": "http://evil.example"}).status_code == 403
    assert ModelServer.asked == []
