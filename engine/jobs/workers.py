"""Worker processes: started in a session of their own, found again by whoever comes later, ended with all that they left."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from engine.base.paths import RunPaths
from engine.base.processes import ProcessIdentity, end_group, find_processes, spawn_detached
from engine.jobs.types import RunKind
from engine.jobs.worker import read_process_file

WORKER_MODULES: dict[RunKind, str] = {
    "evaluate": "engine.evaluate.worker",
    "floor": "engine.evaluate.floor_worker",
    "compile": "engine.evaluate.compile_worker",
    "try_cheap": "engine.diagnose.worker",
    "curate": "engine.curate.worker",
    "search": "engine.train.search_worker",
    "pairs": "engine.curate.pairs_worker",
    "teach": "engine.curate.teach_worker",
    "draft": "engine.curate.draft_worker",
    "train": "engine.train.worker",
    "repair": "engine.train.repair_worker",
    "prepare": "engine.generate.prepare_worker",
    "export": "engine.promote.package.worker",
}
ENGINE_ROOT = Path(__file__).resolve().parents[2]

logger = logging.getLogger(__name__)


class Workers:
    """The worker processes of one workspace. `modules`: what runs for each kind."""

    def __init__(self, root: Path, environment: Mapping[str, str], modules: Mapping[RunKind, str]) -> None:
        self.root = root
        self.environment = environment
        self.modules = modules

    def spawn(self, kind: RunKind, paths: RunPaths, epoch: int) -> ProcessIdentity | None:
        """Starts a worker; None when the system refuses, which counts as an attempt that was lost."""
        root = paths.root.resolve()
        # -P: the workspace is the working directory, and a file in it must not be imported in place of a package.
        argv = [sys.executable, "-P", "-m", self.modules[kind], str(root), str(epoch)]
        path = os.pathsep.join(filter(None, (str(ENGINE_ROOT), self.environment.get("PYTHONPATH"))))
        environment = {**self.environment, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        try:
            return spawn_detached(argv, cwd=self.root, env=environment, log=paths.log)
        except OSError as error:
            logger.warning("the worker of %s does not start: %s", root.name, error)
            return None

    def end_leftovers(self, paths: RunPaths) -> None:
        """Ends what earlier attempts left behind, before a new one begins in the same directory."""
        announced = read_process_file(paths)
        if announced is not None:
            end_group(announced[0], 0)
        for identity, _ in _workers_in(paths):
            end_group(identity, 0)
        paths.result.unlink(missing_ok=True)

    def adopt(self, paths: RunPaths, epoch: int) -> ProcessIdentity | None:
        """The process of an attempt that another daemon started; None when there is none."""
        announced = read_process_file(paths)
        if announced is not None and announced[1] == epoch:
            return announced[0]
        return next((identity for identity, its_epoch in _workers_in(paths) if its_epoch == epoch), None)


def _workers_in(paths: RunPaths) -> list[tuple[ProcessIdentity, int]]:
    """Live processes whose command line is that of a worker of this run directory, with their epochs."""
    root = str(paths.root.resolve())
    found = find_processes(root)
    return [(identity, int(argv[-1])) for identity, argv in found if len(argv) > 4 and argv[-4] == "-m" and argv[-2] == root and argv[-1].isdecimal()]
