"""Reaching the workspace's daemon from any surface, and starting it when there is none.

Costs little: the standard library's HTTP client, no MCP, no database. A daemon that was killed is replaced on the next call, and the call is
sent again when that is safe: it was never sent, the tool changes nothing more on a second call, or it carries an idempotency key. So a key is
added wherever the tool takes one and the caller gave none.

One starter at a time holds a lock; the others wait and find what it started. Should two daemons start all the same, the store's own lock
elects one, and the other leaves.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.paths import Workspace
from engine.base.processes import ProcessIdentity, is_alive, spawn_detached
from engine.errors import DaemonUnavailable, error_from_record
from server.daemon_file import DaemonRecord, live_daemon
from server.version import code_version
from tools.tool import Tool

SOURCES = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
"""A daemon that has to fill a database from a long journal takes its time."""
DRAIN_SECONDS = 15.0
ANSWER_SECONDS = 120.0
"""Beyond what the call itself waits for."""
SERVER_SECONDS = 900.0
"""The same for a call that may have to start a model server, on a machine that is busy."""
POLL_SECONDS = 0.05
RESPAWN_SECONDS = 1.0
ATTEMPTS = 4
FATAL = "modelsmith-daemon cannot start: "
"""Begins the line of the daemon's log that holds the error record; the starter passes it on."""
LOG_BYTES = 8 << 20


class Answer(NamedTuple):
    """What came back over HTTP."""

    status: int
    data: Any
    text: str


class NotSent(ConnectionError):
    """The daemon could not be reached: nothing was asked of it."""


class Client:
    """One workspace's daemon, as a caller sees it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._daemon: DaemonRecord | None = None

    def call(self, tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Runs a tool and answers its result. Raises the engine's error, or DaemonUnavailable."""
        body = dict(arguments)
        if tool.takes_key and body.get("idempotency_key") is None:
            body["idempotency_key"] = f"auto-{secrets.token_hex(8)}"
        patience = SERVER_SECONDS if tool.starts_servers else ANSWER_SECONDS
        seconds = patience + float(body["wait_seconds"] if isinstance(body.get("wait_seconds"), int | float) else 0)
        repeatable = tool.idempotent or tool.takes_key
        return self._result(self.request("POST", f"/api/v1/tools/{tool.name}", body, repeatable=repeatable, seconds=seconds))

    def report(self, evaluation_id: str) -> str:
        """A measurement's page."""
        answer = self.request("GET", f"/reports/{evaluation_id}", repeatable=True)
        if answer.status != 200:
            self._result(answer)
        return answer.text

    def pages(self) -> dict[str, Any]:
        """The addresses of the pages about the atlas, under `pages`."""
        return self._result(self.request("POST", "/api/v1/pages", {}, repeatable=True))

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, repeatable: bool, seconds: float = ANSWER_SECONDS
    ) -> Answer:
        """One HTTP exchange with the daemon, which is started if need be."""
        for attempt in range(ATTEMPTS):
            daemon = self._daemon or ensure_daemon(self.workspace)
            self._daemon = daemon
            try:
                return exchange(daemon, method, path, body, seconds)
            except (OSError, http.client.HTTPException) as error:
                self._daemon = None
                if attempt == ATTEMPTS - 1 or not (repeatable or isinstance(error, NotSent)):
                    raise DaemonUnavailable(
                        f"the daemon went away during {method} {path} ({type(error).__name__}: {error})",
                        next_step="Look with fleet_status whether it was done, then ask again; .modelsmith/daemon.log says what happened.",
                    ) from error
                time.sleep(POLL_SECONDS * 2**attempt)
        raise AssertionError("the loop returns or raises")

    def stop_daemon(self, daemon: DaemonRecord, *, servers: bool) -> None:
        """Asks a daemon to stop; one that does not answer gets SIGTERM, which means the same."""
        try:
            self._result(exchange(daemon, "POST", "/api/v1/daemon/stop", {"servers": servers}, 10.0))
        except (OSError, http.client.HTTPException):
            if is_alive(daemon.identity):
                os.kill(daemon.pid, signal.SIGTERM)

    @staticmethod
    def _result(answer: Answer) -> dict[str, Any]:
        if answer.status == 200 and isinstance(answer.data, dict):
            return answer.data
        if isinstance(answer.data, dict) and isinstance(answer.data.get("error"), dict):
            error = error_from_record(answer.data["error"])
            if error.code == "error":
                error.code = str(answer.data["error"].get("code"))  # type: ignore[misc]  # a code that only the HTTP layer has
            raise error
        raise DaemonUnavailable(f"the daemon answered {answer.status} with something that is not JSON", next_step="Run `modelsmith daemon stop`.")


