"""A worker that does what its job says, for tests of everything around a worker. Run as a module by the supervisor under test."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from typing import Any

from engine.errors import LeakageFound
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker


def attempts(context: WorkerContext) -> int:
    """Counts this attempt in the run's own files, as a resumable body would keep its state."""
    path = context.paths.work / "attempts"
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(count))
    return count


def wait(context: WorkerContext) -> None:
    while not (context.paths.root / "go").exists():
        context.check_cancelled()
        time.sleep(0.01)


def start_child(context: WorkerContext) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
    (context.paths.work / "child").write_text(str(child.pid))


def body(context: WorkerContext) -> dict[str, Any]:
    job = context.config.job
    count = attempts(context)
    context.report(Progress(phase="working", step=count, total=5))
    if job.get("child"):
        start_child(context)
    if count <= job.get("die_times", 0):
        print("about to be killed", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if job.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if job.get("wait"):
        wait(context)
    if "bytes" in job:
        context.paths.outputs.mkdir(exist_ok=True)
        (context.paths.outputs / "large").write_bytes(bytes(job["bytes"]))
    match job.get("raise"):
        case "engine":
            raise LeakageFound("row a is item b", next_step="Remove it.", pair=["a", "b"])
        case "large":
            raise LeakageFound("m" * (3 << 20), next_step="n" * 9000, rows=["r" * 100] * 20_000)
        case "foreign":
            raise KeyError("secret traceback stays in the log")
        case "disk":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "memory":
            raise MemoryError
        case "nan":
            return {"loss": float("nan")}
    for name, text in job.get("files", {}).items():
        path = context.paths.outputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if job.get("link"):
        context.paths.outputs.mkdir(exist_ok=True)
        (context.paths.outputs / "link").symlink_to(job["link"])
    return {"attempts": count, "seed": context.config.seed, **job.get("output", {})}


if __name__ == "__main__":
    run_worker(body)
