"""Tables of promotion: where each version stands, what waits for signatures, who gave them, and every transition that was taken.

    version_state       one row a version of a cluster; `revision` counts its transitions, and is what compare-and-set compares
    promotion_request   one row a request, with what became of it
    approval            one row a person's signature, kept whole
    transition          one row a transition, with its gate as it was found; nothing is ever taken out
    drill               one row a drill that went there and back, with the seconds of both ways

A command names the state and the revision that whoever asked has seen, and for the state that serves also the version that served then: of
promotions that race one is taken, and the others are refused with what stands (StateConflict). The transition, its row and its event are one
command, so a crash leaves the state before or after it. Nothing here trusts a caller with the rule that people sign: a transition by people is
taken by their last approval and by nothing else, and whatever enters the serving state must be one of those.

The version that answers is the one whose row `serves`; there is no second pointer that could say something else. A rollback takes it away and
gives it to one that people have signed for before, in one command.

With what serves the loop's incumbent changes, in the same command: it goes on from what people let answer, and never from a version that was taken
back. A drill, which goes back at once, changes nothing there, and neither do commands from before this rule: they do not say that they lead.

Verdicts of the loop come in through `ingest_verdict`, within the command that records the round; that command's event tells of them. Time is the
command's own, so a request that had expired when its approval was accepted is expired at every replay.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from engine.base.digests import sha256_hex
from engine.errors import ApprovalNeeded, FingerprintMismatch, NotFound, StateConflict
from engine.generate.types import FingerprintReport
from engine.iterate import records as loop
from engine.iterate.measure import BASE
from engine.iterate.records import Verdict
from engine.promote.chains import CANDIDATE, CHAINS, DEPRECATED, REJECTED, ROLLED_BACK, after_verdict, serves
from engine.promote.requests import (
    has_expired,
    is_complete,
    is_same_wish,
    refuse_moved,
    refuse_other_serving,
    refuse_spent,
    refuse_uncounted,
    takes_over,
)
from engine.promote.types import Approval, Check, Drill, PromotionRequest, State, StoredRequest, Transition, VersionState
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import Cursor, StageTables, Store

TAKEN_BACK = (ROLLED_BACK, REJECTED)
"""States of versions that the loop does not go on from."""
SHOWN_NAME = 96
"""Characters of a request's id in the log, when nobody knows that id."""


class Move(NamedTuple):
    """A transition about to be written."""

    cluster: str
    version: str
    chain: str
    source: State
    target: State
    revision: int
    """Before it."""
    actor: str
    request: str | None = None
    checks: tuple[dict[str, Any], ...] = ()
    reason: str = ""


# ---- commands --------------------------------------------------------------------------------------------------------------------------


def take(
    store: Store, standing: VersionState, transition: Transition, *, chain: str, actor: str, reason: str = "", checks: Sequence[Check] = ()
) -> VersionState:
    """Takes a transition that nobody has to sign, from where `standing` was seen."""
    arguments = {
        "cluster": standing.cluster,
        "version": standing.version,
        "revision": standing.revision,
        "chain": chain,
        "transition": transition.model_dump(mode="json"),
        "checks": [check.model_dump(mode="json") for check in checks],
        "actor": actor,
        "reason": reason,
        "leads": True,
    }
    return VersionState.model_validate(store.submit("take_transition", arguments))


def request(store: Store, wanted: PromotionRequest, transition: Transition, checks: Sequence[Check]) -> PromotionRequest:
    """The request that waits for this transition: `wanted`, or one that waits already for the same under the same rules."""
    arguments = {
        "wanted": wanted.model_dump(mode="json"),
        "transition": transition.model_dump(mode="json"),
        "checks": [check.model_dump(mode="json") for check in checks],
    }
    return PromotionRequest.model_validate(store.submit("request_promotion", arguments)["request"])