def exchange(daemon: DaemonRecord, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> Answer:
    """One request to one daemon. NotSent when there was no connection."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=seconds)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise NotSent(str(error)) from error
        payload = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {daemon.token}", "content-type": "application/json"}
        with contextlib.suppress(BrokenPipeError):  # it refuses a large body before it has all of it, and has answered
            connection.request(method, path, payload, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    finally:
        connection.close()
    try:
        return Answer(response.status, json.loads(text), text)
    except ValueError:
        return Answer(response.status, None, text)


# ---- finding and starting ------------------------------------------------------------------------------------------------------------


def running_daemon(workspace: Workspace) -> DaemonRecord | None:
    """The daemon that answers for this workspace now."""
    daemon = live_daemon(workspace)
    if daemon is None:
        return None
    try:
        answer = exchange(daemon, "GET", "/health", None, 10.0)
    except (OSError, http.client.HTTPException):
        return None
    return daemon if isinstance(answer.data, dict) and answer.data.get("pid") == daemon.pid else None


def ensure_daemon(workspace: Workspace) -> DaemonRecord:
    """The workspace's daemon; started if there is none, replaced if its code is not the code on disk and nothing is going on."""
    daemon = running_daemon(workspace)
    if daemon is not None and (daemon.version == code_version() or not _drained(daemon)):
        return daemon
    with _starting(workspace):
        return running_daemon(workspace) or _start(workspace)


def _drained(daemon: DaemonRecord) -> bool:
    """Asks a daemon of other code to make way; whether it went."""
    try:
        answer = exchange(daemon, "POST", "/api/v1/daemon/drain", {}, 10.0)
    except (OSError, http.client.HTTPException):
        return False
    if not (isinstance(answer.data, dict) and answer.data.get("draining")):
        return False
    return wait_until_gone(daemon.identity, DRAIN_SECONDS)


def wait_until_gone(identity: ProcessIdentity, seconds: float) -> bool:
    """Whether the process ends within the time."""
    deadline = time.monotonic() + seconds
    while is_alive(identity):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


@contextlib.contextmanager
def _starting(workspace: Workspace) -> Iterator[None]:
    """One starter at a time. The kernel gives the lock back when a starter dies."""
    workspace.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (workspace.state / "start.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(workspace: Workspace) -> DaemonRecord:
    log = workspace.daemon_log
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    said_before = log.stat().st_size if log.exists() else 0
    process = spawn_detached(daemon_command(workspace), cwd=workspace.root, env=daemon_environment(), log=log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if daemon := running_daemon(workspace):
            return daemon
        if not is_alive(process):
            if error := _fatal(log, said_before):
                raise error
            time.sleep(RESPAWN_SECONDS)  # it was killed, or left the store to another that is about to answer
            if (daemon := running_daemon(workspace)) is not None:
                return daemon
            process = spawn_detached(daemon_command(workspace), cwd=workspace.root, env=daemon_environment(), log=log)
        time.sleep(POLL_SECONDS)
    raise DaemonUnavailable(
        f"no daemon answers for {workspace.root} after {START_SECONDS:.0f} s", next_step=f"Look at the end of {log.relative_to(workspace.root)}."
    )


def daemon_command(workspace: Workspace) -> list[str]:
    """How a daemon is started. -P: its working directory is the workspace, and a file in it must not be imported in place of a package."""
    return [sys.executable, "-P", "-m", "server.daemon", "--workspace", str(workspace.root)]


def daemon_environment() -> dict[str, str]:
    """The caller's environment, with these sources importable."""
    path = os.pathsep.join(filter(None, (str(SOURCES), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _fatal(log: Path, offset: int) -> Exception | None:
    """Why the daemon that was just started gave up, from what it logged. A daemon that lost the election says nothing."""
    with log.open("rb") as stream:
        stream.seek(offset)
        lines = stream.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        if line.startswith(FATAL):
            return error_from_record(json.loads(line.removeprefix(FATAL)))
    if any(line.startswith("Traceback") for line in lines):
        return DaemonUnavailable(f"the daemon could not start: {lines[-1][:300]}", next_step="Look at the end of .modelsmith/daemon.log.")
    return None
