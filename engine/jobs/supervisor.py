"""Keeps runs and processes in step: launches what is queued, watches what runs, takes in what is finished, starts again what was killed.

Nothing that matters is in this object's memory. A run is claimed in the store (with the next epoch) before its process starts; what runs is
found again after a restart by the run directory's process.json, or by the command line of the process itself; a result counts when the store
has it. So a daemon may be killed anywhere:

    claimed, not started        no process is found: interrupted, started again
    stopped by a full disk      stands until there is room, then started again
    started, not yet announced  found by its command line
    running                     adopted, and goes on as if nothing had happened
    result written              taken in, once: the command that finishes the run has one key for each attempt
    marked for cancelling       the new daemon ends it

`tick` does all the moving and is called about ten times a second by one thread; when nothing has happened it reads a few small files and
no row. The other methods may be called from any thread: they submit one command and leave the rest to `tick`.

A run whose kind has a driver has no process: the driver advances it from what is recorded, through runs of its own (its steps).
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from engine.base.files import disk_is_full, write_atomic
from engine.base.paths import RunPaths, Workspace
from engine.base.processes import ProcessIdentity, end_group, group_processor_ticks, is_alive, signal_group
from engine.errors import (
    ArgumentInvalid,
    ModelsmithError,
    ResourceExhausted,
    StaleEpoch,
    StateConflict,
    StoreFailed,
    WorkerCrashed,
)
from engine.jobs import records
from engine.jobs.collecting import Collecting
from engine.jobs.giving_up import given_up, given_up_for_disk
from engine.jobs.memory import oom_kills
from engine.jobs.records import ActiveRun
from engine.jobs.results import Ending, failure, log_tail, read_result
from engine.jobs.stalls import Idleness, Look
from engine.jobs.types import FINAL_STATES, Run, RunConfig, RunError, RunKind, RunState
from engine.jobs.workers import WORKER_MODULES, Workers
from engine.store.artifacts import Artifacts
from engine.store.store import Store

WORKER_SLOTS = 4
"""Worker processes at a time on this machine; further runs wait their turn."""
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.25, 8.0
CANCEL_GRACE_SECONDS = 5.0
PROGRESS_SECONDS = 0.25
"""Between two looks at one run's spool."""
STALL_LOOK_SECONDS = 1.0
"""Between two looks at whether one run's worker still works."""
STALL_SECONDS = 300.0
STALL_SECONDS_OF: Mapping[RunKind, float] = {"train": 900.0, "prepare": 900.0, "export": 900.0}
"""How long a worker may neither tell progress nor use processor time: loading and writing gigabytes from slow storage takes longest."""
WAIT_SECONDS = 2.0
"""Between two looks at whether there is again what a run waits for."""
DISK_RESERVE_BYTES = 64 << 20
"""Below this nothing is started: the journal and the store must be able to say what happened."""
MIB = 2**20
DRIVER_SECONDS = 2.0
"""A driver is called when a step has moved, and at least this often."""
PASSES = 10
"""Moves that follow from each other and are made in one tick."""

logger = logging.getLogger(__name__)


class Driver(Protocol):
    """Advances runs of a kind that has no process."""

    def advance(self, run: Run) -> None:
        """Does what can be done now, and returns soon. An engine error ends the run as failed."""
        ...

    def cancel(self, run: Run) -> None:
        """Cancels the steps of `run`; called until none is active."""
        ...


class _Attempt:
    """What this process remembers of a running run; all of it can be found again."""

    def __init__(self, identity: ProcessIdentity | None, oom_kills: int) -> None:
        self.identity = identity
        self.oom_kills = oom_kills
        """The kernel's count when the attempt began, or was adopted."""
        self.idleness: Idleness | None = None
        self.stalled = False
        self.spool_bytes = 0
        self.looked_at_spool = 0.0
        self.asked_to_stop: float | None = None
        self.collecting: Collecting | None = None


class _Driven(NamedTuple):
    """When a driver was last called, and how many moves of its steps it had seen."""

    called: float
    moves: int


class _Wait(NamedTuple):
    """Why a run does not move now."""

    parent: str | None
    why: str


