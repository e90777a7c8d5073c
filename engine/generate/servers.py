"""Managed model servers: found or started, kept well, told which weights to hold, stopped when not needed.

A server belongs to the workspace, not to the process that started it: it runs in a session of its own, outlives workers and the daemon, and
is found again through its record (`server_record.py`) by pid and start time. Workers and the daemon share it under two file locks.

What is promised:

- Never a stranger: a server counts as ours only when the recorded process is alive and what listens on its port knows the key and the
  unguessable name of this start.
- Never the wrong weights: nothing is answered unless the weights were loaded and proved by a fingerprint in this server; they cannot change
  while a batch is being answered; a crash during a change leaves `unknown`, which means that they are loaded and proved again.
- Bounded patience: a server that dies or hangs is replaced, MAX_STARTS times in one call; then ServerFailed with the end of its log.

Not here: asking questions (`chat.py`), what the command line is (`vllm_command.py`), when a server is idle enough to stop (the daemon asks).
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from engine.base.clock import since_boot
from engine.base.digests import digest_of
from engine.base.paths import Workspace
from engine.base.processes import boot_id, end_group, group_rss_bytes, is_alive, spawn_detached
from engine.config import Device, Profile
from engine.errors import ArtifactCorrupt, FingerprintMismatch, ServerFailed
from engine.fleet.probe import probe_local
from engine.generate import server_control
from engine.generate.checkpoint import checkpoint_problem
from engine.generate.fingerprint import compare, load_fingerprint
from engine.generate.integrity import Part, altered, refuse_altered
from engine.generate.plans import ServerPlan, server_key, server_plan
from engine.generate.server_control import ServerAddress, ServerUnwell
from engine.generate.server_record import ServerDirectory, ServerRecord
from engine.generate.types import Fingerprint, FingerprintReport, PreparedBase, ServerStatus, Weights
from engine.generate.vllm_command import INHERITED, Command

MAX_STARTS = 3
"""Starts of one server within one call, before giving up."""
MAX_CHANGES = 3
"""Attempts to load the weights that a call asks for; between them the server is replaced."""
HEALTH_CALL_SECONDS = 5.0
"""One health call; a silent server is asked again until its time is up, and a cancelled caller is heard in between."""
GRACE_SECONDS = 5.0
"""Between asking a server to end and killing it."""
SERVER_TAG = "MODELSMITH_SERVER"
"""Environment variable with the server's directory. A start that was killed before it could be recorded is found by it, and ended."""


class Session(NamedTuple):
    """A server that holds the wanted weights, for as long as the session lasts."""

    plan: ServerPlan
    address: ServerAddress
    answers_to: str
    """The model name to ask for."""
    report: FingerprintReport | None
    """The proof, when the weights were loaded for this session; null when they were already there, proved earlier."""


class Hold(NamedTuple):
    """A server that nobody changes or stops until it is released."""

    session: Session
    release: Callable[[], None]
    """Any thread may call it."""


class _Started(NamedTuple):
    """A start of a server: what is compared to tell one start from the next."""

    record: ServerRecord
    address: ServerAddress


def _never() -> None:
    """Nothing asks the wait to end."""


def _do_not_wait() -> None:
    raise BlockingIOError


