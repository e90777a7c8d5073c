"""Any OpenAI-compatible endpoint: retries within a budget, hostile replies, keys that stay secret."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.config import EndpointProfile
from engine.errors import ArgumentInvalid, ConfigInvalid, GenerationFailed
from engine.generate import chat
from engine.generate.open import open_generator
from engine.generate.types import GenerationSettings, Generator, Message, Request
from engine.generate.wire import MAX_REPLY_BYTES
from tests.generate.helpers import Collected, questions

Reply = tuple[int, bytes]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "FIRST_PAUSE_SECONDS", 0.001)


def good(text: str, finish: str = "stop", **usage: Any) -> Reply:
    body = {"choices": [{"message": {"content": text}, "finish_reason": finish}], "usage": {"prompt_tokens": 7, "completion_tokens": 3} | usage}
    return 200, json.dumps(body).encode()


@contextmanager
def endpoint(rule: Callable[[int, dict[str, Any], Any], Reply], encoding: str = "identity", **profile: Any) -> Iterator[tuple[Generator, list[dict[str, Any]]]]:
    """A generator over an endpoint that replies by `rule(number of the request, body, headers)`, and the bodies it got."""
    bodies: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            status, reply = rule(len(bodies), body, self.headers)
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.send_header("Content-Encoding", encoding)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        entry = EndpointProfile(title="x", base_url=f"http://127.0.0.1:{server.server_port}/v1", model="m", concurrency=1, **profile)
        yield open_endpoint(entry), bodies
    finally:
        server.shutdown()
        server.server_close()


def open_endpoint(profile: EndpointProfile, **options: Any) -> Generator:
    workspace = Workspace(__file__)  # type: ignore[arg-type] - an endpoint keeps nothing in the workspace
    return open_generator("remote", profile, workspace=workspace, base=None, weights=None, device="cpu", **options)


def test_an_answer_carries_its_text_finish_and_usage() -> None:
    collected = Collected()
    with endpoint(lambda *_: good("cut", "length")) as (generator, bodies):
        generator.answer(questions(1), collected)
    answer = collected.answers["q0"]
    assert (answer.text, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens) == ("cut", "length", 7, 3)
    assert answer.latency_seconds > 0
    assert bodies[0]["messages"] == [{"role": "user", "content": "question q0"}]


def test_its_weights_cannot_be_proved() -> None:
    assert open_endpoint(EndpointProfile(title="x", base_url="https://example.org/v1", model="m")).prove().verdict == "unproved"


def test_a_json_schema_is_sent_as_response_format() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    settings = GenerationSettings(max_tokens=5, json_schema=schema)
    request = Request(key="k", messages=(Message(role="user", content="?"),), settings=settings)
    with endpoint(lambda *_: good("{}")) as (generator, bodies):
        generator.answer([request], Collected())
    assert bodies[0]["response_format"]["json_schema"]["schema"] == schema
    with endpoint(lambda *_: good("{}"), structured_output=False) as (generator, _), pytest.raises(ArgumentInvalid):
        generator.answer([request], Collected())


TOO_LONG = b'{"choices": [{"message": {"content": "a a a"}}], "usage": {"completion_tokens": 250000}}'


@pytest.mark.parametrize("bad", [(500, b"oops"), (429, b"{}"), (200, b"<html>"), (200, b'{"choices": []}'), (200, b"[" * 100_000), (200, TOO_LONG)])
def test_a_reply_that_may_be_better_next_time_is_asked_for_again(bad: Reply) -> None:
    collected = Collected()
    with endpoint(lambda number, *_: bad if number < 3 else good("fine")) as (generator, _):
        generator.answer(questions(1), collected)
    assert (collected.answers["q0"].text, collected.answers["q0"].attempts) == ("fine", 3)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_reply_without_an_end_is_not_read_to_its_end(encoding: str) -> None:
    """Also where it is small on the way and large when it is unpacked."""
    collected, reply = Collected(), b" " * (128 << 20)
    packed = gzip.compress(reply, 1) if encoding == "gzip" else reply[: MAX_REPLY_BYTES + 1]
    del reply
    tracemalloc.start()
    with endpoint(lambda *_: (200, packed), encoding=encoding) as (generator, _):
        generator.answer(questions(1), collected)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (collected.answers["q0"].text, "a reply of more than" in str(collected.answers["q0"].error)) == ("", True)
    assert peak < 96 << 20, f"{peak} bytes held"


def test_what_stays_broken_becomes_an_error_and_never_a_text() -> None:
    collected = Collected()
    with endpoint(lambda *_: (503, b"still down")) as (generator, bodies):
        generator.answer(questions(1), collected)
    answer = collected.answers["q0"]
    assert (answer.text, answer.finish_reason) == ("", "error")
    assert answer.error is not None
    assert "HTTP 503: still down" in answer.error
    assert len(bodies) == chat.MAX_ATTEMPTS


def test_a_refusal_is_final() -> None:
    collected = Collected()
    with endpoint(lambda *_: (400, b"prompt too long")) as (generator, bodies):
        generator.answer(questions(3), collected)
    assert len(bodies) == 3
    assert all("HTTP 400" in error for error in collected.errors)


def test_a_wrong_key_ends_the_batch_instead_of_refusing_every_question() -> None:
    with endpoint(lambda *_: (401, b"{}")) as (generator, bodies):
        with pytest.raises(GenerationFailed, match="in a row"):
            generator.answer(questions(200), Collected())
        assert len(bodies) < 50


def test_a_question_that_is_refused_for_itself_does_not_end_the_batch() -> None:
    collected = Collected()
    with endpoint(lambda *_: (400, b"{}")) as (generator, _):
        generator.answer(questions(50), collected)
    assert len(collected.answers) == 50


def test_a_proxy_of_the_environment_never_sees_what_goes_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    collected = Collected()
    with endpoint(lambda *_: good("direct")) as (generator, _):
        generator.answer(questions(1), collected)
    assert collected.answers["q0"].text == "direct"


def test_retries_of_a_batch_are_bounded_and_a_hopeless_batch_is_given_up() -> None:
    collected = Collected()
    with endpoint(lambda *_: (500, b"")) as (generator, bodies), pytest.raises(GenerationFailed):
        generator.answer(questions(40), collected)
    assert len(bodies) <= 8 + chat.MIN_RETRIES
    assert len(collected.answers) == 8


def test_an_endpoint_that_is_not_there_is_given_up() -> None:
    profile = EndpointProfile(title="x", base_url="http://127.0.0.1:9/v1", model="m", concurrency=2)
    with pytest.raises(GenerationFailed):
        open_endpoint(profile).answer(questions(50), Collected())


def test_hostile_text_is_made_storable() -> None:
    collected = Collected()
    reply = 200, json.dumps({"choices": [{"message": {"content": "\x00a\ud800" + "b" * 300_000}}], "usage": {"prompt_tokens": -5}}).encode()
    with endpoint(lambda *_: reply) as (generator, _):
        generator.answer(questions(1), collected)
    answer = collected.answers["q0"]
    assert answer.text.startswith("a?b")
    assert (answer.finish_reason, len(answer.text), answer.prompt_tokens) == ("length", 200_000, 0)


@pytest.mark.parametrize("content", ["5", "null", '{"a": 1}', '["x"]'])
def test_a_content_that_is_not_text_is_never_an_answer_with_text(content: str) -> None:
    collected = Collected()
    with endpoint(lambda *_: (200, b'{"choices": [{"message": {"content": %b}}]}' % content.encode())) as (generator, _):
        generator.answer(questions(1), collected)
    assert collected.answers["q0"].text == ""


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    seen: list[str] = []
    collected = Collected()

    def refuse(number: int, body: dict[str, Any], headers: Any) -> Reply:
        seen.append(headers["Authorization"])
        return 401, b'{"error": "bad key"}'

    with endpoint(refuse, api_key_env="SOME_KEY") as (generator, _):
        generator.answer(questions(1), collected)
    assert seen == ["Bearer sk-very-secret"]
    assert "very-secret" not in collected.answers["q0"].model_dump_json() + generator.identity.model_dump_json()


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with endpoint(lambda *_: good("x"), api_key_env="SOME_KEY") as (generator, _), pytest.raises(ConfigInvalid, match="SOME_KEY"):
        generator.answer(questions(1), Collected())


@pytest.mark.parametrize("url", ["http://example.org/v1", "https://user:pass@example.org/v1", "http://8.8.8.8/v1", "https:///v1"])
def test_a_url_that_would_leak_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid):
        open_endpoint(EndpointProfile(title="x", base_url=url, model="m"))


@pytest.mark.parametrize("url", ["https://example.org/v1", "http://localhost:1/v1", "http://192.168.1.5/v1", "http://[::1]:8000/v1"])
def test_https_and_private_addresses_are_taken(url: str) -> None:
    assert open_endpoint(EndpointProfile(title="x", base_url=url, model="m")).identity.engine == f"endpoint {url}"


def test_an_exception_of_the_caller_ends_the_batch_and_comes_through() -> None:
    class Full(Exception):
        pass

    def full(_: object) -> None:
        raise Full

    with endpoint(lambda *_: good("x")) as (generator, bodies), pytest.raises(Full):
        generator.answer(questions(50), full)
    assert len(bodies) <= 2


def test_a_cancelled_caller_does_not_wait_for_a_silent_endpoint() -> None:
    class Cancelled(Exception):
        pass

    def cancelled() -> None:
        raise Cancelled

    silent = threading.Event()

    def wait(*_: object) -> Reply:
        silent.wait(20)
        return good("late")

    with endpoint(wait) as (generator, _):
        profile = generator._profile  # type: ignore[attr-defined]
        with pytest.raises(Cancelled):
            open_endpoint(profile, check_cancelled=cancelled).answer(questions(1), Collected())
        silent.set()
