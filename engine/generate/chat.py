"""Asks a batch of questions of one server, in the dialect that it speaks: bounded concurrency, timeouts, retries within a budget.

A `Batch` outlives the server: `run` asks until all is answered or the server is lost, and what has been answered stays answered. The caller
brings the server back and runs the batch again with what is left. Each request is reported exactly once.

What becomes of a request that fails: a reply that may be better next time (timeout, cut connection, HTTP 429 or 5xx, nonsense) is asked for again
after a pause, at most MAX_ATTEMPTS times, and within a budget for the whole batch, so that a failing server is not flooded; a refusal (another
4xx) is final. Then it is an Answer with `error`, which nothing may grade.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import anyio
import httpx2
from anyio import to_thread

from engine.config import WireDialect
from engine.errors import GenerationFailed
from engine.generate.types import Answer, Request
from engine.generate.wire import DIALECTS, MAX_REPLY_BYTES, Refused, Unusable, read_reply

MAX_ATTEMPTS = 4
"""Times that one request is sent."""
MIN_RETRIES = 16
RETRY_SHARE = 0.25
"""Retries that a batch may spend on one server: this share of its requests, but at least MIN_RETRIES."""
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 8.0
CANCEL_POLL_SECONDS = 0.2
CONNECT_SECONDS = 10.0


class Target(NamedTuple):
    """Whom to ask, and how hard."""

    base_url: str
    """Up to and including `/v1`."""
    model: str
    headers: dict[str, str]
    concurrency: int
    timeout_seconds: float
    """For one attempt, connecting included."""
    managed: bool
    """The server is ours: a refused connection or key means that it is gone, and the batch stops to have it replaced."""
    direct: bool
    """On loopback or a private address: a proxy that the environment names is not for it, and would see the key."""
    dialect: WireDialect = "openai"
    sampling: bool = True
    """Send a temperature (and a seed, where the dialect has one)."""


class _Lost(Exception):
    """The server is gone; asking on makes no sense."""


class Batch:
    """Requests with what is left to be answered of them."""

    def __init__(
        self,
        requests: Sequence[Request],
        on_answer: Callable[[Answer], None],
        *,
        check_cancelled: Callable[[], None],
        random_source: random.Random,
    ) -> None:
        self.unanswered = {request.key: request for request in requests}
        if len(self.unanswered) != len(requests):
            raise ValueError("two requests of one batch have the same key")
        self._failed = dict.fromkeys(self.unanswered, 0)
        self._on_answer = on_answer
        self._check_cancelled = check_cancelled
        self._random = random_source
        self._retries_left = self._failures_in_a_row = 0
        self._raised: BaseException | None = None
        self._lost = ""

    def run(self, target: Target, *, responds: Callable[[], bool] = lambda: True) -> str:
        """Asks until everything is answered, and returns an empty text; or why the server is lost.

        `responds` is called when a request has timed out or was cut off: whether the server still works. An exception of `on_answer` or
        `check_cancelled` ends the batch and is raised here.
        """
        self._lost, self._raised = "", None
        self._retries_left = max(MIN_RETRIES, int(len(self.unanswered) * RETRY_SHARE))
        self._failures_in_a_row = 0
        anyio.run(self._run, target, responds)
        if self._raised is not None:
            raise self._raised
        return self._lost

    async def _run(self, target: Target, responds: Callable[[], bool]) -> None:
        queue = iter(list(self.unanswered.values()))
        limits = httpx2.Limits(max_connections=target.concurrency, max_keepalive_connections=target.concurrency)
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
        async with httpx2.AsyncClient(headers=target.headers, limits=limits, timeout=timeout, trust_env=not target.direct) as client:
            exchange = _Exchange(client, target, responds)
            async with anyio.create_task_group() as everything:
                everything.start_soon(self._watch, everything.cancel_scope)
                async with anyio.create_task_group() as workers:
                    for _ in range(min(target.concurrency, len(self.unanswered))):
                        workers.start_soon(self._work, exchange, queue, everything.cancel_scope)
                everything.cancel_scope.cancel()

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Ends the batch soon after its owner was told to stop, also while nothing is being answered."""
        while True:
            await anyio.sleep(CANCEL_POLL_SECONDS)
            try:
                self._check_cancelled()
            except BaseException as raised:
                self._raised = raised
                scope.cancel()
                return

    async def _work(self, exchange: _Exchange, queue: Iterator[Request], scope: anyio.CancelScope) -> None:
        for request in queue:
            try:
                answer = await self._ask(exchange, request)
            except _Lost as lost:
                self._lost = str(lost)
                scope.cancel()
                return
            del self.unanswered[request.key]
            try:
                self._on_answer(answer)
                self._give_up_if_hopeless(exchange.target)
            except BaseException as raised:
                self._raised = raised
                scope.cancel()
                return

    async def _ask(self, exchange: _Exchange, request: Request) -> Answer:
        """The answer to one request, which may be an infrastructure error."""
        while True:
            attempt = self._failed[request.key] + 1
            try:
                answer = await exchange.once(request, attempt)
            except Refused as refused:
                self._failures_in_a_row += refused.of_everyone
                return _error(request, f"generation_failed: {refused}", attempt)
            except Unusable as unusable:
                self._failed[request.key] = attempt
                if attempt >= MAX_ATTEMPTS or self._retries_left <= 0:
                    self._failures_in_a_row += 1
                    return _error(request, f"generation_failed: {unusable}", attempt)
                self._retries_left -= 1
                await anyio.sleep(self._pause(attempt))
            else:
                self._failures_in_a_row = 0
                return answer

    def _pause(self, attempt: int) -> float:
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1))
        return longest * self._random.uniform(0.5, 1.0)

    def _give_up_if_hopeless(self, target: Target) -> None:
        """Ends a batch in which nothing succeeds any more, instead of waiting out a timeout for each of its requests."""
        if self._failures_in_a_row >= max(8, 2 * target.concurrency):
            raise GenerationFailed(
                f"{target.base_url} has failed {self._failures_in_a_row} requests in a row",
                next_step="Check the endpoint and its key, then run the same command again; what was answered is kept.",
            )


