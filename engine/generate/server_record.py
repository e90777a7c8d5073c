"""What stands on disk about a managed model server, and the locks around it.

    servers/<key>/            mode 0700
      server.json             ServerRecord; absent while no server runs. Holds the API key, so mode 0600
      server.log              stdout and stderr of the running server; server.log.1 of the one before
      lifecycle.lock          held while a server is started, recorded or stopped: moments
      weights.lock            shared while a batch is being answered, exclusive while weights are changed
      used                    its modification time is the last use

Locks are flocks: the kernel lets go of them when their holder dies. Order: `weights.lock` before `lifecycle.lock`.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from engine.base.files import write_atomic
from engine.base.processes import ProcessIdentity, boot_id
from engine.base.record import Record

LOCK_POLL_SECONDS = 0.02


class ServerRecord(Record):
    """One started server."""

    schema_version: Literal[1] = 1
    model: str
    """Name of the model profile."""
    base: str
    """Digest of the prepared base."""
    slot: str = ""
    """Which of the base's servers it is (`ServerPlan.slot`)."""
    command: str
    """Digest of the command line; another one means that the profile has changed, and the server is replaced."""
    boot: str
    """Which boot of the machine it was started in: after another one, nothing of it runs."""
    pid: int
    start_ticks: int
    port: int
    served_name: str
    """Unguessable, and new at each start: what answers under another name is not this server."""
    api_key: str
    state: Literal["starting", "healthy"]
    started_at: float
    """Unix time."""
    start_timeout_seconds: float
    idle_stop_seconds: float
    adapters: tuple[str, ...] = ()
    """Digests of the adapters that were loaded and probed, and were not shown to be others."""
    loaded: str | None = None
    """Digest of the merged weights that were loaded and probed, and were not shown to be others; null while unknown. Set to null before a
    change, so that a crash in its midst leaves `unknown`, never the wrong name."""

    @property
    def identity(self) -> ProcessIdentity:
        return ProcessIdentity(self.pid, self.start_ticks)


class ServerDirectory:
    """The files of one server key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def record_file(self) -> Path:
        return self.root / "server.json"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    def read(self) -> ServerRecord | None:
        """The record; None when there is none, none that this version understands, or one of before the machine was last started."""
        try:
            record = ServerRecord.model_validate_json(self.record_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return record if record.boot == boot_id() else None

    def write(self, record: ServerRecord) -> None:
        write_atomic(self.record_file, record.model_dump_json(indent=1).encode(), mode=0o600)

    def forget(self) -> None:
        self.record_file.unlink(missing_ok=True)

    def touch(self) -> None:
        """Notes a use."""
        (self.root / "used").touch()

    def last_used(self) -> float:
        """Unix time of the last use."""
        try:
            return (self.root / "used").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def log_tail(self, lines: int = 12) -> str:
        """The end of the log."""
        try:
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])[-4000:]
        except FileNotFoundError:
            return ""

    def make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def lifecycle(self) -> Iterator[None]:
        """Holds `lifecycle.lock`."""
        with locked(self.root / "lifecycle.lock", exclusive=True):
            yield

    @contextmanager
    def weights(self, *, exclusive: bool, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Holds `weights.lock`, waiting for batches or changes of others."""
        with locked(self.root / "weights.lock", exclusive=exclusive, while_waiting=while_waiting):
            yield

    @contextmanager
    def weights_if_free(self) -> Iterator[bool]:
        """Holds `weights.lock` alone, when no batch and no change is under way; otherwise yields False."""
        handle = os.open(self.root / "weights.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)


@contextmanager
def locked(path: Path, *, exclusive: bool, while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds a flock on `path`. While it waits, `while_waiting` is called many times a second and may raise to give up."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    try:
        while True:
            try:
                fcntl.flock(handle, operation)
                break
            except BlockingIOError:
                while_waiting()
                time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(handle)
