"""daemon.json: where the workspace's daemon listens, and how to know that it is the one that wrote it.

Only this user can read the file, because the token in it is all that a caller needs. It stays when the daemon stops: the next one takes over
the token and, if it is free, the port, so that an MCP client configured with both goes on working. That it is stale shows in the process:
the pid is gone, or belongs to a process that started at another time.
"""

from __future__ import annotations

import json

from pydantic import Field, ValidationError

from engine.base.files import write_atomic
from engine.base.paths import Workspace
from engine.base.processes import ProcessIdentity, is_alive
from engine.base.record import Record


class DaemonRecord(Record):
    """The content of daemon.json."""

    pid: int
    start_ticks: int
    """Start time of the process, so that a recycled pid is not taken for the daemon."""
    port: int = Field(ge=1, le=65535)
    token: str = Field(min_length=32)
    version: str
    """Of the code that the daemon started from."""
    started_at: str

    @property
    def identity(self) -> ProcessIdentity:
        """The daemon's process."""
        return ProcessIdentity(self.pid, self.start_ticks)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


def read_daemon_file(workspace: Workspace) -> DaemonRecord | None:
    """The record of the latest daemon, alive or not; None when there is none or it cannot be read."""
    try:
        return DaemonRecord.model_validate_json(workspace.daemon_file.read_bytes())
    except (OSError, ValidationError):
        return None


def live_daemon(workspace: Workspace) -> DaemonRecord | None:
    """The record of a daemon whose process lives."""
    record = read_daemon_file(workspace)
    return record if record is not None and is_alive(record.identity) else None


def write_daemon_file(workspace: Workspace, record: DaemonRecord) -> None:
    """Makes the daemon known; from here on clients use it."""
    write_atomic(workspace.daemon_file, (json.dumps(record.model_dump(), indent=1) + "\n").encode(), mode=0o600)
