"""Calling a tool from an event loop: blocking work on worker threads, waiting in short slices.

A call that waits (`wait_seconds`) is cut into calls of about a second. So no thread is held while nothing happens, a caller that hangs up is
noticed within a slice, and there is a moment in which to report progress. It is the same whether the tool runs in this process (the daemon)
or behind it (`modelsmith mcp`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread

from engine.jobs.types import FINAL_STATES
from tools.tool import Tool, check_arguments

Call = Callable[[Tool, Mapping[str, Any]], dict[str, Any]]
"""Runs a tool and answers its result as JSON data. Blocks; raises ModelsmithError."""
OnProgress = Callable[[dict[str, Any], float], Awaitable[bool]]
"""Told the result so far and the seconds waited; False ends the waiting."""

SLICE_SECONDS = 1.0


async def call_tool(call: Call, tool: Tool, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """The tool's result. While it waits, `on_progress` is called after each slice."""
    wait = _asked_to_wait(tool, arguments)
    if wait == 0:
        return await _in_thread(call, tool, arguments)
    started = time.monotonic()
    while True:
        left = wait - (time.monotonic() - started)
        result = await _in_thread(call, tool, {**arguments, "wait_seconds": max(0.0, min(SLICE_SECONDS, left))})
        waited = time.monotonic() - started
        if result.get("state") in FINAL_STATES or waited >= wait or not await on_progress(result, waited):
            return result


def _asked_to_wait(tool: Tool, arguments: Mapping[str, Any]) -> float:
    return float(getattr(check_arguments(tool, arguments), "wait_seconds", 0.0))


async def _in_thread(call: Call, tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return await anyio.to_thread.run_sync(call, tool, arguments, abandon_on_cancel=True)
