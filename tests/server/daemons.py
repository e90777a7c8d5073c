"""Workspaces with a real daemon, for tests: started as users start it, and gone when the test is."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.paths import Workspace
from engine.base.processes import end_group, find_processes
from server import cli
from server.client import SOURCES, running_daemon, wait_until_gone
from server.daemon_file import live_daemon
from tests.workspaces import make_workspace

COMMAND = [sys.executable, "-P", "-m", "server.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCES)}


class Said(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of stdout."""
        document: dict[str, Any] = json.loads(self.out.rstrip("\n").rsplit("\n", 1)[-1])
        return document


def run_cli(workspace: Workspace, *words: str) -> Said:
    """A command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([*words, "--workspace", str(workspace.root)])
    return Said(code, out.getvalue(), err.getvalue())


class Terminal:
    """A workspace as somebody at its terminal reaches it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def terminal(self, *words: str | Path) -> Said:
        return run_cli(self.workspace, *map(str, words), "--json")

    def done(self, *words: str | Path) -> dict[str, Any]:
        said = self.terminal(*words)
        assert said.code == 0, said
        return said.json


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true answer; an assertion when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(0.02)
    return answer


def kill_daemon(workspace: Workspace) -> int:
    """SIGKILL; answers the pid."""
    daemon = live_daemon(workspace)
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGKILL)
    assert wait_until_gone(daemon.identity, 10)
    return daemon.pid


@contextlib.contextmanager
def daemon_workspace(root: Path, **options: Any) -> Iterator[Workspace]:
    """A scripted workspace. At the end its daemon is stopped, and nothing of it may be left."""
    workspace = make_workspace(root, **options)
    try:
        yield workspace
    finally:
        if (daemon := running_daemon(workspace)) is not None:
            os.kill(daemon.pid, signal.SIGTERM)
            assert wait_until_gone(daemon.identity, 20), "the daemon does not stop"
        for identity, command in leftovers(workspace):  # runs go on without a daemon, and none starts another any more
            assert "server.daemon" not in command
            end_group(identity, 5)
        assert not leftovers(workspace)


def leftovers(workspace: Workspace) -> list[tuple[Any, list[str]]]:
    """Daemons of the workspace, and workers of its runs."""
    found = find_processes(str(workspace.root))
    for run in workspace.runs.glob("*"):
        found += find_processes(str(run))
    return found