class Supervisor:
    """The runs of one workspace."""

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        workspace: Workspace,
        *,
        worker_environment: Mapping[str, str] | None = None,
        worker_modules: Mapping[RunKind, str] = WORKER_MODULES,
        worker_slots: int = WORKER_SLOTS,
        cancel_grace_seconds: float = CANCEL_GRACE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        kernel_oom_kills: Callable[[], int] = oom_kills,
        stall_seconds: Mapping[RunKind, float] = STALL_SECONDS_OF,
        stall_look_seconds: float = STALL_LOOK_SECONDS,
        free_bytes: Callable[[], int] | None = None,
        disk_reserve_bytes: int = DISK_RESERVE_BYTES,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._workspace = workspace
        self.workers = Workers(workspace.root, dict(os.environ if worker_environment is None else worker_environment), worker_modules)
        self._slots = worker_slots
        self._grace = cancel_grace_seconds
        self._monotonic = monotonic
        self._oom_kills = kernel_oom_kills
        self._stall_seconds = stall_seconds
        self._stall_look_seconds = stall_look_seconds
        self._free_bytes = free_bytes or (lambda: shutil.disk_usage(workspace.state).free)
        self._disk_reserve = disk_reserve_bytes
        self._drivers: dict[RunKind, Driver] = {}
        self._active: list[ActiveRun] = []
        self._stale = threading.Event()
        self._stale.set()
        self._attempts: dict[str, _Attempt] = {}
        self._driven: dict[str, _Driven] = {}
        self._not_before: dict[str, float] = {}
        self._waits: dict[str, _Wait] = {}
        self._moves: dict[str, int] = {}
        """Changes of state of a run or its steps, for drivers."""
        self._signs: dict[str, int] = {}
        """Those, and progress, for whoever waits."""
        self._changed = threading.Condition()
        artifacts.remove_leftovers()

    def drive(self, kind: RunKind, driver: Driver) -> None:
        """Names the driver of a kind; before the first `tick`."""
        self._drivers[kind] = driver

    # ---- from any thread -------------------------------------------------------------------------------------------------------------

    def submit(
        self,
        kind: RunKind,
        *,
        cluster: str | None,
        job: dict[str, Any],
        arguments: dict[str, Any],
        seed: int,
        key: str | None = None,
        parent: str | None = None,
        step: str | None = None,
    ) -> Run:
        """A new run; or, when `key` was used for the same kind, cluster, step and arguments, the run that it made. Raises RunActive, KeyReused."""
        asked = {"kind": kind, "cluster": cluster, "parent": parent, "step": step, "arguments": arguments}
        answer = self._store.submit("create_run", {**asked, "seed": seed, "job": job}, key=_run_key(key), asked=asked)
        self._note_change(answer["id"], parent)
        return self.get(answer["id"])

    def get(self, run_id: str) -> Run:
        """One run. Raises NotFound, naming the latest ones."""
        return records.get(self._store, run_id)

    def list(
        self,
        *,
        parent: str | None = None,
        cluster: str | None = None,
        states: Sequence[RunState] | None = None,
        kinds: Sequence[RunKind] | None = None,
        top_level: bool = False,
        limit: int = 20,
        before: str | None = None,
    ) -> builtins.list[Run]:
        """All steps of `parent`, oldest first; without it, the latest runs that fit, latest first, going on after the run `before`."""
        if parent is not None:
            return records.children(self._store, parent)
        return records.latest(self._store, cluster=cluster, states=states, kinds=kinds, top_level=top_level, limit=limit, before=before)

    def cancel(self, run_id: str, reason: str = "asked for", actor: str = "caller") -> Run:
        """Asks a run to end; a run that has ended stays as it is. A running one ends within seconds: `wait` sees it."""
        run = self.get(run_id)
        if run.state not in FINAL_STATES:
            self._store.submit("cancel_run", {"run_id": run_id, "reason": reason, "actor": actor})
            self._note_change(run_id, run.parent)
        return self.get(run_id)

    def wait(self, run_id: str, seconds: float) -> Run:
        """The run as soon as it, or one of its steps, has moved or progressed; at the latest after `seconds`. At once when it has ended."""
        with self._changed:
            seen = self._signs.get(run_id, 0)
        run = self.get(run_id)
        if run.state in FINAL_STATES:
            return run
        with self._changed:
            moved = self._changed.wait_for(lambda: self._signs.get(run_id, 0) != seen, timeout=seconds)
        return self.get(run_id) if moved else run

    def waits_for(self, run_id: str) -> str:
        """Why a run, or one of its steps, stands still for now; empty where none does. It goes on by itself."""
        return next((wait.why for waiting, wait in list(self._waits.items()) if run_id in (waiting, wait.parent)), "")

    def finish_driver(
        self, run: Run, *, state: Literal["succeeded", "failed", "cancelled"], output: dict[str, Any] | None = None, error: RunError | None = None
    ) -> None:
        """Ends a run that has a driver; called by the driver. Without success, its steps are cancelled with it."""
        self._finish(run.id, run.epoch, run.parent, Ending(state, output=output, error=error))

    # ---- the tick --------------------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Moves every run as far as it can go now. Raises StoreFailed when the process must exit."""
        for _ in range(PASSES):
            if self._stale.is_set():
                self._stale.clear()
                self._active = records.active(self._store)
                self._forget_ended()
            for run in self._active:
                self._move(run)
            if not self._stale.is_set():
                return

    def _move(self, run: ActiveRun) -> None:
        if self._monotonic() < self._not_before.get(run.id, 0.0):
            return
        waited = self._waits.get(run.id)
        driver = self._drivers.get(run.kind)
        try:
            if run.state == "running":
                if driver is not None:
                    self._drive(run, driver)
                else:
                    self._watch(run)
            elif self._may_start(run, driver is not None) and not self._waits_for_disk(run):
                self._start(run, driver is not None)
        except (StaleEpoch, StateConflict):
            self._stale.set()  # another thread moved it first; the next pass sees where it is
        except (ResourceExhausted, OSError) as error:
            self._wait(run, f"waits: {error}")
        except StoreFailed:
            raise
        except Exception:  # a defect that one run meets must not keep the others from moving
            logger.exception("%s cannot be moved and waits", run.id)
            self._not_before[run.id] = self._monotonic() + LONGEST_BACKOFF_SECONDS
        if waited is not None and self._waits.get(run.id) is waited:  # what it waited for is there
            del self._waits[run.id]

    def _wait(self, run: ActiveRun, why: str) -> None:
        """Lets a run stand until the next look at what it lacks."""
        if run.id not in self._waits:
            logger.warning("%s %s", run.id, why)
            self._notify(run.id, run.parent, self._signs)
        self._waits[run.id] = _Wait(run.parent, why)
        self._not_before[run.id] = self._monotonic() + WAIT_SECONDS

    def _waits_for_disk(self, run: ActiveRun, times: int = 1) -> bool:
        """Whether the disk is too full for the run's next attempt: it has less than so many times the reserve."""
        needed, free = self._disk_reserve * times, self._free_bytes()
        if free < needed:
            self._wait(run, f"waits for disk: {free / MIB:.0f} MiB are free, it goes on by itself from {needed / MIB:.0f} MiB")
        return free < needed

    def _forget_ended(self) -> None:
        ids = {run.id for run in self._active}
        for memory in (self._attempts, self._driven, self._not_before, self._waits):
            for run_id in [run_id for run_id in memory if run_id not in ids]:
                del memory[run_id]

    def _note_change(self, run_id: str, parent: str | None) -> None:
        self._stale.set()
        self._notify(run_id, parent, self._moves, self._signs)

    def _notify(self, run_id: str, parent: str | None, *counters: dict[str, int]) -> None:
        with self._changed:
            for counter in counters:
                for each in (run_id, parent):
                    if each is not None:
                        counter[each] = counter.get(each, 0) + 1
            self._changed.notify_all()

    # ---- starting --------------------------------------------------------------------------------------------------------------------

    def _may_start(self, run: ActiveRun, driven: bool) -> bool:
        working = sum(each.state == "running" and each.kind not in self._drivers for each in self._active)
        return driven or working < self._slots

    def _start(self, run: ActiveRun, driven: bool) -> None:
        paths, epoch = self._workspace.run(run.id), run.epoch + 1
        if run.epoch > 0:
            self.workers.end_leftovers(paths)
        self._write_config(run.id, paths)
        self._store.submit("claim_run", {"run_id": run.id, "epoch": epoch})
        self._active = [each._replace(state="running", epoch=epoch) if each.id == run.id else each for each in self._active]
        self._note_change(run.id, run.parent)
        if not driven:
            kills = self._oom_kills()
            self._attempts[run.id] = _Attempt(self.workers.spawn(run.kind, paths, epoch), kills)

    def _write_config(self, run_id: str, paths: RunPaths) -> None:
        if paths.config.exists():
            return
        launch = records.launch_of(self._store, run_id)
        config = RunConfig(
            run_id=run_id,
            kind=launch.kind,
            cluster=launch.cluster,
            workspace=str(self._workspace.root.resolve()),
            seed=launch.seed,
            job=launch.job,
        )
        write_atomic(paths.config, json.dumps(config.model_dump(mode="json"), indent=1, ensure_ascii=False).encode())

    # ---- watching --------------------------------------------------------------------------------------------------------------------

    def _watch(self, run: ActiveRun) -> None:
        paths = self._workspace.run(run.id)
        attempt = self._attempts.get(run.id)
        if attempt is None:
            attempt = self._attempts[run.id] = _Attempt(self.workers.adopt(paths, run.epoch), self._oom_kills())
        self._take_in_progress(run, paths, attempt)
        if attempt.collecting is not None:
            self._take_in_result(run, paths, attempt)
        elif attempt.identity is not None and is_alive(attempt.identity) and not paths.result.exists():
            if run.cancelling:
                self._stop(attempt, attempt.identity)
            else:
                self._end_stalled(run, attempt, attempt.identity)
        else:
            self._take_over(run, paths, attempt)

    def _stop(self, attempt: _Attempt, identity: ProcessIdentity) -> None:
        """SIGTERM, and SIGKILL after the grace period; called at every tick until the process is gone."""
        now = self._monotonic()
        if attempt.asked_to_stop is None:
            attempt.asked_to_stop = now
            signal_group(identity, signal.SIGTERM)
        elif now - attempt.asked_to_stop > self._grace:
            signal_group(identity, signal.SIGKILL)

    def _end_stalled(self, run: ActiveRun, attempt: _Attempt, identity: ProcessIdentity) -> None:
        """Ends a worker that lives but does nothing; the next look finds it gone, and counts a lost attempt."""
        now = self._monotonic()
        if attempt.idleness is not None and now - attempt.idleness.look.at < self._stall_look_seconds:
            return
        look = Look(now, attempt.spool_bytes, group_processor_ticks(identity))
        attempt.idleness = Idleness(look) if attempt.idleness is None else attempt.idleness.after(look)
        if attempt.idleness.seconds >= self._stall_seconds.get(run.kind, STALL_SECONDS):
            logger.warning("the worker of %s has done nothing for %.0f s and is ended", run.id, attempt.idleness.seconds)
            attempt.stalled = True
            end_group(identity, 0)

    def _take_over(self, run: ActiveRun, paths: RunPaths, attempt: _Attempt) -> None:
        """The attempt is over: it left a result, or its process is gone. A result of an older attempt beside a live process is neither."""
        found = read_result(paths, run.epoch)
        if found is None and attempt.identity is not None and is_alive(attempt.identity):
            if run.cancelling:
                self._stop(attempt, attempt.identity)
            return
        if attempt.identity is not None:
            end_group(attempt.identity, 0)  # the worker itself, when it lingers after its result, and the children it left
        if run.cancelling:
            self._finish(run.id, run.epoch, run.parent, Ending("cancelled"))
        elif isinstance(found, Ending):
            self._finish(run.id, run.epoch, run.parent, found)
        elif found is None or found.state == "cancelled":  # killed, or stopped by somebody who did not ask us
            if not self._waits_for_disk(run):  # nor could a worker without a result have written one
                self._interrupt(run, paths, attempt)
        elif found.error is not None and found.error.short_of == "disk":
            if not self._waits_for_disk(run, 2 ** (run.epoch - 1)):  # nobody knows how much it lacked: each time twice as much
                self._interrupt(run, paths, attempt, disk=found.error)
        else:
            attempt.collecting = Collecting(paths, found, self._artifacts)
            self._take_in_result(run, paths, attempt)

    def _take_in_result(self, run: ActiveRun, paths: RunPaths, attempt: _Attempt) -> None:
        collecting = attempt.collecting
        if collecting is None or not collecting.done():
            return
        attempt.collecting = None
        if collecting.ending is None:
            self._wait(run, f"waits: {collecting.short_of}")
            return
        while self._store.ingest_spool(run.id, paths.progress):
            continue
        self._finish(run.id, run.epoch, run.parent, Ending("cancelled") if run.cancelling else collecting.ending)

    def _take_in_progress(self, run: ActiveRun, paths: RunPaths, attempt: _Attempt) -> None:
        now = self._monotonic()
        if now - attempt.looked_at_spool < PROGRESS_SECONDS:
            return
        attempt.looked_at_spool = now
        try:
            size = paths.progress.stat().st_size
        except FileNotFoundError:
            return
        if size != attempt.spool_bytes:
            attempt.spool_bytes = size
            if self._store.ingest_spool(run.id, paths.progress):
                self._notify(run.id, run.parent, self._signs)

    def _interrupt(self, run: ActiveRun, paths: RunPaths, attempt: _Attempt, disk: RunError | None = None) -> None:
        """The attempt left no result, or one that says that the disk was full: the run is started again, or given up."""
        tail = log_tail(paths.log)
        stalled = "stalled (no progress, no processor time) and was ended; it " if attempt.stalled else ""
        ended = f"{stalled}left no result" + (f"; its log ends: {tail}" if tail else "")
        reason = f"the worker of attempt {run.epoch} {ended}" if disk is None else f"{disk.message}; there is room again"
        lost = given_up(run, ended, for_memory=self._oom_kills() > attempt.oom_kills) if disk is None else given_up_for_disk(run, disk)
        if lost is not None:
            self._finish(run.id, run.epoch, run.parent, failure(lost))
            return
        cause = "disk" if disk is not None else "stalled" if attempt.stalled else "lost"
        self._store.submit("interrupt_run", {"run_id": run.id, "epoch": run.epoch, "reason": reason, "data": {"cause": cause}})
        self._attempts.pop(run.id, None)
        self._not_before[run.id] = self._monotonic() + min(FIRST_BACKOFF_SECONDS * 2 ** (run.epoch - 1), LONGEST_BACKOFF_SECONDS)
        self._note_change(run.id, run.parent)

    def _finish(self, run_id: str, epoch: int, parent: str | None, ending: Ending) -> None:
        """Records the end of a run, once. What a stage refuses to record, or cannot, ends the run as failed."""
        try:
            self._submit_finish(run_id, epoch, ending)
        except ModelsmithError:
            raise
        except records.ResultRefused as refusal:
            self._submit_finish(run_id, epoch, failure(refusal.error))
        except Exception as error:
            logger.exception("the result of %s cannot be recorded", run_id)
            crashed = WorkerCrashed(
                f"the result of {run_id} cannot be recorded: {type(error).__name__}: {str(error)[:300]}",
                next_step="The traceback is in the daemon's log; report it as a defect.",
            )
            self._submit_finish(run_id, epoch, failure(crashed))
        self._note_change(run_id, parent)

    def _submit_finish(self, run_id: str, epoch: int, ending: Ending) -> None:
        arguments = {
            "run_id": run_id,
            "epoch": epoch,
            "state": ending.state,
            "output": ending.output,
            "error": None if ending.error is None else ending.error.model_dump(mode="json"),
            "seconds": ending.seconds,
            "peak_rss_bytes": ending.peak_rss_bytes,
        }
        self._store.submit("finish_run", arguments, key=f"finish/{run_id}/{epoch}", asked={"run_id": run_id, "epoch": epoch})

    # ---- drivers ---------------------------------------------------------------------------------------------------------------------

    def _drive(self, run: ActiveRun, driver: Driver) -> None:
        last, now = self._driven.get(run.id), self._monotonic()
        with self._changed:
            moves = self._moves.get(run.id, 0)
        if last is not None and last.moves == moves and now - last.called < DRIVER_SECONDS:
            return
        self._driven[run.id] = _Driven(now, moves)
        if run.cancelling:
            self._cancel_steps(run, driver)
            return
        try:
            driver.advance(self.get(run.id))
        except (StoreFailed, ResourceExhausted):
            raise
        except ModelsmithError as error:
            self._fail_driven(run, error)
        except Exception as error:
            if disk_is_full(error):
                raise
            logger.exception("the driver of %s failed", run.id)
            crashed = WorkerCrashed(
                f"{run.id} cannot go on: {type(error).__name__}: {str(error)[:300]}",
                next_step="The traceback is in the daemon's log; report it as a defect.",
            )
            self._fail_driven(run, crashed)

    def _cancel_steps(self, run: ActiveRun, driver: Driver) -> None:
        if any(step.state not in FINAL_STATES for step in self.list(parent=run.id)):
            driver.cancel(self.get(run.id))
        if all(step.state in FINAL_STATES for step in self.list(parent=run.id)):
            self._finish(run.id, run.epoch, run.parent, Ending("cancelled"))

    def _fail_driven(self, run: ActiveRun, error: ModelsmithError) -> None:
        """Ends a driven run with `error`, unless it was cancelled while its driver worked: then its steps are refused, and that is no failure."""
        if any(each.id == run.id and each.cancelling for each in records.active(self._store)):
            self._stale.set()
            return
        self._finish(run.id, run.epoch, run.parent, failure(error))


def _run_key(key: str | None) -> str | None:
    """The caller's key, apart from the keys of other commands."""
    if key is not None and not key.strip():
        raise ArgumentInvalid("an idempotency key cannot be empty", next_step="Use a short key, such as a UUID, or leave it out.")
    return None if key is None else f"run/{key}"
