"""MCP clients that were not written here: the Inspector's command line and the protocol's conformance suite, at pinned versions from npm.

The packages are installed once into .modelsmith/npm, with the Node that they need (the machine's own may be older). The conformance client
cannot send a token, so it meets the product's app without one; the Inspector meets the real thing over stdio and, with the token, over HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.escalate.runbooks.catalogue import catalogue
from server.client import ensure_daemon
from server.mcp_server import AGENT_TOOLS
from server.runbooks import as_text
from tests.conftest import REPOSITORY
from tests.server.daemons import COMMAND, ENVIRONMENT, daemon_workspace, until

pytestmark = [pytest.mark.node, pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")]

PINS = Path(__file__).parent / "node"
OFFERED = {
    "2025-11-25": ("server-initialize", "server-session-lifecycle", "ping", "tools-list", "tools-call-error", "prompts-list", "resources-list", "server-sse-multiple-streams", "dns-rebinding-protection"),
    "2026-07-28": (
        "server-stateless", "tools-list", "tools-call-error", "prompts-list", "resources-list", "server-sse-multiple-streams", "dns-rebinding-protection", "caching", "http-header-validation",
        "input-required-result-unsupported-methods", "sep-2164-resource-not-found",
    ),
}  # fmt: skip
"""Scenarios about what we offer. The others call fixtures by name (`test_image_content`, `test_simple_prompt`, `test://static-text`)."""
NOT_OFFERED = {
    "sep-2575-server-rejects-undeclared-capability": "calls the fixture test_missing_capability",
    "sep-2575-missing-capability-http-400": "the same",
}


@pytest.fixture(scope="module")
def npm() -> dict[str, str]:
    """An environment in which the clients and their Node are on the path."""
    folder = REPOSITORY.state / "npm"
    stamp, wanted = folder / "installed", hashlib.sha256(b"".join(path.read_bytes() for path in sorted(PINS.iterdir()))).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        for path in PINS.iterdir():
            shutil.copy(path, folder)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True, timeout=600, capture_output=True)
        stamp.write_text(wanted)
    return {**ENVIRONMENT, "PATH": f"{folder / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def open_url() -> Iterator[str]:
    """The product's app without a token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "tests.server.open_server", str(port)], cwd=REPOSITORY.root)

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            return False
        return True

    try:
        until(answers)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        assert process.wait(20) is not None


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with daemon_workspace(tmp_path_factory.mktemp("foreign")) as made:
        yield made


@pytest.mark.parametrize("version", OFFERED)
def test_the_conformance_suite_finds_nothing_wrong_with_what_is_offered(npm: dict[str, str], open_url: str, tmp_path: Path, version: str) -> None:
    command = ["conformance", "server", "--url", open_url, "--suite", "all", "--spec-version", version, "-o", str(tmp_path)]
    said = subprocess.run(command, env=npm, capture_output=True, text=True, timeout=300, check=False)
    passed: dict[str, int] = {}
    wrong: list[str] = []
    for scenario in OFFERED[version]:
        reports = list(tmp_path.glob(f"server-{scenario}-20*/checks.json"))
        assert len(reports) == 1, f"{scenario} did not run: {said.stdout[-2000:]}"
        checks = json.loads(reports[0].read_text())
        passed[scenario] = sum(check["status"] == "SUCCESS" for check in checks)
        wrong += [f"{check['id']}: {check.get('errorMessage')}" for check in checks if check["status"] == "FAILURE" and check["id"] not in NOT_OFFERED]
    assert not wrong
    assert all(passed.values()), passed
    assert sum(passed.values()) >= {"2025-11-25": 19, "2026-07-28": 58}[version], passed


def inspect(npm: dict[str, str], *words: str) -> tuple[int, dict[str, Any]]:
    """What the Inspector's command line prints; its exit status is 5 for a tool error."""
    command = ["inspector", "--cli", *words, "--format", "json", "-q"]
    said = subprocess.run(command, env=npm, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY.root)
    assert said.stdout.strip(), said.stderr
    document: dict[str, Any] = json.loads(said.stdout)
    return said.returncode, document.get("result", document)


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_the_inspector_lists_and_calls_the_tools_and_reads_runbooks(npm: dict[str, str], workspace: Workspace, era: str, transport: str) -> None:
    if transport == "http":
        daemon = ensure_daemon(workspace)
        target = [f"{daemon.url}/mcp", "--transport", "http", "--header", f"Authorization: Bearer {daemon.token}"]
    else:
        script = workspace.root / "modelsmith-mcp"
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{REPOSITORY.root}" exec {" ".join(COMMAND)} mcp --workspace "{workspace.root}"\n')
        script.chmod(0o755)
        target = [str(script)]
    target += ["--protocol-era", era]
    code, listed = inspect(npm, *target, "--method", "tools/list", "--strict")
    assert code == 0
    assert [tool["name"] for tool in listed["tools"]] == [tool.name for tool in AGENT_TOOLS]
    code, prompts = inspect(npm, *target, "--method", "prompts/list")
    assert (code, [prompt["name"] for prompt in prompts["prompts"]]) == (0, list(catalogue()))
    code, read = inspect(npm, *target, "--method", "resources/read", "--uri", "runbook://leakage_found")
    assert (code, read["contents"][0]["text"]) == (0, as_text(catalogue()["leakage"]))
    code, result = inspect(npm, *target, "--method", "tools/call", "--tool-name", "fleet_status")
    assert code == 0
    assert result["structuredContent"]["clusters"][0]["cluster"] == "tickets"
    code, result = inspect(npm, *target, "--method", "tools/call", "--tool-name", "iterate", "--tool-args-json", '{"cluster": "nope"}')
    assert code == 5
    assert json.loads(result["content"][0]["text"])["error"]["code"] == "not_found"
