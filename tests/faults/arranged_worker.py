"""A worker that something befalls, if it is arranged (`arranged.py`); every other one is the product's worker of its kind."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from engine.base.files import read_json
from engine.base.paths import Workspace
from engine.errors import ModelsmithError
from engine.jobs.worker import WorkerContext, run_worker
from engine.jobs.workers import WORKER_MODULES
from tests.faults.arranged import arrange, befalls


class Decoherence(ModelsmithError):
    """An error that no rule knows."""

    code = "decoherence"


def raises(_: WorkerContext) -> dict[str, Any]:
    raise KeyError("the third moon")


def raises_code(_: WorkerContext) -> dict[str, Any]:
    raise Decoherence("the accelerator answered in superposition", next_step="Look at it.")


def hands_in_nothing(_: WorkerContext) -> dict[str, Any]:
    return {}


def fills_the_disk(context: WorkerContext) -> dict[str, Any]:
    arrange(Workspace(Path(context.config.workspace)), full=True)
    return writes_to_a_full_disk(context)


def writes_to_a_full_disk(_: WorkerContext) -> dict[str, Any]:
    with Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    raise AssertionError("/dev/full took a byte")


BODIES = {"raises": raises, "raises_code": raises_code, "hands_in_nothing": hands_in_nothing, "disk": writes_to_a_full_disk, "fills": fills_the_disk}
DOUBLES = {
    "hungry": ("tests.iterate.hungry_worker", {"ROOM_FOR_ROWS": "2"}),
    "starved": ("tests.iterate.hungry_worker", {"ROOM_FOR_ROWS": "0.1"}),
    "diverges": ("tests.iterate.diverging_worker", {"DIVERGES_ABOVE": "0"}),
}
"""Workers that tests have of their own, and what they are told."""


def work(kind: str, does: str) -> NoReturn:
    """The worker's life."""
    if does == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if does in BODIES:
        run_worker(BODIES[does])
    module, environment = DOUBLES.get(does, (WORKER_MODULES[kind], {}))  # type: ignore[call-overload]
    os.environ.update(environment)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    raise AssertionError("a worker exits by itself")


if __name__ == "__main__":
    config = read_json(Path(sys.argv[1]) / "config.json")
    work(config["kind"], befalls(Workspace(Path(config["workspace"])), config["kind"]))
