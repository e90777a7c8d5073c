"""The worker's side of a run: one process, one run directory, one result written last.

    python -m <worker module> RUN_DIR EPOCH

A worker reads RUN_DIR/config.json, appends progress to RUN_DIR/progress.jsonl, keeps its own files in RUN_DIR/work and RUN_DIR/outputs, and
writes RUN_DIR/result.json last; what stands there is what happened. It never opens the store. It holds a lock on its run directory while it
lives and says who it is in RUN_DIR/process.json, so that two attempts never work in one directory and a new daemon finds the one that runs.

SIGTERM asks it to stop: `cancelled` is set, and the body raises Cancelled at its next `check_cancelled`. A killed worker leaves no result; it
is started again with the next epoch, and its body goes on from what it finds.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from engine.base.clock import utc_now
from engine.base.digests import canonical_json
from engine.base.files import Spool, disk_is_full, read_json, write_json
from engine.base.paths import RunPaths
from engine.base.processes import ProcessIdentity, boot_id, identity_of
from engine.errors import ModelsmithError, ResourceExhausted, StaleEpoch, WorkerCrashed
from engine.jobs.types import Progress, RunConfig, RunError, RunResult

OOM_SCORE = "900"
"""When memory runs out, the kernel takes a worker before the daemon."""
LOCK_SECONDS = 10.0
EXIT_FAILED, EXIT_CANCELLED = 1, 143
MESSAGE_CHARACTERS = 300


class Cancelled(BaseException):
    """The run was asked to stop. No Exception, so that no library's `except Exception` keeps the worker going."""


@dataclass(frozen=True)
class WorkerContext:
    """What a worker's body works with."""

    config: RunConfig
    paths: RunPaths
    epoch: int
    spool: Spool
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set by SIGTERM."""

    def report(self, progress: Progress) -> None:
        """Tells how far the run is. Telemetry: the last line may be lost with the machine."""
        self.spool.append(utc_now(), progress.model_dump(mode="json", exclude_none=True))

    def check_cancelled(self) -> None:
        """Raises Cancelled when the run was asked to stop. Call it between units of work that take less than a few seconds."""
        if self.cancelled.is_set():
            raise Cancelled


def run_worker(body: Callable[[WorkerContext], dict[str, Any]]) -> NoReturn:
    """Runs `body` as the process of the run named on the command line, writes the result, and exits."""
    paths, epoch = RunPaths(Path(sys.argv[1])), int(sys.argv[2])
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    lock = _lock(paths)
    _announce(paths, epoch)
    config = RunConfig.model_validate(read_json(paths.config))
    context = WorkerContext(config, paths, epoch, Spool(paths.progress))
    signal.signal(signal.SIGTERM, lambda *_: context.cancelled.set())
    paths.work.mkdir(exist_ok=True)
    started = time.monotonic()
    result = _outcome(body, context).model_copy(
        update={"seconds": round(time.monotonic() - started, 3), "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    )
    write_json(paths.result, result.model_dump(mode="json"))
    sys.stdout.flush()
    sys.stderr.flush()
    os.close(lock)
    # Nothing that matters comes after the result; tearing down a training stack takes seconds, and may hang.
    os._exit({"succeeded": 0, "failed": EXIT_FAILED, "cancelled": EXIT_CANCELLED}[result.state])


def read_process_file(paths: RunPaths) -> tuple[ProcessIdentity, int] | None:
    """The worker that last worked in a run directory since the machine booted, and its epoch; None before the first."""
    record = _process_record(paths)
    if record is None or record["boot"] != boot_id():
        return None
    return ProcessIdentity(record["pid"], record["start_ticks"]), record["epoch"]


def _process_file(paths: RunPaths) -> Path:
    return paths.root / "process.json"


def _process_record(paths: RunPaths) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(_process_file(paths).read_bytes())
        return record
    except (FileNotFoundError, ValueError):
        return None


def _lock(paths: RunPaths) -> int:
    handle = os.open(paths.root / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StaleEpoch(
                    f"another attempt still works in {paths.root.name}", next_step="The supervisor ends it and starts this one again."
                ) from None
            time.sleep(0.02)


def _announce(paths: RunPaths, epoch: int) -> None:
    before = _process_record(paths)
    if before is not None and before["epoch"] > epoch:
        raise StaleEpoch(f"attempt {epoch} of {paths.root.name} comes after attempt {before['epoch']}", next_step="Nothing: the later one goes on.")
    identity = identity_of(os.getpid())
    assert identity is not None
    write_json(_process_file(paths), {"pid": identity.pid, "start_ticks": identity.start_ticks, "epoch": epoch, "boot": boot_id()})


def _outcome(body: Callable[[WorkerContext], dict[str, Any]], context: WorkerContext) -> RunResult:
    result = RunResult(run_id=context.config.run_id, epoch=context.epoch, state="succeeded", seconds=0.0, peak_rss_bytes=0)
    try:
        # Through JSON here, because pydantic would write a NaN as null: a number that means something else.
        return result.model_copy(update={"output": json.loads(canonical_json(body(context)))})
    except Cancelled:
        return result.model_copy(update={"state": "cancelled"})
    except Exception as error:
        traceback.print_exc()
        return _failed(result, error)


def _failed(result: RunResult, error: Exception) -> RunResult:
    return result.model_copy(update={"state": "failed", "output": {}, "error": RunError.model_validate(_as_engine_error(error).as_record())})


def _as_engine_error(error: Exception) -> ModelsmithError:
    """What a surface may show of an error. The traceback stays in the worker's log."""
    if isinstance(error, ModelsmithError):
        return error
    if isinstance(error, MemoryError):
        return ResourceExhausted("the worker ran out of memory", next_step="Free memory, then start the run again.", resource="memory")
    if disk_is_full(error):
        return ResourceExhausted("the worker ran out of disk space", next_step="Free disk space: the run then goes on by itself.", resource="disk")
    return WorkerCrashed(
        f"the worker stopped with {type(error).__name__}: {str(error)[:MESSAGE_CHARACTERS]}",
        next_step="The traceback is in worker.log of the run directory.",
    )