def approve(store: Store, approval: Approval, checks: Sequence[Check], by: str) -> VersionState:
    """Adds an approval whose signature was verified, and takes the transition when it is the last that was needed. `by` is who handed it in."""
    found = [check.model_dump(mode="json") for check in checks]
    arguments = {"approval": approval.model_dump(mode="json"), "checks": found, "by": by, "leads": True}
    return VersionState.model_validate(store.submit("approve_promotion", arguments))


def roll_back(
    store: Store, replaces: str, target: VersionState, proof: FingerprintReport | None, *, drill: bool, actor: str, reason: str
) -> VersionState:
    """Lets `target`, which has served before, serve in the place of `replaces` (empty where none serves). What is rolled back begins again below
    people's signatures; after a drill it may come back. `proof` says which weights answered just before; null where nothing is served here."""
    arguments = {
        "cluster": target.cluster,
        "version": target.version,
        "revision": target.revision,
        "replaces": replaces,
        "proof": None if proof is None else proof.model_dump(mode="json"),
        "drill": drill,
        "actor": actor,
        "reason": reason,
        "leads": not drill,
    }
    return VersionState.model_validate(store.submit("roll_back", arguments))


def record_drill(store: Store, cluster: str, drill: Drill, *, actor: str, reason: str) -> None:
    """Keeps how long a drill took that has ended. A command of its own: the way back is not over before its flip is on disk."""
    store.submit("record_drill", {"cluster": cluster, "drill": drill.model_dump(mode="json"), "actor": actor, "reason": reason})


def record_refusal(store: Store, request_id: str, *, by: str, code: str, reason: str, signature: str) -> None:
    """Keeps in the log that a signature was handed in and refused. Of the signature only the digest: it may be anything."""
    digest = sha256_hex(signature.encode(errors="replace"))
    store.submit(
        "refuse_approval", {"request": request_id[:SHOWN_NAME], "by": by, "code": code, "reason": reason[:500], "signature": digest}
    )


# ---- reducers --------------------------------------------------------------------------------------------------------------------------


def ingest_verdict(cursor: Cursor, verdict: Verdict, at: str, seq: int) -> None:
    """Moves a version as the loop judged it; part of the command that records the round."""
    standing = _standing(cursor, verdict.cluster, verdict.version)
    state = after_verdict(standing.state, verdict.accepted)
    if state == standing.state:
        return
    move = Move(
        cluster=verdict.cluster,
        version=verdict.version,
        chain="",
        source=standing.state,
        target=state,
        revision=standing.revision,
        actor=verdict.run_id,
    )
    _write(cursor, move, at, seq)


