"""Tables of the loop: which version each cluster accepts, and the ledger of rounds.

One command, `record_iteration`, writes a round: the ledger row, the verdict on the challenger's version and, on acceptance, the cluster's new
incumbent, all or nothing. It compares the incumbent that the round started from with the one that stands: a round that was judged against
another incumbent is refused (StateConflict). What later stages make of a verdict is written by their hook in the same command. Where people or a
rollback took the incumbent back, they set the one that the loop goes on from (`set_incumbent`), with the reason that the next round gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from engine.base.record import Record
from engine.errors import StateConflict
from engine.evaluate import records as measurements
from engine.iterate.measure import BASE
from engine.iterate.types import Iteration
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import Cursor, StageTables, Store
from engine.train import records as versions


class Verdict(NamedTuple):
    """What a round decided of a version."""

    run_id: str
    cluster: str
    version: str
    accepted: bool


VerdictHook = Callable[[Cursor, Verdict, str, int], None]
"""`hook(cursor, verdict, at, seq)`, within the command that records the round."""


class ClusterState(Record):
    """What stands for a cluster now."""

    incumbent: str
    """Version id, or `base`."""
    incumbent_evaluation: str | None
    floor_evaluation: str | None
    revision: int
    """Counts the rounds recorded and the changes besides; 0 before the first."""
    because: str = ""
    """Why this is the incumbent, where no round has made it that: a sentence. Empty where one has."""


UNTOUCHED = ClusterState(incumbent=BASE, incumbent_evaluation=None, floor_evaluation=None, revision=0)
"""Of a cluster before its first round."""


def cluster_state(store: Store, cluster: str) -> ClusterState:
    """The state of a cluster; `base` when no round has been recorded."""
    return cluster_states(store).get(cluster, UNTOUCHED)


def cluster_states(store: Store) -> dict[str, ClusterState]:
    """The states of all clusters that have had a round."""
    names = ("incumbent", "incumbent_evaluation", "floor_evaluation", "revision", "because")
    rows = store.read(f"SELECT cluster, {', '.join(names)} FROM cluster_state")  # noqa: S608 - the names above
    return {row[0]: ClusterState(**dict(zip(names, row[1:], strict=True))) for row in rows}


def iterations(store: Store, run_id: str) -> tuple[Iteration, ...]:
    """The ledger of one run, oldest round first."""
    rows = store.read("SELECT record FROM iteration WHERE run_id = ? ORDER BY iteration", [run_id])
    return tuple(Iteration.model_validate_json(record) for (record,) in rows)


def attempts(store: Store, cluster: str, suite: str) -> int:
    """Challengers of a cluster that have been judged on this suite's held-out items, over all its runs. Other items count anew; scenarios that
    joined core do not make others of them."""
    suites = measurements.suites_with_held_out_of(store, suite)
    rows = store.read(
        "SELECT count(*) FROM iteration WHERE cluster = ? AND list_contains(?, json_extract_string(record, '$.suite'))", [cluster, suites]
    )
    return int(rows[0][0])


class RecordedRound(NamedTuple):
    """A ledger row with what it does not say itself."""

    run_id: str
    recorded_at: str
    iteration: Iteration


def rounds_of(store: Store, cluster: str) -> tuple[RecordedRound, ...]:
    """The ledger of a cluster over all its runs, oldest round first."""
    # In the order in which they were written, not by their times: a clock may have been set back.
    rows = store.read("SELECT run_id, created_at, record FROM iteration WHERE cluster = ? ORDER BY rowid", [cluster])
    return tuple(RecordedRound(run_id, created_at, Iteration.model_validate_json(record)) for run_id, created_at, record in rows)


def accepting_round(store: Store, cluster: str, version: str) -> RecordedRound | None:
    """The newest round of a cluster that accepted a version; None where none did."""
    rows = store.read(
        "SELECT run_id, created_at, record FROM iteration WHERE cluster = ? AND challenger = ? AND verdict = 'accept' "
        "ORDER BY rowid DESC LIMIT 1",
        [cluster, version],
    )
    return RecordedRound(rows[0][0], rows[0][1], Iteration.model_validate_json(rows[0][2])) if rows else None


def record_iteration(store: Store, run_id: str, cluster: str, iteration: Iteration) -> None:
    """Writes a round, once however often it is called."""
    store.submit(
        "record_iteration",
        {"run_id": run_id, "cluster": cluster, "iteration": iteration.model_dump(mode="json")},
        key=f"{run_id}/{iteration.iteration}.record",
    )


def _record_iteration(on_verdict: VerdictHook, cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    run_id, cluster = arguments["run_id"], arguments["cluster"]
    iteration = Iteration.model_validate(arguments["iteration"])
    refuse_other_incumbent(cluster, f"round {iteration.iteration} of {run_id}", iteration.incumbent, incumbent_of(cursor, cluster))
    accepted = iteration.decision.verdict == "accept"
    subject, evaluation = (
        (iteration.challenger, iteration.challenger_evaluation) if accepted else (iteration.incumbent, iteration.incumbent_evaluation)
    )
    cursor.execute(
        "INSERT INTO iteration (run_id, iteration, cluster, challenger, verdict, record, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [run_id, iteration.iteration, cluster, iteration.challenger, iteration.decision.verdict, json.dumps(arguments["iteration"]), at],
    )
    cursor.execute(
        "INSERT INTO cluster_state (cluster, incumbent, incumbent_evaluation, floor_evaluation, revision, because) VALUES (?, ?, ?, ?, 1, '') "
        "ON CONFLICT (cluster) DO UPDATE SET incumbent = excluded.incumbent, incumbent_evaluation = excluded.incumbent_evaluation, "
        "floor_evaluation = excluded.floor_evaluation, revision = cluster_state.revision + 1, "
        "because = CASE WHEN ? THEN '' ELSE cluster_state.because END",
        [cluster, subject, evaluation, iteration.floor_evaluation, accepted],
    )
    versions.set_state(cursor, iteration.challenger, "accepted" if accepted else "rejected")
    reasons = " ".join(clause.sentence for clause in iteration.decision.clauses if clause.passed == accepted)
    append_event(cursor, seq=seq, at=at, kind=f"version_{iteration.decision.verdict}", subject=iteration.challenger, actor=run_id, reason=reasons)
    on_verdict(cursor, Verdict(run_id, cluster, iteration.challenger, accepted), at, seq)
    return {"incumbent": subject}


def refuse_other_incumbent(cluster: str, what: str, judged_against: str, stands: str) -> None:
    """Raises StateConflict where another incumbent stands than the one that a round is judged against."""
    if judged_against != stands:
        raise StateConflict(
            f"{what} was judged against {judged_against}, but the incumbent of {cluster} is {stands}",
            next_step="Start a new iterate run; it measures against what stands now.",
            cluster=cluster,
        )


# ---- within commands of later stages ---------------------------------------------------------------------------------------------------


def incumbent_of(cursor: Cursor, cluster: str) -> str:
    """What the loop goes on from."""
    rows = cursor.execute("SELECT incumbent FROM cluster_state WHERE cluster = ?", [cluster]).fetchall()
    return str(rows[0][0]) if rows else BASE


def accepted_versions(cursor: Cursor, cluster: str) -> list[str]:
    """The versions that rounds of a cluster have accepted, the newest acceptance first."""
    rows = cursor.execute(
        "SELECT challenger FROM iteration WHERE cluster = ? AND verdict = 'accept' ORDER BY created_at DESC, run_id DESC, iteration DESC", [cluster]
    ).fetchall()
    return [str(version) for (version,) in rows]


def set_incumbent(cursor: Cursor, cluster: str, version: str, *, at: str, seq: int, actor: str, because: str) -> None:
    """Lets the loop go on from `version` (or `base`) from here on, and says why. A round that was begun with another one is refused."""
    measured = cursor.execute(
        "SELECT json_extract_string(record, '$.challenger_evaluation') FROM iteration WHERE cluster = ? AND challenger = ? AND verdict = 'accept' "
        "ORDER BY created_at DESC, run_id DESC, iteration DESC LIMIT 1",
        [cluster, version],
    ).fetchall()
    before = incumbent_of(cursor, cluster)
    cursor.execute(
        "UPDATE cluster_state SET incumbent = ?, incumbent_evaluation = ?, revision = revision + 1, because = ? WHERE cluster = ?",
        [version, measured[0][0] if measured else None, because, cluster],
    )
    append_event(
        cursor, seq=seq, at=at, kind="incumbent_changed", subject=cluster, actor=actor, reason=because, data={"from": before, "to": version}
    )


def tables(on_verdict: VerdictHook) -> StageTables:
    """The loop's tables and its command, with what a later stage writes of each verdict."""
    return StageTables(migrations=_MIGRATIONS, reducers={"record_iteration": partial(_record_iteration, on_verdict)})


_MIGRATIONS = (
    Migration(
        "iterate-1",
        (
            "CREATE TABLE cluster_state (cluster VARCHAR PRIMARY KEY, incumbent VARCHAR NOT NULL, incumbent_evaluation VARCHAR, "
            "floor_evaluation VARCHAR, revision INTEGER NOT NULL)",
            "CREATE TABLE iteration (run_id VARCHAR, iteration INTEGER, cluster VARCHAR NOT NULL, challenger VARCHAR NOT NULL, "
            "verdict VARCHAR NOT NULL, record JSON NOT NULL, created_at VARCHAR NOT NULL, PRIMARY KEY (run_id, iteration))",
        ),
    ),
    Migration("iterate-2", ("ALTER TABLE cluster_state ADD COLUMN because VARCHAR DEFAULT ''",)),
)