class ModelServers:
    """The managed servers of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._root = workspace.servers.resolve()

    # ---- starting ----------------------------------------------------------------------------------------------------------------

    def warm(self, model: str, profile: Profile, base: PreparedBase, device: Device) -> None:
        """Starts this profile's server unless it runs, and does not wait for it: start-up hides behind other work."""
        plan = server_plan(self._workspace, model, profile, base, device)
        if plan is not None:
            self._claim(plan)

    def _ensure(self, plan: ServerPlan, check_cancelled: Callable[[], None]) -> _Started:
        """A healthy server for `plan`: the one that runs, or a new one. `check_cancelled` is called while waiting and may raise."""
        directory = self._directory(plan.key)
        reason = ""
        for _ in range(MAX_STARTS):
            started = self._claim(plan)
            reason = self._await_health(plan, started, check_cancelled)
            if not reason:
                return started
            log = directory.log_tail()
            self._discard(directory, started.record)
        raise ServerFailed(
            f"the server of model {plan.model} failed {MAX_STARTS} times: {reason}",
            next_step=f"Read {directory.log}; free memory or mend the model profile, then run the same command again.",
            log=log[-1500:],
        )

    def _claim(self, plan: ServerPlan) -> _Started:
        """The running server, or a newly started one; in either case perhaps not healthy yet."""
        directory = self._directory(plan.key)
        directory.make()
        wanted = digest_of(_command_content(plan.command("NAME", 0)))
        with directory.lifecycle():
            record = directory.read()
            if record is not None:
                if is_alive(record.identity) and record.command == wanted:
                    return _Started(record, _address(record))
                self._end(directory, record)
            _kill_tagged(directory.root)
            return self._start(plan, directory, wanted)

    def _start(self, plan: ServerPlan, directory: ServerDirectory, command_digest: str) -> _Started:
        address = ServerAddress(free_port(), secrets.token_urlsafe(24), f"{plan.model}-{secrets.token_hex(8)}")
        command = plan.command(address.served_name, address.port)
        environment = command.environment | {"VLLM_API_KEY": address.api_key, SERVER_TAG: str(directory.root)}
        if directory.log.exists():
            os.replace(directory.log, directory.log.with_suffix(".log.1"))
        identity = spawn_detached(list(command.argv), cwd=directory.root, env=environment, log=directory.log)
        record = ServerRecord(
            model=plan.model,
            base=plan.base.digest,
            slot=plan.slot,
            command=command_digest,
            boot=boot_id(),
            pid=identity.pid,
            start_ticks=identity.start_ticks,
            port=address.port,
            served_name=address.served_name,
            api_key=address.api_key,
            state="starting",
            started_at=since_boot(),
            start_timeout_seconds=plan.start_timeout_seconds,
            idle_stop_seconds=plan.idle_stop_seconds,
        )
        directory.touch()
        directory.write(record)
        return _Started(record, address)

    def _await_health(self, plan: ServerPlan, started: _Started, check_cancelled: Callable[[], None]) -> str:
        """Waits until the server is healthy: empty then, else why it is not."""
        record = started.record
        if record.state == "healthy":
            deadline = time.monotonic() + plan.health_seconds
        else:
            deadline = time.monotonic() + max(0.0, record.started_at + plan.start_timeout_seconds - since_boot())
        pause = 0.02
        while True:
            if not is_alive(record.identity):
                return "its process ended"
            try:
                server_control.check_health(started.address, timeout_seconds=min(plan.health_seconds, HEALTH_CALL_SECONDS))
            except ServerUnwell as unwell:
                if time.monotonic() > deadline:
                    return f"not healthy in time ({unwell})"
            else:
                if record.state != "healthy":
                    self._update(record, state="healthy")
                return ""
            check_cancelled()
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    # ---- weights -----------------------------------------------------------------------------------------------------------------

    @contextmanager
    def answering(self, plan: ServerPlan, weights: Weights, *, check_cancelled: Callable[[], None] = _never) -> Iterator[Session]:
        """A session in which the server answers with `weights` and nobody can change them.

        Waits for batches with other weights. Raises FingerprintMismatch when the server does not answer with what was loaded, ServerFailed when
        it cannot be made to work.
        """
        directory = self._directory(plan.key)
        report: FingerprintReport | None = None
        while True:
            started = self._ensure(plan, check_cancelled)
            with directory.weights(exclusive=False, while_waiting=check_cancelled):
                if self._holds(directory, started.record, plan, weights):
                    directory.touch()
                    try:
                        yield Session(plan, started.address, _answers_to(plan, started.address, weights), report)
                    finally:
                        directory.touch()
                    return
            with directory.weights(exclusive=not plan.loads_beside, while_waiting=check_cancelled):
                report = self._change(plan, weights, check_cancelled)

    def hold(self, plan: ServerPlan, weights: Weights) -> Hold | None:
        """The server as it stands, when it was proved to hold these weights and its process lives. Waits for nothing, asks the server nothing."""
        directory = self._directory(plan.key)
        if not directory.root.is_dir():
            return None
        with ExitStack() as undo:
            try:
                undo.enter_context(directory.weights(exclusive=False, while_waiting=_do_not_wait))
            except BlockingIOError:
                return None
            record = directory.read()
            if record is None or record.state != "healthy" or not is_alive(record.identity) or not self._holds(directory, record, plan, weights):
                return None
            directory.touch()
            session = Session(plan, _address(record), _answers_to(plan, _address(record), weights), None)
            return Hold(session, undo.pop_all().close)

    def _holds(self, directory: ServerDirectory, started: ServerRecord, plan: ServerPlan, weights: Weights) -> bool:
        record = directory.read()
        if record is None or record.served_name != started.served_name:
            return False
        return weights.digest in record.adapters if plan.adapters else record.loaded == weights.digest

    def _change(self, plan: ServerPlan, weights: Weights, check_cancelled: Callable[[], None]) -> FingerprintReport:
        """Loads `weights` and proves them. The caller holds `weights.lock`: alone, unless adapters are loaded beside those that answer."""
        directory = self._directory(plan.key)
        self._check_files(plan, weights)
        mismatch: FingerprintReport | None = None
        reason = ""
        for _ in range(MAX_CHANGES):
            started = self._ensure(plan, check_cancelled)
            try:
                if not plan.adapters:
                    self._update(started.record, loaded=None)
                    server_control.load_merged(started.address, weights.merged_dir or plan.base.directory)
                elif weights.digest != plan.base.digest:
                    server_control.load_adapter(started.address, adapter_name(weights.digest), str(weights.adapter_dir))
                report = self.measure(Session(plan, started.address, _answers_to(plan, started.address, weights), None), weights)
            except ServerUnwell as unwell:
                reason = str(unwell)
                if not plan.loads_beside or not self.responds(Session(plan, started.address, started.address.served_name, None)):
                    self._discard(directory, started.record)
                continue
            if report.verdict != "mismatch":
                self._record_proved(started.record, plan, weights)
                return report
            if mismatch is not None or plan.loads_beside:
                mismatch = report
                break  # a new server says the same: it is the files
            mismatch = report
            self._discard(directory, started.record)
        if mismatch is not None:
            raise mismatch_error(plan.model, weights, mismatch)
        raise ServerFailed(
            f"the server of model {plan.model} failed to load weights {weights.digest[:12]}: {reason}",
            next_step=f"Read {directory.log}; then run the same command again.",
            weights=weights.digest,
        )

    def _check_files(self, plan: ServerPlan, weights: Weights) -> None:
        """What a server is told to load must be there and whole: vLLM, told to load a broken checkpoint, loses the weights that it has, and a
        flipped bit loads without complaint. Reading 270 MB through takes a fraction of a second."""
        if plan.adapters or weights.digest == plan.base.digest:
            refuse_altered("base", Path(plan.base.directory), plan.base.digest)
        place = weights.adapter_dir if plan.adapters else weights.merged_dir
        if place is None:
            if weights.digest != plan.base.digest:
                raise ArtifactCorrupt(f"weights {weights.digest[:12]} have no files to serve", next_step="Train this version again.")
            return
        part: Part = "adapter" if place == weights.adapter_dir else "merged"
        digest = weights.digest if plan.adapters else weights.merged_digest
        problem = checkpoint_problem(Path(place), like=None if plan.adapters else Path(plan.base.directory))
        if problem:
            raise altered(part, Path(place), digest or weights.digest, problem)
        if digest is not None:
            refuse_altered(part, Path(place), digest)

    def measure(self, session: Session, weights: Weights) -> FingerprintReport:
        """Probes which weights answer in `session` now. ServerUnwell when the server gives no log-probabilities."""
        expected = expected_fingerprint(session.plan.base, weights)
        if expected is None:
            return FingerprintReport(verdict="unproved")
        started = time.perf_counter()
        measured = [server_control.probe(session.address, session.answers_to, probe.token_ids) for probe in expected.probes]
        return compare(expected, measured, quantised=session.plan.quantised, seconds=round(time.perf_counter() - started, 3))

    def discard(self, session: Session) -> None:
        """Ends the session's server, which hangs or answers with other weights; the next session starts another."""
        directory = self._directory(session.plan.key)
        record = directory.read()
        if record is not None and record.served_name == session.address.served_name:
            self._discard(directory, record)

    def responds(self, session: Session) -> bool:
        """Whether the server still completes a short text in time. One that does not is ended, so that the next session starts another."""
        directory = self._directory(session.plan.key)
        record = directory.read()
        if record is None or record.served_name != session.address.served_name:
            return False
        try:
            # A killed server's helper may keep its port open for a while, taking connections that nobody will serve.
            if is_alive(record.identity):
                server_control.check_answers(session.address, timeout_seconds=session.plan.health_seconds)
                return True
        except ServerUnwell:
            pass  # that is the answer, and it is ended for it
        self._discard(directory, record)
        return False

    # ---- stopping ----------------------------------------------------------------------------------------------------------------

    def stop_idle(self, now: str) -> list[str]:
        """Stops servers that nobody has used for their profile's time, and forgets dead ones. Returns the keys of those stopped."""
        moment = datetime.fromisoformat(now).timestamp()
        return [
            key
            for key, directory, record in self._recorded()
            if self._stop_if_free(directory, record, unused_before=moment - record.idle_stop_seconds)
        ]

    def stop_for_training(self, needed_bytes: int, device: Device) -> list[str]:
        """Stops servers that answer nothing now, longest unused first, until training fits. Returns the keys of those stopped.

        On a CPU that is when `needed_bytes` of memory are free. On a GPU every free server stops: vLLM takes its share of the GPU's memory whole,
        whatever the model needs.
        """
        stopped: list[str] = []
        for key, directory, record in sorted(self._recorded(), key=lambda entry: entry[1].last_used()):
            if device == "cpu" and probe_local().memory_available_bytes >= needed_bytes:
                break
            if self._stop_if_free(directory, record, unused_before=None):
                stopped.append(key)
        return stopped

    def stop(self, key: str) -> bool:
        """Stops one server unless it answers now; whether one was stopped."""
        directory = self._directory(key)
        record = directory.read()
        return record is not None and self._stop_if_free(directory, record, unused_before=None)

    def stop_all(self) -> list[str]:
        """Stops every server, also one that is answering."""
        stopped: list[str] = []
        for root in sorted(path for path in self._root.glob("*") if path.is_dir()):
            directory = ServerDirectory(root)
            with directory.lifecycle():
                record = directory.read()
                if record is not None:
                    self._end(directory, record)
                    stopped.append(root.name)
                _kill_tagged(root)
        return stopped

    def status(self) -> list[ServerStatus]:
        """The servers as the records and the process table show them; no server is asked."""
        lines: list[ServerStatus] = []
        for _, _, record in self._recorded():
            alive = is_alive(record.identity)
            lines.append(
                ServerStatus(
                    base=record.model,
                    state=_state(record, alive),
                    answers_as=record.loaded or (record.base if record.adapters else ""),
                    pid=record.pid if alive else None,
                    port=record.port if alive else None,
                    memory_bytes=group_rss_bytes(record.identity) if alive else None,
                )
            )
        return lines

    def _stop_if_free(self, directory: ServerDirectory, record: ServerRecord, *, unused_before: float | None) -> bool:
        with directory.weights_if_free() as free, directory.lifecycle():
            current = directory.read()
            if current is None or current.served_name != record.served_name:
                return False
            alive = is_alive(current.identity)
            recently_used = unused_before is not None and directory.last_used() > unused_before
            if alive and (not free or recently_used):
                return False
            self._end(directory, current)
            return alive

    def _discard(self, directory: ServerDirectory, record: ServerRecord) -> None:
        """Ends this start of a server; a later start is left alone."""
        with directory.lifecycle():
            current = directory.read()
            if current is not None and current.served_name == record.served_name:
                self._end(directory, current)

    def _end(self, directory: ServerDirectory, record: ServerRecord) -> None:
        """Ends the recorded process with all its helpers, and forgets it. The caller holds `lifecycle.lock`."""
        end_group(record.identity, GRACE_SECONDS)
        directory.forget()

    # ---- records -----------------------------------------------------------------------------------------------------------------

    def _directory(self, key: str) -> ServerDirectory:
        return ServerDirectory(self._root / key)

    def _recorded(self) -> list[tuple[str, ServerDirectory, ServerRecord]]:
        found: list[tuple[str, ServerDirectory, ServerRecord]] = []
        for path in sorted(self._root.glob("*/server.json")):
            directory = ServerDirectory(path.parent)
            record = directory.read()
            if record is not None:
                found.append((path.parent.name, directory, record))
        return found

    def _update(self, record: ServerRecord, **changes: object) -> None:
        """Changes fields of this start's record; does nothing when another start has taken its place."""
        self._rewrite(record, lambda current: changes)

    def _rewrite(self, record: ServerRecord, changes: Callable[[ServerRecord], dict[str, object]]) -> None:
        directory = self._directory(server_key(record.model, record.base, record.slot))
        with directory.lifecycle():
            current = directory.read()
            if current is not None and current.served_name == record.served_name:
                directory.write(current.model_copy(update=changes(current)))

    def _record_proved(self, record: ServerRecord, plan: ServerPlan, weights: Weights) -> None:
        if plan.adapters:
            self._rewrite(record, lambda current: {"adapters": tuple(dict.fromkeys((*current.adapters, weights.digest)))})
        else:
            self._update(record, loaded=weights.digest)


