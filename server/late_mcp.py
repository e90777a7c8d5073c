"""MCP over HTTP, built at the first request: importing the SDK takes half a second, which a daemon that nobody asks over MCP never spends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus
from starlette.types import ASGIApp, Receive, Scope, Send

from server.calls import Call
from server.guard import MAX_BODY_BYTES


class LateMcp:
    """The ASGI app at /mcp. It answers within `running`, which the daemon's app goes through for as long as it runs."""

    def __init__(self, call: Call, port: int) -> None:
        self.call = call
        self.port = port
        self._building = anyio.Lock()
        self._app: ASGIApp | None = None
        self._group: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ends with every session over."""
        async with anyio.create_task_group() as self._group:
            yield
            self._group.cancel_scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._building:
            if self._app is None:
                self._app = await self._group.start(self._serve)
        await self._app(scope, receive, send)

    async def _serve(self, *, task_status: TaskStatus[ASGIApp]) -> None:
        await anyio.to_thread.run_sync(_import_sdk)  # meanwhile others are answered
        from mcp.server.transport_security import TransportSecuritySettings

        from server.mcp_server import build_mcp

        hosts = [f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")]
        security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts])
        mcp = build_mcp(self.call)
        app = mcp.streamable_http_app(transport_security=security, max_request_body_size=MAX_BODY_BYTES)
        async with mcp.session_manager.run():
            task_status.started(app)
            await anyio.sleep_forever()


def _import_sdk() -> None:
    import server.mcp_server  # noqa: F401
