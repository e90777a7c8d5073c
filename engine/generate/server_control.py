"""The few things one says to a running model server besides asking questions: are you well, hold these weights, what do you make of this text.

Plain `http.client` on loopback: one connection a call, nothing kept. A server that does not do as told raises ServerUnwell with a short
reason; what to do about it is decided in `servers.py`.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.generate.types import Message
from engine.generate.wire import MAX_REPLY_BYTES, Unusable, excerpt, probe_body, read_probe, read_tokens, tokens_body

CHANGE_SECONDS = 600.0
"""Longest time for loading weights: a large checkpoint comes from a slow disk."""
PROBE_SECONDS = 120.0
SETTLE_SECONDS = 30.0
"""Longest wait for requests that still hold a part of the cache."""
SETTLE_POLL_SECONDS = 0.1


class ServerUnwell(Exception):
    """A server that does not answer, or not as it should."""


class ServerAddress(NamedTuple):
    """Where a server listens, and what makes it ours."""

    port: int
    api_key: str
    served_name: str

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def call(address: ServerAddress, method: str, path: str, body: Any = None, *, timeout_seconds: float) -> tuple[int, bytes]:
    """One HTTP exchange: status and reply. ServerUnwell when there is none in time."""
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=timeout_seconds)
    headers = {"Authorization": f"Bearer {address.api_key}"}
    payload = None
    if body is not None:
        payload = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, path, payload, headers)
        response = connection.getresponse()
        reply = response.read(MAX_REPLY_BYTES + 1)
        if len(reply) > MAX_REPLY_BYTES:
            raise ServerUnwell(f"{method} {path}: a reply of more than {MAX_REPLY_BYTES} bytes")
        return response.status, reply
    except (OSError, http.client.HTTPException) as reason:
        raise ServerUnwell(f"{method} {path}: {type(reason).__name__}: {reason}") from reason
    finally:
        connection.close()


def _expect_ok(address: ServerAddress, path: str, body: Any, *, timeout_seconds: float) -> bytes:
    status, reply = call(address, "POST", path, body, timeout_seconds=timeout_seconds)
    if status != 200:
        raise ServerUnwell(f"POST {path}: HTTP {status}: {excerpt(reply)}")
    return reply


def check_health(address: ServerAddress, *, timeout_seconds: float) -> None:
    """Returns when the server is healthy and is the one we started: it knows our key and our name."""
    status, _ = call(address, "GET", "/health", timeout_seconds=timeout_seconds)
    if status != 200:
        raise ServerUnwell(f"GET /health: HTTP {status}")
    status, reply = call(address, "GET", "/v1/models", timeout_seconds=timeout_seconds)
    try:
        names = {str(model["id"]) for model in json.loads(reply)["data"]} if status == 200 else set()
    except (ValueError, KeyError, TypeError):
        names = set()
    if address.served_name not in names:
        raise ServerUnwell(f"another program answers on port {address.port} (GET /v1/models: HTTP {status})")


def check_answers(address: ServerAddress, *, timeout_seconds: float) -> None:
    """Returns when the server still completes a text of one token: its front may be well while its engine hangs."""
    body = {"model": address.served_name, "prompt": [1, 2], "max_tokens": 1, "temperature": 0.0}
    _expect_ok(address, "/v1/completions", body, timeout_seconds=timeout_seconds)


def load_merged(address: ServerAddress, directory: str) -> None:
    """Replaces the weights by the checkpoint in `directory`, and forgets what was computed with the old ones."""
    _expect_ok(address, "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": directory}}, timeout_seconds=CHANGE_SECONDS)
    deadline = time.monotonic() + SETTLE_SECONDS
    while refusal := _refused_to_forget(address):
        if time.monotonic() > deadline:
            raise ServerUnwell(f"POST /reset_prefix_cache, for {SETTLE_SECONDS:.0f} s: {refusal}")
        time.sleep(SETTLE_POLL_SECONDS)


def _refused_to_forget(address: ServerAddress) -> str:
    """What the server said instead of emptying its cache; "" when it did. While a request holds a part of it, as one does whose caller has just gone,
    vLLM says no and may be asked again."""
    reply = _expect_ok(address, "/reset_prefix_cache", {}, timeout_seconds=CHANGE_SECONDS)
    return "" if json.loads(reply or b"{}").get("success") is True else excerpt(reply)


def load_adapter(address: ServerAddress, name: str, directory: str) -> None:
    """Loads an adapter under `name`. One that is already there under this name is left: the name is a content hash."""
    status, reply = call(address, "POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": directory}, timeout_seconds=CHANGE_SECONDS)
    if status != 200 and b"already" not in reply:
        raise ServerUnwell(f"POST /v1/load_lora_adapter: HTTP {status}: {excerpt(reply)}")


def tokens_of(address: ServerAddress, model: str, text: str | Sequence[Message]) -> tuple[int, ...]:
    """The tokens of an answer's text, or of messages up to where an answer begins."""
    reply = _expect_ok(address, "/tokenize", tokens_body(text, model), timeout_seconds=PROBE_SECONDS)
    try:
        return read_tokens(reply)
    except Unusable as reason:
        raise ServerUnwell(str(reason)) from reason


def probe(address: ServerAddress, model: str, token_ids: tuple[int, ...]) -> list[float]:
    """The log-probability that `model` gives to each token after the first."""
    reply = _expect_ok(address, "/v1/completions", probe_body(token_ids, model), timeout_seconds=PROBE_SECONDS)
    try:
        return read_probe(token_ids, reply)
    except Unusable as reason:
        raise ServerUnwell(str(reason)) from reason
