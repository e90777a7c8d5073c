"""How fast `fleet_status` answers over MCP HTTP when the store is full. Prints figures as it goes, and one JSON document last.

    python -m bench.fleet_status [--runs 1000] [--results 100000] [--clusters 10] [--calls 500]

The history is real as far as the store can tell: each run was submitted, claimed and finished by the commands that the supervisor uses, and each
measurement was ingested from its results artefact. Then a daemon is started as any caller would start it, and one MCP session asks it over and
over, first alone and then while four others ask too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client

from bench.setting import quantiles
from engine.base.digests import digest_of
from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.engine import Engine
from engine.evaluate.jobs import EvaluateOutput
from engine.evaluate.types import EvaluationSummary, Interval, ItemResult, ScoreIdentity, SplitScore
from server.client import ensure_daemon, wait_until_gone
from server.daemon_file import DaemonRecord
from tests.workspaces import make_workspace

TARGET_P95_MS = 50.0


def workspace_of(root: Path, clusters: int) -> Workspace:
    """A workspace with that many clusters on one scripted model."""
    workspace = make_workspace(root)
    file = json.loads(workspace.clusters_file.read_text())
    file["clusters"] = {f"tickets-{number}": {"domain": "tickets", "model": "double", "targets": {"score": 0.8}} for number in range(clusters)}
    workspace.clusters_file.write_text(json.dumps(file))
    return workspace


def results(number: int, items: int) -> list[ItemResult]:
    """What one measurement found."""
    return [
        ItemResult(
            scenario_id=f"s{item}",
            split=("core", "held_out")[item % 2],
            outcome="graded",
            score=float((item + number) % 3 == 0),
            passed=(item + number) % 3 == 0,
            observations=() if (item + number) % 3 == 0 else ("wrong_label:refund->delivery",),
            answer='{"intent": "delivery"}',
        )
        for item in range(items)
    ]


def summary(number: int, items: int) -> EvaluationSummary:
    """The measurement's figures."""
    interval = Interval(mean=0.33, low=0.25, high=0.42, n=items // 2, clusters=items // 2)
    names = ("suite", "grading", "prompt", "settings", "generator")
    return EvaluationSummary(
        identity=ScoreIdentity(**{name: digest_of(name) for name in names}),
        subject="base",
        splits=tuple(SplitScore(split=split, score=interval, pass_rate=interval, errors=0, schema_valid=1.0) for split in ("core", "held_out")),
        structured=True,
        generated=items,
        cached=0,
        seconds=1.0 + number,
    )


def fill(workspace: Workspace, runs: int, items: int, clusters: int) -> float:
    """Gives the store its history; the seconds that took."""
    started = time.monotonic()
    engine = Engine.open(workspace)
    try:
        for number in range(runs):
            path = workspace.state / "bench.jsonl"
            write_jsonl(path, [result.model_dump(mode="json") for result in results(number, items)])
            output = EvaluateOutput(summary=summary(number, items), domain_digest=digest_of("domain")).model_dump(mode="json")
            run = engine.supervisor.submit("evaluate", cluster=f"tickets-{number % clusters}", job={}, arguments={"number": number}, seed=17)
            engine.store.submit("claim_run", {"run_id": run.id, "epoch": 1})
            finish = {"run_id": run.id, "epoch": 1, "state": "succeeded", "error": None, "seconds": 1.0, "peak_rss_bytes": 1}
            engine.store.submit("finish_run", {**finish, "output": {**output, "artifacts": {"results": engine.artifacts.put_file(path)}}})
    finally:
        engine.close()
    return time.monotonic() - started


async def ask(daemon: DaemonRecord, calls: int) -> list[float]:
    """Seconds of each call in one session."""
    seconds = []
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {daemon.token}"}, timeout=60) as http,
        McpClient(streamable_http_client(f"{daemon.url}/mcp", http_client=http)) as session,
    ):
        await session.list_tools()
        for _ in range(calls):
            before = time.perf_counter()
            result = await session.call_tool("fleet_status", {})
            seconds.append(time.perf_counter() - before)
            if result.is_error:
                raise RuntimeError(str(result.content))
    return seconds


async def ask_together(daemon: DaemonRecord, sessions: int, calls: int) -> list[float]:
    """The same from several sessions at once, in this one client process."""
    seconds: list[float] = []

    async def one() -> None:
        seconds.extend(await ask(daemon, calls))

    async with anyio.create_task_group() as group:
        for _ in range(sessions):
            group.start_soon(one)
    return seconds


def figures(seconds: list[float]) -> dict[str, float]:
    """How many calls, and how long they took."""
    return {"calls": len(seconds), **quantiles(seconds)}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fills a store, starts its daemon, asks, and stops it."""
    with tempfile.TemporaryDirectory(prefix="modelsmith-bench-") as folder:
        workspace = workspace_of(Path(folder), arguments.clusters)
        items = arguments.results // arguments.runs
        filled = fill(workspace, arguments.runs, items, arguments.clusters)
        print(f"filled in {filled:.1f} s: {arguments.runs} runs with {items} results each")
        daemon = ensure_daemon(workspace)
        try:
            anyio.run(ask, daemon, 20)
            alone = figures(anyio.run(ask, daemon, arguments.calls))
            print(f"alone: {alone}")
            together = figures(anyio.run(ask_together, daemon, 5, arguments.calls // 5))
            print(f"five at once: {together}")
        finally:
            os.kill(daemon.pid, signal.SIGTERM)
            wait_until_gone(daemon.identity, 20)
    return {
        "bench": "fleet_status",
        "runs": arguments.runs,
        "results": items * arguments.runs,
        "clusters": arguments.clusters,
        "transport": "MCP over HTTP, 2026-07-28",
        "alone": alone,
        "five_at_once": together,
        "target_p95_ms": TARGET_P95_MS,
        "passed": alone["p95_ms"] < TARGET_P95_MS,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_1min": round(os.getloadavg()[0], 2)},
    }


def main() -> int:
    """0 when the target is met, 1 when not."""
    parser = argparse.ArgumentParser(description="Measure fleet_status over MCP HTTP with a full store.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--calls", type=int, default=500)
    outcome = measure(parser.parse_args())
    print(json.dumps(outcome))
    return 0 if outcome["passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
