"""A worker that fails with the same thing said in other numbers each time, while the file `FAILS_WHILE` is there; then it compiles the domain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine.errors import ServerFailed
from engine.evaluate.compile_worker import compile_in_worker
from engine.jobs.worker import WorkerContext, run_worker


def failing(context: WorkerContext) -> dict[str, Any]:
    if Path(os.environ["FAILS_WHILE"]).exists():
        raise ServerFailed(f"the server of {context.config.run_id} at port {os.getpid()} died, see {context.paths.root}/log", next_step="Read the log.")
    return compile_in_worker(context)


if __name__ == "__main__":
    run_worker(failing)
