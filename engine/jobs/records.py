"""The run table, the commands that move a run from state to state, and the queries that surfaces need.

Every command names the state or the epoch that it starts from, so that of two racing ones the second is refused, and a worker that lost its
claim changes nothing. Every transition is an event. What a stage records of a finished run (a version, a measurement) is written by its hook
inside the command that finishes the run: both are there or neither is. Hooks run again when the journal is replayed, so they take no clock and
read artefacts by digest only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count as counting
from typing import Any, NamedTuple

from engine.base.digests import sha256_hex
from engine.errors import ModelsmithError, NotFound, RunActive, StaleEpoch, StateConflict
from engine.jobs.types import FINAL_STATES, TRANSITIONS, Progress, Run, RunError, RunKind, RunState
from engine.store import lineage
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import Cursor, StageTables, Store

ResultHook = Callable[[Cursor, str, str | None, dict[str, Any], str, int], None]
"""`hook(cursor, run_id, cluster, output, at, seq)`; an engine error makes the run fail with it."""

EXCLUSIVE_KINDS: tuple[RunKind, ...] = ("iterate", "evaluate")
"""Of these, a cluster has one active top-level run at a time."""
ACTIVE_STATES: tuple[RunState, ...] = ("queued", "running", "interrupted")
LISTED_AT_MOST = 500


class ActiveRun(NamedTuple):
    """A run as far as deciding its next move needs it."""

    id: str
    kind: RunKind
    cluster: str | None
    parent: str | None
    state: RunState
    epoch: int
    cancelling: bool


class Launch(NamedTuple):
    """What goes into a run's config.json."""

    kind: RunKind
    cluster: str | None
    seed: int
    job: dict[str, Any]


class ResultRefused(Exception):
    """A stage does not accept what a run made. Apart from the errors of the command itself, which mean that the run has moved."""

    def __init__(self, error: ModelsmithError) -> None:
        super().__init__(error.message)
        self.error = error


# ---- commands --------------------------------------------------------------------------------------------------------------------------


