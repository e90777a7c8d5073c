"""Answers for clusters in the format of OpenAI's API: a request names a cluster, and the version that serves it at that moment answers.

    /v1/models               the clusters that a version serves here
    /v1/chat/completions     POST; `model` is a cluster's name; with "stream": true the answer comes as it is made

The same guard as everywhere: loopback, and the workspace's token as API key. The version that answered stands in the header
`x-modelsmith-version`. A request that gets no answer, or a server's error, is asked again, of whatever serves then. One whose stream has begun is
not, because its caller has read half of it; nor one that took longer than the model's profile allows. What serves is decided elsewhere; here
nothing is remembered between two requests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.base.files import parse_strict
from engine.errors import ArgumentInvalid, ServerFailed
from engine.serve.production import Answering
from server.failures import failure_of

T = TypeVar("T")
U = TypeVar("U")

ATTEMPTS = 3
CONNECT_SECONDS = 5.0
THREADS = 64
VERSION_HEADER = "x-modelsmith-version"


class Answers(Protocol):
    """Who answers for which cluster (`engine/serve/production.py`)."""

    def answering(self, cluster: str) -> Answering: ...

    def lost(self, answering: Answering) -> None: ...

    def clusters(self) -> list[str]: ...


class Gateway:
    """The routes, over one client of HTTP."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
        self._client = httpx2.AsyncClient(timeout=timeout, limits=httpx2.Limits(max_connections=None), trust_env=False)
        self._threads: anyio.CapacityLimiter | None = None

    def routes(self) -> list[Route]:
        """What the app serves."""
        return [Route("/v1/models", self.models, methods=["GET"]), Route("/v1/chat/completions", self.chat, methods=["POST"])]

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._client.aclose()

    async def models(self, _request: Request) -> Response:
        """The clusters, as models."""
        names = await anyio.to_thread.run_sync(self._answers.clusters)
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "modelsmith"} for name in names]})

    async def chat(self, request: Request) -> Response:
        """One conversation's next turn."""
        try:
            return await self._chat(_body(await request.body()))
        except Exception as error:
            failure = failure_of(error, "chat")
            return Response(json.dumps(failure.body, ensure_ascii=False, default=str), status_code=failure.status, media_type="application/json")

    async def _chat(self, body: dict[str, Any]) -> Response:
        reason = ""
        for _ in range(ATTEMPTS):
            answering = await self._blocking(self._answers.answering, body["model"])
            try:
                return await self._answer(answering, body)
            except (httpx2.HTTPError, _Faulty) as error:
                reason = f"{type(error).__name__}: {error}"
            except TimeoutError:
                answering.release()
                await self._blocking(self._answers.lost, answering)
                raise _no_answer(body["model"], f"nothing within {answering.timeout_seconds:g} s") from None
            except BaseException:
                answering.release()
                raise
            answering.release()
            await self._blocking(self._answers.lost, answering)
        raise _no_answer(body["model"], f"{ATTEMPTS} times {reason}")

    async def _answer(self, answering: Answering, body: dict[str, Any]) -> Response:
        """The server's answer, or its beginning where it is streamed; then the server is held until its end."""
        with anyio.fail_after(answering.timeout_seconds):
            response = await self._ask(answering, body)
            if response.status_code >= 500:
                await response.aclose()
                raise _Faulty(f"HTTP {response.status_code}")
            if body.get("stream"):
                return _streamed(answering, response)
            content = await response.aread()
        answering.release()
        return Response(_named(content, answering), response.status_code, _headers(answering, response))

    async def _ask(self, answering: Answering, body: dict[str, Any]) -> httpx2.Response:
        address = answering.session.address
        asked = self._client.build_request(
            "POST",
            f"{address.base_url}/chat/completions",
            json={**body, "model": answering.session.answers_to},
            headers={"Authorization": f"Bearer {address.api_key}"},
        )
        return await self._client.send(asked, stream=True)

    async def _blocking(self, call: Callable[[T], U], argument: T) -> U:
        """On a thread of the gateway's own: requests that wait for a server to start keep nothing else waiting."""
        self._threads = self._threads or anyio.CapacityLimiter(THREADS)
        return await anyio.to_thread.run_sync(call, argument, limiter=self._threads, abandon_on_cancel=False)


class _Faulty(Exception):
    """A server's own error."""


def _no_answer(cluster: str, reason: str) -> ServerFailed:
    return ServerFailed(f"the server of {cluster} gave no answer: {reason}", next_step="Ask again, or for fewer tokens.")


def _body(content: bytes) -> dict[str, Any]:
    """The request, which must name a cluster; everything else is the server's to judge."""
    try:
        body = parse_strict(content)
    except ValueError as error:
        raise ArgumentInvalid(f"the request's body is not JSON: {error}", next_step="Send one JSON object.") from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise ArgumentInvalid("the request names no model", next_step="Name a cluster as `model`; /v1/models lists those that are served.")
    return body


def _streamed(answering: Answering, response: httpx2.Response) -> Response:
    """The answer as it is made; its server is held until the end, or until the caller hangs up."""

    async def lines() -> AsyncIterator[bytes]:
        begun = b""
        try:
            async for chunk in response.aiter_bytes():
                *whole, begun = (begun + chunk).split(b"\n")
                for line in whole:
                    yield _named(line, answering) + b"\n"
            yield _named(begun, answering)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
            answering.release()

    return StreamingResponse(lines(), response.status_code, _headers(answering, response))


def _named(content: bytes, answering: Answering) -> bytes:
    """With the cluster's name in place of the server's own, which nobody else needs to know."""
    return content.replace(json.dumps(answering.session.answers_to).encode(), json.dumps(answering.cluster).encode())


def _headers(answering: Answering, response: httpx2.Response) -> dict[str, str]:
    return {"content-type": response.headers.get("content-type", "application/json"), VERSION_HEADER: answering.version}
