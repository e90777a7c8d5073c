"""The table of proposals: every draft that was staged, and what became of it.

Two commands. `stage_proposals` adds drafts that are not there yet; `decide_proposals` accepts or declines some, all or none. A decision can be
turned round later (an accepted scenario that turns out wrong is declined, and leaves the suite); each turn is an event with who and why. It is
refused when a proposal is no longer in the state in which whoever decides has seen it.

Drafts travel as text: the journal sorts keys, and the order of keys in an expected answer belongs to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import NotFound, StateConflict
from engine.evaluate.proposals.drafting import in_order
from engine.evaluate.proposals.types import Draft, Dropped, OriginRate, Proposal, ProposalState
from engine.store.database import Cursor
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import StageTables, Store

_COLUMNS = "draft, domain, cluster, evaluation_id, state, staged_at, decided_at, decided_by, reason"


def stage(
    store: Store, *, domain: str, cluster: str, evaluation_id: str, drafts: Sequence[Draft], dropped: Dropped, asked: dict[str, Any], key: str | None
) -> tuple[tuple[str, ...], Dropped]:
    """Stages drafts. Answers which were new, and what was dropped: on a key that comes again, as it was the first time."""
    arguments = {
        "domain": domain,
        "cluster": cluster,
        "evaluation_id": evaluation_id,
        "drafts": [draft.model_dump_json() for draft in drafts],
        "dropped": dropped.model_dump(mode="json"),
    }
    answer = store.submit("stage_proposals", arguments, key=key, asked=asked)
    return tuple(answer["staged"]), Dropped.model_validate(answer["dropped"])


def decide(store: Store, *, domain: str, seen: Mapping[str, ProposalState], state: ProposalState, by: str, reason: str) -> None:
    """Accepts or declines the proposals in `seen`, which holds the state that each was seen in."""
    store.submit("decide_proposals", {"domain": domain, "seen": dict(seen), "state": state, "by": by, "reason": reason})


def ingest_drafts(cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Stages what a teacher drafted; part of the command that finishes the run."""
    named = {name: output[name] for name in ("domain", "evaluation_id", "drafts", "dropped")}
    _stage(cursor, {**named, "cluster": cluster}, at, seq)


def _stage(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    staged: list[str] = []
    domain, cluster, evaluation_id = arguments["domain"], arguments["cluster"], arguments["evaluation_id"]
    for text in arguments["drafts"]:
        draft = Draft.model_validate_json(text)
        if cursor.execute("SELECT 1 FROM proposal WHERE domain = ? AND id = ?", [domain, draft.id]).fetchall():
            continue
        cursor.execute(
            "INSERT INTO proposal VALUES (?, ?, ?, ?, ?, ?, 'staged', ?, NULL, NULL, '', ?)",
            [domain, draft.id, draft.origin, text, cluster, evaluation_id, at, seq],
        )
        append_event(cursor, seq=seq, at=at, kind="proposal_staged", subject=draft.id, actor=cluster, reason=f"{draft.pattern}, {draft.origin}")
        staged.append(draft.id)
    return {"staged": staged, "dropped": arguments["dropped"]}


def _decide(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    domain, state, by, reason = arguments["domain"], arguments["state"], arguments["by"], arguments["reason"]
    for name, seen in sorted(arguments["seen"].items()):
        rows = cursor.execute("SELECT state FROM proposal WHERE domain = ? AND id = ?", [domain, name]).fetchall()
        now = rows[0][0] if rows else "absent"
        if now != seen:
            raise StateConflict(f"{name} is {now} by now, and was {seen} when this was asked", next_step="Look at it again, then decide.")
        cursor.execute(
            "UPDATE proposal SET state = ?, decided_at = ?, decided_by = ?, reason = ? WHERE domain = ? AND id = ?",
            [state, at, by, reason, domain, name],
        )
        append_event(cursor, seq=seq, at=at, kind=f"proposal_{state}", subject=name, actor=by, reason=reason)
    return {"state": state}


TABLES = StageTables(
    migrations=(
        Migration(
            "proposals-1",
            (
                "CREATE TABLE proposal (domain VARCHAR, id VARCHAR, origin VARCHAR NOT NULL, draft VARCHAR NOT NULL, cluster VARCHAR NOT NULL, "
                "evaluation_id VARCHAR NOT NULL, state VARCHAR NOT NULL, staged_at VARCHAR NOT NULL, decided_at VARCHAR, decided_by VARCHAR, "
                "reason VARCHAR NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (domain, id))",
            ),
        ),
    ),
    reducers={"stage_proposals": _stage, "decide_proposals": _decide},
)


# ---- reading ---------------------------------------------------------------------------------------------------------------------------


def proposals(store: Store, domain: str, states: Sequence[ProposalState] = ("staged", "accepted", "declined")) -> list[Proposal]:
    """A domain's proposals in these states, oldest first."""
    rows = store.read(f"SELECT {_COLUMNS} FROM proposal WHERE domain = ? AND list_contains(?, state) ORDER BY seq, id", [domain, list(states)])  # noqa: S608
    return [_proposal(row) for row in rows]


def named(store: Store, domain: str, ids: Sequence[str]) -> list[Proposal]:
    """These proposals, in the order of their ids. NotFound names one that is not there."""
    rows = store.read(f"SELECT {_COLUMNS} FROM proposal WHERE domain = ? AND list_contains(?, id) ORDER BY id", [domain, list(ids)])  # noqa: S608
    found = [_proposal(row) for row in rows]
    missing = sorted(set(ids) - {proposal.draft.id for proposal in found})
    if missing:
        raise NotFound(
            f"the domain {domain} has no proposal {missing[0][:80]!r}",
            next_step="propose_scenario with count 0 lists the staged ones.",
            missing=[name[:80] for name in missing[:5]],
        )
    return found


def domains(store: Store) -> list[str]:
    """Domains with a decided proposal."""
    return [domain for (domain,) in store.read("SELECT DISTINCT domain FROM proposal WHERE state <> 'staged' ORDER BY domain")]


def origin_rates(store: Store, domain: str) -> tuple[OriginRate, ...]:
    """What became of each origin's drafts."""
    counted = {
        (origin, state): count
        for origin, state, count in store.read("SELECT origin, state, count(*) FROM proposal WHERE domain = ? GROUP BY origin, state", [domain])
    }
    rates = []
    for origin in sorted({origin for origin, _ in counted}, key=in_order):
        staged, accepted, declined = (counted.get((origin, state), 0) for state in ("staged", "accepted", "declined"))
        rate = accepted / (accepted + declined) if accepted + declined else None
        rates.append(OriginRate(origin=origin, staged=staged, accepted=accepted, declined=declined, rate=rate))
    return tuple(rates)


def _proposal(row: tuple[Any, ...]) -> Proposal:
    draft, domain, cluster, evaluation_id, state, staged_at, decided_at, decided_by, reason = row
    return Proposal(
        draft=Draft.model_validate_json(draft),
        domain=domain,
        cluster=cluster,
        evaluation_id=evaluation_id,
        state=state,
        staged_at=staged_at,
        decided_at=decided_at,
        decided_by=decided_by,
        reason=reason,
    )