def _create(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    kind, cluster, parent = arguments["kind"], arguments["cluster"], arguments["parent"]
    if parent is None:
        _refuse_second(cursor, kind, cluster)
    else:
        _refuse_orphan(cursor, parent)
    run_id = _new_id(cursor, kind, at, seq)
    cursor.execute(
        "INSERT INTO run (id, seq, kind, cluster, state, parent, step, epoch, seed, job, arguments, cancelling, created_at) "
        "VALUES (?, ?, ?, ?, 'queued', ?, ?, 0, ?, ?, ?, FALSE, ?)",
        [run_id, seq, kind, cluster, parent, arguments["step"], arguments["seed"], _text(arguments["job"]), _text(arguments["arguments"]), at],
    )
    append_event(cursor, seq=seq, at=at, kind="run_queued", subject=run_id, actor=parent or "caller", reason=arguments["step"] or "submitted")
    return {"id": run_id}


def _refuse_second(cursor: Cursor, kind: str, cluster: str | None) -> None:
    if kind not in EXCLUSIVE_KINDS or cluster is None:
        return
    active = cursor.execute(
        "SELECT id, state FROM run WHERE cluster = ? AND parent IS NULL AND list_contains(?, kind) AND list_contains(?, state)",
        [cluster, list(EXCLUSIVE_KINDS), list(ACTIVE_STATES)],
    ).fetchall()
    if active:
        run_id, state = active[0]
        raise RunActive(
            f"cluster {cluster} has an active run already: {run_id} ({state})",
            next_step=f"Follow it with run_status(run_id={run_id!r}), or end it with cancel(run_id={run_id!r}).",
            run_id=run_id,
            cluster=cluster,
        )


def _refuse_orphan(cursor: Cursor, parent: str) -> None:
    run = _locate(cursor, parent)
    if run.state != "running" or run.cancelling:
        raise StateConflict(
            f"{parent} is {'being cancelled' if run.cancelling else run.state} and takes no further steps",
            next_step="Start a new run.",
            run_id=parent,
        )


def _new_id(cursor: Cursor, kind: str, at: str, seq: int) -> str:
    """Kind, month and day, six digits that follow from the command alone, so that a replay makes the same id."""
    for attempt in counting():
        run_id = f"{kind}-{at[5:7]}{at[8:10]}-{sha256_hex(f'{seq}/{at}/{attempt}'.encode())[:6]}"
        if not cursor.execute("SELECT 1 FROM run WHERE id = ?", [run_id]).fetchall():
            return run_id
    raise AssertionError("unreachable")


def _claim(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    run = _locate(cursor, arguments["run_id"])
    epoch = arguments["epoch"]
    if epoch != run.epoch + 1:
        raise _stale(run, epoch)
    _check_transition(run, "running")
    cursor.execute("UPDATE run SET state = 'running', epoch = ?, started_at = coalesce(started_at, ?) WHERE id = ?", [epoch, at, run.id])
    append_event(cursor, seq=seq, at=at, kind="run_running", subject=run.id, actor="supervisor", reason=f"attempt {epoch}")
    return {"epoch": epoch}


def _interrupt(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    run = _locate(cursor, arguments["run_id"])
    if arguments["epoch"] != run.epoch:
        raise _stale(run, arguments["epoch"])
    _check_transition(run, "interrupted")
    cursor.execute("UPDATE run SET state = 'interrupted' WHERE id = ?", [run.id])
    reason, data = arguments["reason"], arguments.get("data")
    append_event(cursor, seq=seq, at=at, kind="run_interrupted", subject=run.id, actor="supervisor", reason=reason, data=data)
    return {}


def _cancel(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    """A run that does not run ends at once; a running one is marked, and ends when its process or its steps have."""
    run = _locate(cursor, arguments["run_id"])
    actor = arguments.get("actor", "caller")
    if run.state in FINAL_STATES or run.cancelling:
        return {"state": run.state}
    if run.state == "running":
        cursor.execute("UPDATE run SET cancelling = TRUE WHERE id = ?", [run.id])
        append_event(cursor, seq=seq, at=at, kind="run_cancelling", subject=run.id, actor=actor, reason=arguments["reason"])
        return {"state": "running"}
    cursor.execute("UPDATE run SET state = 'cancelled', cancelling = TRUE, finished_at = ? WHERE id = ?", [at, run.id])
    append_event(cursor, seq=seq, at=at, kind="run_cancelled", subject=run.id, actor=actor, reason=arguments["reason"])
    return {"state": "cancelled"}


def _finish(hooks: Mapping[RunKind, ResultHook], cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    run = _locate(cursor, arguments["run_id"])
    if arguments["epoch"] != run.epoch:
        raise _stale(run, arguments["epoch"])
    state, output, error = arguments["state"], arguments["output"], arguments["error"]
    if run.cancelling:  # the caller was told that the run ends as cancelled, whatever its worker did in its last moments
        state, output, error = "cancelled", None, None
    _check_transition(run, state)
    cursor.execute(
        "UPDATE run SET state = ?, output = ?, error = ?, finished_at = ?, seconds = ?, peak_rss_bytes = ? WHERE id = ?",
        [state, _text(output), _text(error), at, arguments["seconds"], arguments["peak_rss_bytes"], run.id],
    )
    reason = error["message"] if error else ""
    append_event(cursor, seq=seq, at=at, kind=f"run_{state}", subject=run.id, actor=run.parent or "supervisor", reason=reason)
    if state == "succeeded":
        for digest in sorted(set((output.get("artifacts") or {}).values())):
            lineage.record(cursor, seq=seq, child=digest, relation="made_by", parent=run.id)
        if run.kind in hooks:
            try:
                hooks[run.kind](cursor, run.id, run.cluster, output, at, seq)
            except ModelsmithError as error:
                raise ResultRefused(error) from error
    else:
        _cancel_steps(cursor, run.id, f"{run.id} {state}", at, seq)
    return {"state": state}


def _cancel_steps(cursor: Cursor, parent: str, reason: str, at: str, seq: int) -> None:
    """In the command that ends their run without success, so that no kill leaves steps which go on for nobody."""
    sql = "SELECT id FROM run WHERE parent = ? AND list_contains(?, state) ORDER BY seq"
    for (step,) in cursor.execute(sql, [parent, list(ACTIVE_STATES)]).fetchall():
        _cancel(cursor, {"run_id": step, "reason": reason, "actor": parent}, at, seq)


def _locate(cursor: Cursor, run_id: str) -> ActiveRun:
    rows = cursor.execute("SELECT id, kind, cluster, parent, state, epoch, cancelling FROM run WHERE id = ?", [run_id]).fetchall()
    if not rows:
        raise NotFound(f"there is no run {run_id[:96]!r}", next_step="fleet_status lists the latest runs.", run_id=run_id[:96])
    return ActiveRun(*rows[0])


def _check_transition(run: ActiveRun, to: RunState) -> None:
    if to not in TRANSITIONS[run.state]:
        raise StateConflict(
            f"{run.id} is {run.state} and cannot become {to}", next_step=f"Look at it with run_status(run_id={run.id!r}).", run_id=run.id
        )


def _stale(run: ActiveRun, epoch: int) -> StaleEpoch:
    return StaleEpoch(
        f"attempt {epoch} of {run.id} has lost its claim: the run is at attempt {run.epoch}",
        next_step="Nothing: the present attempt goes on.",
        run_id=run.id,
        epoch=epoch,
    )


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def tables(on_result: Mapping[RunKind, ResultHook]) -> StageTables:
    """The run table with what each stage does when a run of a kind has succeeded. Replaying the journal needs the hooks, so they belong here."""

    def finish(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
        return _finish(on_result, cursor, arguments, at, seq)

    return StageTables(
        migrations=(
            Migration(
                "jobs-1",
                (
                    "CREATE TABLE run (id VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, kind VARCHAR NOT NULL, cluster VARCHAR, state VARCHAR NOT NULL, "
                    "parent VARCHAR, step VARCHAR, epoch INTEGER NOT NULL, seed BIGINT NOT NULL, job VARCHAR NOT NULL, arguments VARCHAR NOT NULL, "
                    "cancelling BOOLEAN NOT NULL, created_at VARCHAR NOT NULL, started_at VARCHAR, finished_at VARCHAR, output VARCHAR, "
                    "error VARCHAR, seconds DOUBLE, peak_rss_bytes BIGINT)",
                ),
            ),
        ),
        reducers={"create_run": _create, "claim_run": _claim, "interrupt_run": _interrupt, "cancel_run": _cancel, "finish_run": finish},
    )


# ---- queries ---------------------------------------------------------------------------------------------------------------------------

_RUN = (
    "SELECT run.id, kind, cluster, state, parent, step, epoch, arguments, created_at, started_at, finished_at, output, error, spool.latest "
    "FROM run LEFT JOIN spool ON spool.writer = run.id "
)


def _run(row: tuple[Any, ...]) -> Run:
    run_id, kind, cluster, state, parent, step, epoch, arguments, created_at, started_at, finished_at, output, error, latest = row
    return Run(
        id=run_id,
        kind=kind,
        cluster=cluster,
        state=state,
        parent=parent,
        step=step,
        epoch=epoch,
        arguments=json.loads(arguments),
        created_at=created_at,
        started_at=started_at,
        finished_at=finished_at,
        output=None if output is None else json.loads(output),
        error=None if error is None else RunError.model_validate_json(error),
        progress=None if latest is None else Progress.model_validate_json(latest),
    )


def get(store: Store, run_id: str) -> Run:
    """One run. NotFound names the latest ones."""
    rows = store.read(_RUN + "WHERE run.id = ?", [run_id])
    if not rows:
        latest = [row[0] for row in store.read("SELECT id FROM run ORDER BY seq DESC LIMIT 5")]
        raise NotFound(
            f"there is no run {run_id[:96]!r}",
            next_step=f"The latest runs are {', '.join(latest)}." if latest else "No run has been started yet.",
            run_id=run_id[:96],
            latest=latest,
        )
    return _run(rows[0])


def children(store: Store, parent: str) -> list[Run]:
    """The steps of a run, oldest first."""
    return [_run(row) for row in store.read(_RUN + "WHERE parent = ? ORDER BY run.seq", [parent])]


def latest(
    store: Store,
    *,
    cluster: str | None = None,
    states: Sequence[RunState] | None = None,
    kinds: Sequence[RunKind] | None = None,
    top_level: bool = False,
    limit: int = 20,
    before: str | None = None,
) -> list[Run]:
    """The latest runs that fit, latest first; `before` (a run id) goes on from an earlier page."""
    clauses, parameters = ["TRUE"], list[Any]()
    if cluster is not None:
        clauses.append("cluster = ?")
        parameters.append(cluster)
    for column, allowed in (("state", states), ("kind", kinds)):
        if allowed is not None:
            clauses.append(f"list_contains(?, {column})")
            parameters.append(list(allowed))
    if top_level:
        clauses.append("parent IS NULL")
    if before is not None:
        clauses.append("run.seq < (SELECT seq FROM run WHERE id = ?)")
        parameters.append(before)
    sql = _RUN + f"WHERE {' AND '.join(clauses)} ORDER BY run.seq DESC LIMIT ?"
    return [_run(row) for row in store.read(sql, [*parameters, min(limit, LISTED_AT_MOST)])]


def active(store: Store) -> list[ActiveRun]:
    """Every run that has not ended, oldest first."""
    sql = "SELECT id, kind, cluster, parent, state, epoch, cancelling FROM run WHERE list_contains(?, state) ORDER BY seq"
    return [ActiveRun(*row) for row in store.read(sql, [list(ACTIVE_STATES)])]


class Ended(NamedTuple):
    """A run that somebody asked for, and the command with which it ended."""

    seq: int
    run_id: str


def ended(store: Store, after: int, limit: int) -> list[Ended]:
    """Runs asked for by themselves that failed, and iterate runs that succeeded, in the order of their ends; those that ended after a command."""
    rows = store.read(
        "SELECT event.seq, run.id FROM run JOIN event ON event.subject = run.id AND event.kind = 'run_' || run.state "
        "WHERE parent IS NULL AND (state = 'failed' OR (state = 'succeeded' AND run.kind = 'iterate')) AND event.seq > ? "
        "ORDER BY event.seq LIMIT ?",
        [after, limit],
    )
    return [Ended(*row) for row in rows]


def launch_of(store: Store, run_id: str) -> Launch:
    """What a run's config.json is made of."""
    ((kind, cluster, seed, job),) = store.read("SELECT kind, cluster, seed, job FROM run WHERE id = ?", [run_id])
    return Launch(kind, cluster, seed, json.loads(job))


def count(store: Store) -> int:
    """How many runs there are."""
    ((runs,),) = store.read("SELECT count(*) FROM run")
    return int(runs)
