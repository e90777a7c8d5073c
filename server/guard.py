"""What every request passes before anything else sees it: Host, Origin, size, token.

The daemon listens on loopback only. That does not keep a web page out: a page may send requests to 127.0.0.1, under a name of its own that
resolves there. So the Host must be a loopback name with our port, an Origin must be ours, and a bearer token that only this user can read must
come with it (compared in constant time). `/health` answers without a token and says nothing secret; so do the pages for people (`pages.py`),
which a browser opens. The pages about the atlas are open to whoever has the code in their address (`atlas_pages`), compared likewise.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from threading import Lock

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.escalate.runbooks.catalogue import HOST_REFUSED, ORIGIN_REFUSED, UNAUTHORIZED
from server.atlas_pages.places import AT
from server.failures import with_runbook
from server.pages import FILES

MAX_BODY_BYTES = 4 << 20
HEALTH = "/health"
OPEN_PATHS = frozenset({HEALTH, *FILES})
EVIDENCE = re.compile(r"/evidence/[0-9a-f]{64}")
"""Open to whoever knows the digest."""


class Activity:
    """Who is being served, and since when nobody is. Safe from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._in_flight = 0
        self._last = time.monotonic()

    def begin(self) -> None:
        with self._lock:
            self._in_flight += 1

    def end(self) -> None:
        with self._lock:
            self._in_flight -= 1
            self._last = time.monotonic()

    def in_flight(self) -> int:
        with self._lock:
            return self._in_flight

    def idle_seconds(self) -> float:
        """Seconds since the last request ended; 0 while one is served."""
        with self._lock:
            return 0.0 if self._in_flight else time.monotonic() - self._last


class Guard:
    """ASGI middleware. With `token=None` nobody is asked for a token: for tests with clients that cannot send one. `code` opens the pages about the
    atlas; without one there are none."""

    def __init__(self, app: ASGIApp, *, port: int, token: str | None, activity: Activity, code: str | None = None) -> None:
        self.app = app
        self.hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        self.origins = frozenset(f"http://{host}" for host in self.hosts)
        self.token = token
        self.code = code
        self.activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self._refusal(scope["path"], headers):
            await _refuse(send, *refusal)
            return
        counted = scope["path"] != HEALTH and (scope["method"], scope["path"]) != ("GET", "/mcp")  # a listener that may never be told a thing
        if counted:
            self.activity.begin()
        try:
            await self._with_small_body(scope, receive, send)
        finally:
            if counted:
                self.activity.end()

    def _refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str, str, str] | None:
        """Status, code, what happened, what to do; None lets the request pass."""
        if headers.get("host") not in self.hosts:
            return 421, HOST_REFUSED, "the Host header is not this daemon's.", "Use the address in .modelsmith/daemon.json."
        if "origin" in headers and headers["origin"] not in self.origins:
            return 403, ORIGIN_REFUSED, "requests from other web pages are refused.", "Call from a program, without an Origin header."
        declared = headers.get("content-length", "0")
        if not declared.isdigit() or int(declared) > MAX_BODY_BYTES:
            return 413, "too_large", f"the request's body is over {MAX_BODY_BYTES} bytes.", "Put large data into a file in the workspace."
        if path.startswith(AT):
            if self._code_fits(path):
                return None
            return 401, UNAUTHORIZED, "the code in this address is not that of the running daemon.", "Run `modelsmith open` for the address as it is."
        if path not in OPEN_PATHS and not EVIDENCE.fullmatch(path) and not self._token_fits(headers.get("authorization", "")):
            return 401, UNAUTHORIZED, "the bearer token is missing or wrong.", "Send the token that `modelsmith token` prints."
        return None

    def _token_fits(self, authorization: str) -> bool:
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), self.token.encode())

    def _code_fits(self, path: str) -> bool:
        given = path.removeprefix(AT).partition("/")[0]
        return self.code is not None and hmac.compare_digest(given.encode(), self.code.encode())

    async def _with_small_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A body without a declared length is counted while it arrives; past the limit the client is answered and the rest is not read."""
        received = 0
        answered = False

        async def counted() -> Message:
            nonlocal received, answered
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES and not answered:
                answered = True
                await _refuse(send, 413, "too_large", f"the request's body is over {MAX_BODY_BYTES} bytes.", "Send less.")
            return {"type": "http.disconnect"} if answered else message

        async def unless_answered(message: Message) -> None:
            if not answered:
                await send(message)

        await self.app(scope, counted, unless_answered)


async def _refuse(send: Send, status: int, code: str, message: str, next_step: str) -> None:
    body = json.dumps({"error": with_runbook({"code": code, "message": message, "next_step": next_step, "details": {}})}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
