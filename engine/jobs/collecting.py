"""Taking in what a worker left, beside the tick."""

from __future__ import annotations

import logging
import threading

from engine.base.paths import RunPaths
from engine.errors import ResourceExhausted, WorkerCrashed
from engine.jobs.results import Ending, collect, failure
from engine.jobs.types import RunResult
from engine.store.artifacts import Artifacts

logger = logging.getLogger(__name__)


class Collecting:
    """Artefacts being stored beside the tick: hashing gigabytes must not keep other runs waiting."""

    def __init__(self, paths: RunPaths, result: RunResult, artifacts: Artifacts) -> None:
        self.ending: Ending | None = None
        self.short_of: ResourceExhausted | None = None
        self._thread = threading.Thread(target=self._work, args=(paths, result, artifacts), daemon=True)
        self._thread.start()

    def _work(self, paths: RunPaths, result: RunResult, artifacts: Artifacts) -> None:
        try:
            self.ending = collect(paths, result, artifacts)
        except ResourceExhausted as error:
            self.short_of = error
        except Exception as error:
            logger.exception("the result of %s cannot be taken in", result.run_id)
            crashed = WorkerCrashed(
                f"the result of {result.run_id} cannot be taken in: {type(error).__name__}: {str(error)[:300]}",
                next_step="The traceback is in the daemon's log; report it as a defect.",
            )
            self.ending = failure(crashed, result)

    def done(self) -> bool:
        return not self._thread.is_alive()