class _Exchange:
    """One attempt at a time of many requests, over one client."""

    def __init__(self, client: httpx2.AsyncClient, target: Target, responds: Callable[[], bool]) -> None:
        self.target = target
        self._client = client
        self._dialect = DIALECTS[target.dialect]
        self._url = f"{target.base_url}{self._dialect.path}"
        self._responds = responds
        self._doctor = anyio.Lock()

    async def once(self, request: Request, attempt: int) -> Answer:
        """Sends the request once. Raises Unusable, Refused or _Lost."""
        body = json.dumps(self._dialect.body(request, self.target.model, sampling=self.target.sampling)).encode()
        started = time.perf_counter()
        try:
            with anyio.fail_after(self.target.timeout_seconds):
                status, reply = await self._post(body)
        except TimeoutError as late:
            await self._see_whether_it_works()
            raise Unusable(f"no answer in {self.target.timeout_seconds:g} s") from late
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as refused:
            reason = f"no connection to {self.target.base_url} ({type(refused).__name__})"
            raise _Lost(reason) if self.target.managed else Unusable(reason) from refused
        except httpx2.HTTPError as broken:
            await self._see_whether_it_works()
            raise Unusable(f"the connection broke ({type(broken).__name__})") from broken
        if self.target.managed and status in (401, 404):
            raise _Lost(f"HTTP {status}: the server was replaced")
        return read_reply(request, status, reply, latency_seconds=time.perf_counter() - started, attempts=attempt, dialect=self.target.dialect)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            reply = bytearray()
            async for chunk in response.aiter_bytes():
                reply += chunk
                if len(reply) > MAX_REPLY_BYTES:
                    raise Unusable(f"a reply of more than {MAX_REPLY_BYTES} bytes")
            return response.status_code, bytes(reply)

    async def _see_whether_it_works(self) -> None:
        """After a timeout or a cut connection: a server that works goes on being asked; one that does not is lost. One look at a time."""
        if not self.target.managed:
            return
        async with self._doctor:
            if not await to_thread.run_sync(self._responds, abandon_on_cancel=True):
                raise _Lost("the server no longer completes anything")


def _error(request: Request, reason: str, attempts: int) -> Answer:
    return Answer(key=request.key, finish_reason="error", error=reason[:500], attempts=attempts)