def _take(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    transition = Transition.model_validate(arguments["transition"])
    cluster, version = arguments["cluster"], arguments["version"]
    if transition.by != "agent" or transition.approvals or serves(arguments["chain"], transition.target):
        raise ApprovalNeeded(
            f"{version} goes from {transition.source} to {transition.target} by people's signatures, or by the loop, alone",
            next_step="promote makes the request that people sign.",
        )
    _refuse_closed(transition, arguments["checks"])
    standing = _standing(cursor, cluster, version)
    refuse_moved(standing, transition.source, arguments["revision"], _moved_by(cursor, standing))
    move = Move(
        cluster=cluster,
        version=version,
        chain=arguments["chain"],
        source=transition.source,
        target=transition.target,
        revision=standing.revision,
        actor=arguments["actor"],
        checks=tuple(arguments["checks"]),
        reason=arguments["reason"],
    )
    return _moved(cursor, move, at, seq, leads=arguments.get("leads", False))


def _request(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    transition = Transition.model_validate(arguments["transition"])
    wanted = PromotionRequest.model_validate(arguments["wanted"])
    _refuse_closed(transition, arguments["checks"])
    standing = _standing(cursor, wanted.cluster, wanted.version)
    refuse_moved(standing, wanted.source, wanted.revision, _moved_by(cursor, standing))
    if takes_over(wanted):
        refuse_other_serving(wanted.cluster, _serving(cursor, wanted.cluster), wanted.replaces)
    for earlier in _open_requests(cursor, wanted):
        if is_same_wish(earlier, wanted) and not has_expired(earlier, at):
            return {"request": earlier.model_dump(mode="json")}
        cursor.execute("UPDATE promotion_request SET outcome = 'replaced' WHERE id = ?", [earlier.id])
    cursor.execute(
        "INSERT INTO promotion_request (id, cluster, version, record, outcome, seq) VALUES (?, ?, ?, ?, NULL, ?)",
        [wanted.id, wanted.cluster, wanted.version, wanted.model_dump_json(), seq],
    )
    append_event(
        cursor, seq=seq, at=at, kind="promotion_requested", subject=wanted.id, actor=wanted.proposed_by,
        reason=f"{wanted.version} of {wanted.cluster}: {wanted.source} -> {wanted.target}",
        data={"evidence": wanted.evidence, "policy": wanted.policy, "checks": arguments["checks"]},
    )  # fmt: skip
    return {"request": wanted.model_dump(mode="json")}


def _approve(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    approval = Approval.model_validate(arguments["approval"])
    stored = _stored(cursor, approval.request)
    asked, standing = stored.request, _standing(cursor, stored.request.cluster, stored.request.version)
    refuse_spent(stored, at)
    refuse_moved(standing, asked.source, asked.revision, _moved_by(cursor, standing))
    if takes_over(asked):
        refuse_other_serving(asked.cluster, _serving(cursor, asked.cluster), asked.replaces)
    refuse_uncounted(asked, stored.approvals, approval)
    _refuse_failed(asked.source, asked.target, arguments["checks"])
    cursor.execute(
        "INSERT INTO approval (request, approver, record, seq) VALUES (?, ?, ?, ?)",
        [asked.id, approval.approver, approval.model_dump_json(), seq],
    )
    append_event(
        cursor, seq=seq, at=at, kind="promotion_approved", subject=asked.id, actor=approval.approver, reason=f"handed in by {arguments['by']}",
        data={"key": approval.key, "level": approval.level, "role": approval.role, "signature": sha256_hex(approval.signature.encode())},
    )  # fmt: skip
    given = (*stored.approvals, approval)
    if not is_complete(asked, given):
        return standing.model_dump(mode="json")
    cursor.execute("UPDATE promotion_request SET outcome = 'used' WHERE id = ?", [asked.id])
    names = ", ".join(each.approver for each in given)
    move = Move(
        cluster=asked.cluster,
        version=asked.version,
        chain=asked.chain,
        source=asked.source,
        target=asked.target,
        revision=asked.revision,
        actor=names,
        request=asked.id,
        checks=tuple(arguments["checks"]),
        reason=f"approved by {names}",
    )
    return _moved(cursor, move, at, seq, leads=arguments.get("leads", False))


def _roll_back(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    cluster, replaces = arguments["cluster"], arguments["replaces"]
    refuse_other_serving(cluster, _serving(cursor, cluster), replaces)
    standing = _standing(cursor, cluster, arguments["version"])
    refuse_moved(standing, DEPRECATED, arguments["revision"], _moved_by(cursor, standing))
    chain = CHAINS[standing.chain]
    _refuse_never_served(cursor, standing, chain.serving)
    if arguments["proof"] is not None and arguments["proof"]["verdict"] != "match":
        raise FingerprintMismatch(f"nothing proves that {standing.version} answers", next_step="Verify its files; what serves stays.")
    actor, reason = arguments["actor"], arguments["reason"]
    if replaces:
        before = _standing(cursor, cluster, replaces)
        state = DEPRECATED if arguments["drill"] else ROLLED_BACK
        _tell(cursor, Move(cluster, replaces, before.chain, before.state, state, before.revision, actor, reason=reason), at, seq)
    move = Move(cluster, standing.version, standing.chain, DEPRECATED, chain.serving, standing.revision, actor, reason=reason)
    _tell(cursor, move, at, seq)
    if arguments.get("leads"):
        _lead_the_loop(cursor, cluster, replaces, actor, at, seq)
    append_event(
        cursor, seq=seq, at=at, kind="serving_rolled_back", subject=cluster, actor=actor, reason=reason,
        data={"from": replaces, "to": standing.version, "proof": arguments["proof"], "drill": arguments["drill"]},
    )  # fmt: skip
    return _standing(cursor, cluster, standing.version).model_dump(mode="json")


def _record_drill(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    cursor.execute(
        "INSERT INTO drill (seq, cluster, record) VALUES (?, ?, ?)", [seq, arguments["cluster"], json.dumps(arguments["drill"], sort_keys=True)]
    )
    append_event(
        cursor, seq=seq, at=at, kind="rollback_drilled", subject=arguments["cluster"], actor=arguments["actor"], reason=arguments["reason"],
        data=arguments["drill"],
    )  # fmt: skip
    return {}


def _refuse_approval(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    append_event(
        cursor, seq=seq, at=at, kind="approval_refused", subject=arguments["request"], actor=arguments["by"], reason=arguments["reason"],
        data={"code": arguments["code"], "signature": arguments["signature"]},
    )  # fmt: skip
    return {}


# ---- parts of the reducers -------------------------------------------------------------------------------------------------------------


def _refuse_closed(transition: Transition, checks: Sequence[dict[str, Any]]) -> None:
    """The gate is judged where its measurements are read; what comes here must be all of it, and open."""
    missing = set(transition.checks) - {check["name"] for check in checks}
    _refuse_failed(transition.source, transition.target, [*checks, *({"name": name, "passed": False} for name in sorted(missing))])


def _refuse_failed(source: State, target: State, checks: Sequence[dict[str, Any]]) -> None:
    if closed := [check["name"] for check in checks if not check["passed"]]:
        raise StateConflict(f"the gate from {source} to {target} is closed: {', '.join(closed)}", next_step="promote says what would open it.")


def _moved(cursor: Cursor, move: Move, at: str, seq: int, *, leads: bool) -> dict[str, Any]:
    """Writes a transition with its event, and takes the version that served until now out of service when this one serves."""
    served = _serving(cursor, move.cluster)
    if serves(move.chain, move.target):
        for version, chain, state, revision in cursor.execute(
            "SELECT version, chain, state, revision FROM version_state WHERE cluster = ? AND serves AND version <> ? ORDER BY version",
            [move.cluster, move.version],
        ).fetchall():
            reason = f"{move.version} takes its place"
            _tell(cursor, Move(move.cluster, version, chain, state, DEPRECATED, revision, move.actor, move.request, reason=reason), at, seq)
    _tell(cursor, move, at, seq)
    if leads:
        _lead_the_loop(cursor, move.cluster, served, move.actor, at, seq)
    return _standing(cursor, move.cluster, move.version).model_dump(mode="json")


def _lead_the_loop(cursor: Cursor, cluster: str, served: str, actor: str, at: str, seq: int) -> None:
    """Gives the loop another incumbent where its own was just taken back, or served until now (`served`) and another version does instead."""
    incumbent, serving = loop.incumbent_of(cursor, cluster), _serving(cursor, cluster)
    state = _standing(cursor, cluster, incumbent).state
    replaced = incumbent == served and serving not in ("", served)
    if incumbent == BASE or not (replaced or state in TAKEN_BACK):
        return
    follows = serving if replaced else _newest_standing(cursor, cluster)
    which = "which serves" if replaced else "for no accepted version is left" if follows == BASE else "the newest accepted version that is left"
    because = f"The loop goes on from {follows}, {which}: {incumbent} is {state} since {at}."
    loop.set_incumbent(cursor, cluster, follows, at=at, seq=seq, actor=actor, because=because)


def _newest_standing(cursor: Cursor, cluster: str) -> str:
    """The version accepted last that nobody has taken back; the base where there is none."""
    accepted = loop.accepted_versions(cursor, cluster)
    return next((version for version in accepted if _standing(cursor, cluster, version).state not in TAKEN_BACK), BASE)


def _tell(cursor: Cursor, move: Move, at: str, seq: int) -> None:
    _write(cursor, move, at, seq)
    append_event(
        cursor, seq=seq, at=at, kind="version_moved", subject=move.version, actor=move.actor, reason=move.reason,
        data={"cluster": move.cluster, "chain": move.chain, "from": move.source, "to": move.target, "request": move.request},
    )  # fmt: skip


def _write(cursor: Cursor, move: Move, at: str, seq: int) -> None:
    cursor.execute(
        "INSERT INTO version_state (cluster, version, chain, state, revision, serves) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (cluster, version) "
        "DO UPDATE SET chain = excluded.chain, state = excluded.state, revision = excluded.revision, serves = excluded.serves",
        [move.cluster, move.version, move.chain, move.target, move.revision + 1, serves(move.chain, move.target)],
    )
    cursor.execute(
        "INSERT INTO transition (seq, cluster, version, chain, source, target, actor, request, checks, moved_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            seq, move.cluster, move.version, move.chain, move.source, move.target, move.actor, move.request,
            json.dumps(list(move.checks), sort_keys=True), at,
        ],
    )  # fmt: skip


def _refuse_never_served(cursor: Cursor, standing: VersionState, serving: State) -> None:
    """What a rollback brings back must have come to serve by a request that people signed, whatever state it is said to be in."""
    signed = "SELECT 1 FROM transition WHERE cluster = ? AND version = ? AND target = ? AND request IS NOT NULL"
    if not cursor.execute(signed, [standing.cluster, standing.version, serving]).fetchall():
        raise ApprovalNeeded(
            f"nobody has signed for {standing.version} to serve {standing.cluster}", next_step="promote makes the request that people sign."
        )


def _standing(cursor: Cursor, cluster: str, version: str) -> VersionState:
    """Where a version stands; at the beginning of every chain when nothing has moved it."""
    rows = cursor.execute("SELECT chain, state, revision FROM version_state WHERE cluster = ? AND version = ?", [cluster, version]).fetchall()
    return _version_state(cluster, version, *rows[0]) if rows else _version_state(cluster, version, "", CANDIDATE, 0)


def _version_state(cluster: str, version: str, chain: str, state: str, revision: int) -> VersionState:
    return VersionState(cluster=cluster, version=version, chain=chain, state=state, revision=revision)


def _moved_by(cursor: Cursor, standing: VersionState) -> str:
    rows = cursor.execute(
        "SELECT actor, moved_at FROM transition WHERE cluster = ? AND version = ? ORDER BY seq DESC LIMIT 1", [standing.cluster, standing.version]
    ).fetchall()
    return f"moved by {rows[0][0]} at {rows[0][1]}" if rows else "nobody has moved it"


def _serving(cursor: Cursor, cluster: str) -> str:
    rows = cursor.execute("SELECT version FROM version_state WHERE cluster = ? AND serves", [cluster]).fetchall()
    return str(rows[0][0]) if rows else ""


def _open_requests(cursor: Cursor, wanted: PromotionRequest) -> list[PromotionRequest]:
    """Requests of the version for the same target that were neither used nor replaced, oldest first."""
    rows = cursor.execute(
        "SELECT record FROM promotion_request WHERE cluster = ? AND version = ? AND outcome IS NULL ORDER BY seq", [wanted.cluster, wanted.version]
    ).fetchall()
    found = [PromotionRequest.model_validate_json(record) for (record,) in rows]
    return [each for each in found if each.target == wanted.target]


def _stored(cursor: Cursor, request_id: str) -> StoredRequest:
    rows = cursor.execute("SELECT record, outcome FROM promotion_request WHERE id = ?", [request_id]).fetchall()
    if not rows:
        raise _unknown(request_id)
    approvals = cursor.execute("SELECT record FROM approval WHERE request = ? ORDER BY seq", [request_id]).fetchall()
    return _request_of(rows[0][0], rows[0][1], [record for (record,) in approvals])


def _request_of(record: str, outcome: Any, approvals: Sequence[str]) -> StoredRequest:
    return StoredRequest(
        request=PromotionRequest.model_validate_json(record),
        outcome=outcome,
        approvals=tuple(Approval.model_validate_json(approval) for approval in approvals),
    )


def _unknown(request_id: str) -> NotFound:
    return NotFound(
        f"there is no promotion request {request_id[:80]!r}", next_step="approvals lists those there are.", request=request_id[:80]
    )


# A version that the loop judged before these tables were there stands where replaying its rounds leads it (`after_verdict`): at its first verdict,
# or at its first acceptance when that came later.
_JUDGED_BEFORE = (
    "INSERT INTO transition SELECT seq, cluster, challenger, '', CASE WHEN number = 1 THEN 'candidate' ELSE 'rejected' END, "
    "CASE WHEN verdict = 'accept' THEN 'eval-accepted' ELSE 'rejected' END, run_id, NULL, '[]', created_at FROM (SELECT i.*, c.seq, "
    "row_number() OVER judged AS number, count(*) FILTER (verdict = 'accept') OVER judged AS accepted FROM iteration i "
    "JOIN command c ON c.key = i.run_id || '/' || i.iteration || '.record' WINDOW judged AS (PARTITION BY i.cluster, i.challenger ORDER BY c.seq)) "
    "WHERE number = 1 OR (verdict = 'accept' AND accepted = 1)"
)

TABLES = StageTables(
    migrations=(
        Migration(
            "promote-1",
            (
                "CREATE TABLE version_state (cluster VARCHAR, version VARCHAR, chain VARCHAR NOT NULL, state VARCHAR NOT NULL, "
                "revision INTEGER NOT NULL, serves BOOLEAN NOT NULL, PRIMARY KEY (cluster, version))",
                "CREATE TABLE promotion_request (id VARCHAR PRIMARY KEY, cluster VARCHAR NOT NULL, version VARCHAR NOT NULL, record JSON NOT NULL, "
                "outcome VARCHAR, seq BIGINT NOT NULL)",
                "CREATE TABLE approval (request VARCHAR, approver VARCHAR, record JSON NOT NULL, seq BIGINT NOT NULL, "
                "PRIMARY KEY (request, approver))",
                "CREATE TABLE transition (seq BIGINT, cluster VARCHAR, version VARCHAR, chain VARCHAR NOT NULL, source VARCHAR NOT NULL, "
                "target VARCHAR NOT NULL, actor VARCHAR NOT NULL, request VARCHAR, checks JSON NOT NULL, moved_at VARCHAR NOT NULL, "
                "PRIMARY KEY (seq, cluster, version))",
                _JUDGED_BEFORE,
                "INSERT INTO version_state SELECT cluster, version, '', arg_max(target, seq), count(*), false FROM transition "
                "GROUP BY cluster, version",
            ),
        ),
        Migration("promote-2", ("CREATE TABLE drill (seq BIGINT PRIMARY KEY, cluster VARCHAR NOT NULL, record JSON NOT NULL)",)),
    ),
    reducers={
        "take_transition": _take,
        "request_promotion": _request,
        "approve_promotion": _approve,
        "refuse_approval": _refuse_approval,
        "roll_back": _roll_back,
        "record_drill": _record_drill,
    },
)


# ---- reading ---------------------------------------------------------------------------------------------------------------------------


def state_of(store: Store, cluster: str, version: str) -> VersionState:
    """Where a version of a cluster stands; a candidate when nothing has moved it."""
    rows = store.read("SELECT chain, state, revision FROM version_state WHERE cluster = ? AND version = ?", [cluster, version])
    return _version_state(cluster, version, *rows[0]) if rows else _version_state(cluster, version, "", CANDIDATE, 0)


def serving(store: Store) -> dict[str, str]:
    """By cluster, the version that serves, where one does."""
    return dict(store.read("SELECT cluster, version FROM version_state WHERE serves"))


def rolled_back_since(store: Store, cluster: str, version: str) -> str:
    """When a version was rolled back that is rolled back now; empty for any other."""
    rows = store.read(
        "SELECT max(moved_at) FROM version_state s JOIN transition t USING (cluster, version) "
        "WHERE cluster = ? AND version = ? AND s.state = ? AND t.target = s.state",
        [cluster, version, ROLLED_BACK],
    )
    return str(rows[0][0] or "")


def served_before(store: Store, cluster: str) -> list[VersionState]:
    """The versions of a cluster that a rollback may bring back, the one that served last first."""
    rows = store.read(
        "SELECT version, s.chain, s.state, s.revision FROM version_state s JOIN transition t USING (cluster, version) "
        "WHERE cluster = ? AND s.state = ? AND t.target = s.state GROUP BY ALL ORDER BY max(t.seq) DESC, version",
        [cluster, DEPRECATED],
    )
    return [_version_state(cluster, *row) for row in rows]


def serving_since(store: Store, cluster: str, version: str) -> str:
    """When a version that serves came to serve."""
    state = state_of(store, cluster, version).state
    rows = store.read("SELECT max(moved_at) FROM transition WHERE cluster = ? AND version = ? AND target = ?", [cluster, version, state])
    return str(rows[0][0])


def last_drill(store: Store, cluster: str) -> Drill | None:
    """The newest drill of a cluster in which both versions were proved to answer; None where none was. (Of what is served elsewhere, a drill moves
    a name, and its seconds say nothing.)"""
    rows = store.read("SELECT record FROM drill WHERE cluster = ? ORDER BY seq DESC", [cluster])
    return next((drill for (record,) in rows if (drill := Drill.model_validate_json(record)).proved), None)


def approvals(store: Store) -> list[Approval]:
    """Every approval that was given, oldest first."""
    return [Approval.model_validate_json(record) for (record,) in store.read("SELECT record FROM approval ORDER BY seq")]


def used_requests(store: Store, cluster: str, version: str) -> list[StoredRequest]:
    """The requests by which people have moved a version, oldest first, each with its approvals."""
    found = _requests(store, "r.cluster = ? AND r.version = ? AND r.outcome = 'used'", [cluster, version])
    return [each.stored for each in reversed(found)]


class RequestNow(NamedTuple):
    """A request with where its version stands now."""

    stored: StoredRequest
    standing: VersionState


def stored_request(store: Store, request_id: str) -> RequestNow:
    """A request with its approvals. NotFound when there is none of that id."""
    found = _requests(store, "r.id = ?", [request_id], 1)
    if not found:
        raise _unknown(request_id)
    return found[0]


def requests(store: Store, clusters: Collection[str], *, open_only: bool, limit: int) -> list[RequestNow]:
    """The newest requests of these clusters; with `open_only`, those that were neither used nor replaced."""
    return _requests(store, "list_contains(?, r.cluster)" + (" AND r.outcome IS NULL" if open_only else ""), [sorted(clusters)], limit)


def _requests(store: Store, where: str, parameters: list[Any], limit: int | None = None) -> list[RequestNow]:
    columns = "r.id, r.record, r.outcome, r.cluster, r.version, coalesce(s.chain, ''), coalesce(s.state, ?), coalesce(s.revision, 0)"
    joined = "promotion_request r LEFT JOIN version_state s ON s.cluster = r.cluster AND s.version = r.version"
    bound = "" if limit is None else f" LIMIT {limit:d}"
    rows = store.read(f"SELECT {columns} FROM {joined} WHERE {where} ORDER BY r.seq DESC{bound}", [CANDIDATE, *parameters])  # noqa: S608
    given: dict[str, list[str]] = {row[0]: [] for row in rows}
    for name, record in store.read("SELECT request, record FROM approval WHERE list_contains(?, request) ORDER BY seq", [sorted(given)]):
        given[name].append(record)
    return [RequestNow(_request_of(record, outcome, given[name]), _version_state(*stood)) for name, record, outcome, *stood in rows]