def expected_fingerprint(base: PreparedBase, weights: Weights) -> Fingerprint | None:
    """The fingerprint that `weights` must show; None when the machine that made them could not compute one."""
    path = weights.fingerprint or (base.fingerprint if weights.digest == base.digest else None)
    return None if path is None else load_fingerprint(path)


def adapter_name(digest: str) -> str:
    """The name under which an adapter answers: its content."""
    return f"adapter-{digest[:32]}"


def free_port() -> int:
    """A port on loopback that is free now. Should another program take it first, the server does not start, and is started on another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _state(record: ServerRecord, alive: bool) -> Literal["starting", "healthy", "unhealthy", "stopped"]:
    if not alive:
        return "stopped"
    overdue = record.state == "starting" and since_boot() > record.started_at + record.start_timeout_seconds
    return "unhealthy" if overdue else record.state


def _address(record: ServerRecord) -> ServerAddress:
    return ServerAddress(record.port, record.api_key, record.served_name)


def _answers_to(plan: ServerPlan, address: ServerAddress, weights: Weights) -> str:
    return adapter_name(weights.digest) if plan.adapters and weights.digest != plan.base.digest else address.served_name


def mismatch_error(model: str, weights: Weights, report: FingerprintReport) -> FingerprintMismatch:
    """The error for a server that answers with other weights than it was told to hold."""
    return FingerprintMismatch(
        f"model {model} was told to answer with weights {weights.digest[:12]}, but answers with others: "
        f"mean difference {report.mean_difference} nats, limit {report.limit}",
        next_step="Run the same command again; if it repeats, verify the version's files and prepare the base model anew.",
        weights=weights.digest,
        mean_difference=report.mean_difference,
        limit=report.limit,
    )


def _command_content(command: Command) -> object:
    """What makes two command lines the same: not what they inherit, which differs between the daemon and its workers."""
    return [list(command.argv), {name: value for name, value in command.environment.items() if name not in INHERITED}]


def _kill_tagged(root: Path) -> None:
    """Ends servers of this directory that no record names, and waits until they are gone."""
    deadline = time.monotonic() + GRACE_SECONDS
    while tagged := _tagged(root):
        for pid in tagged:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)


def _tagged(root: Path) -> list[int]:
    """Processes that were started as the server of this directory; one that has ended shows no environment any more."""
    tag = f"{SERVER_TAG}={root}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if tag in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found
