"""Tables of escalations: each as it stands, the runs that were looked into, and the signatures on fixes.

    escalation          one row for each signature, ever; `record` is its escalation.json
    escalation_source   the ended runs that were looked into, so that each is looked into once
    fix_approval        one row a person's signature on a fix, kept whole

This is the truth; the folders are written from it (`folder.py`), and again where a crash left one as it was before. What a run gave rise to is
recorded in one command with the run itself: after a crash the run is either looked into, with everything that was found in it, or not yet.

A command names the revision that whoever asks has seen, so that of two that race one is refused (StateConflict). Nothing here trusts a caller with
the rules of the lifecycle: each command takes its step from the table again. Whose signature counts is decided where signatures are verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import ApprovalNeeded, NotFound, StateConflict
from engine.escalate.lifecycle import CLOSED, FIRST, REOPENED, after_recurrence, step_of
from engine.escalate.overflow import overflow_opening
from engine.escalate.signature import escalation_id, signature_of
from engine.escalate.types import Action, Escalation, Failure, Fix, FixRequest, Occurrence, Opening, TaxonomyRule, Tried
from engine.promote.requests import is_complete, refuse_uncounted
from engine.promote.types import Approval
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import Cursor, StageTables, Store

LATEST = 10
TRIED = 20
MOST_OPEN = 20
"""Different failures that are kept apart at a time; what comes beyond them is counted in one escalation, until some are closed."""


# ---- commands ------------------------------------------------------------------------------------------------------------------------


def look_into(store: Store, source: str, found: Sequence[Opening]) -> list[str]:
    """Records an ended run as looked into, with the failures that were found in it; the ids of their escalations. Once for each run."""
    arguments = {"source": source, "found": [opening.model_dump(mode="json") for opening in found], "actor": "scan"}
    return list(store.submit("look_into_run", arguments, key=f"{source}/escalated", asked={"source": source})["escalations"])


def open_by_hand(store: Store, opening: Opening, actor: str) -> str:
    """Opens an escalation, or adds to the one that is there for the same failure; its id."""
    arguments = {"source": "", "found": [opening.model_dump(mode="json")], "actor": actor}
    (name,) = store.submit("look_into_run", arguments)["escalations"]
    return str(name)


def propose(store: Store, seen: Escalation, fix: Fix, request: FixRequest | None) -> Escalation:
    """Attaches a fix, with the request that people sign where they have to."""
    arguments = _seen(seen) | {"fix": fix.model_dump(mode="json"), "request": None if request is None else request.model_dump(mode="json")}
    return Escalation.model_validate(store.submit("propose_fix", arguments))


def approve(store: Store, seen: Escalation, approval: Approval, by: str) -> Escalation:
    """Takes in an approval whose signature was verified. `by` is who handed it in."""
    return Escalation.model_validate(store.submit("approve_fix", _seen(seen) | {"approval": approval.model_dump(mode="json"), "by": by}))


def take(store: Store, seen: Escalation, action: Action, *, actor: str, reason: str, key: str | None = None) -> Escalation:
    """Takes a step that is neither a proposal nor an approval."""
    arguments = _seen(seen) | {"action": action, "actor": actor, "reason": reason[:1000]}
    return Escalation.model_validate(store.submit("move_escalation", arguments, key=key))


def _seen(seen: Escalation) -> dict[str, Any]:
    return {"id": seen.id, "revision": seen.revision}


# ---- reducers ------------------------------------------------------------------------------------------------------------------------


def _look_into(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    source, actor = arguments["source"], arguments["actor"]
    if source:
        cursor.execute("INSERT INTO escalation_source VALUES (?, ?)", [source, seq])
    openings = [Opening.model_validate(each) for each in arguments["found"]]
    names = [_add(cursor, opening, source or actor, actor, at, seq) for opening in openings]
    return {"escalations": list(dict.fromkeys(names))}


def _add(cursor: Cursor, opening: Opening, source: str, actor: str, at: str, seq: int) -> str:
    """Opens the escalation of a failure, or adds a recurrence to it; beyond the budget, to the one that counts what came beyond it."""
    known = _find(cursor, opening.failure)
    if known is not None:
        return _recur(cursor, known, Occurrence(source=source, at=at), actor, seq)
    if opening.failure.kind == "overflow" or _open_count(cursor) < MOST_OPEN:
        return _open(cursor, opening, Occurrence(source=source, at=at), actor, seq)
    beyond = overflow_opening(MOST_OPEN)
    occurrence = Occurrence(source=source, at=at, words=opening.title)
    counted = _find(cursor, beyond.failure)
    return _open(cursor, beyond, occurrence, actor, seq) if counted is None else _recur(cursor, counted, occurrence, actor, seq)


def _open(cursor: Cursor, opening: Opening, occurrence: Occurrence, actor: str, seq: int) -> str:
    signature = signature_of(opening.failure)
    escalation = Escalation(
        **opening.model_dump(),
        id=escalation_id(signature),
        signature=signature,
        state=FIRST,
        revision=1,
        since=occurrence.at,
        last_seen=occurrence.at,
        occurrences=1,
        latest=(occurrence,),
    )
    cursor.execute(
        "INSERT INTO escalation VALUES (?, ?, ?, ?, ?, ?)",
        [escalation.id, signature, escalation.state, escalation.severity, escalation.model_dump_json(), seq],
    )
    _tell(cursor, escalation, "opened", actor, opening.title, occurrence.at, seq)
    return escalation.id


def _recur(cursor: Cursor, known: Escalation, occurrence: Occurrence, actor: str, seq: int) -> str:
    seen = known.model_copy(
        update={"last_seen": occurrence.at, "occurrences": known.occurrences + 1, "latest": (*known.latest, occurrence)[-LATEST:]}
    )
    state = after_recurrence(known.state)
    if state != known.state:
        seen = _without_fix(seen, "it was seen again").model_copy(update={"state": state, "revision": known.revision + 1, "closed_because": ""})
    _save(cursor, seen)
    _tell(cursor, seen, "recurred" if state == known.state else state, actor, occurrence.source, occurrence.at, seq)
    return seen.id


def _propose(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    known = _standing(cursor, arguments)
    fix = Fix.model_validate(arguments["fix"])
    request = None if arguments["request"] is None else FixRequest.model_validate(arguments["request"])
    step = step_of(known.state, "propose", governed=fix.governed, name=known.id)
    asked = None if request is None else (request.escalation, request.revision, request.fix)
    if asked != ((known.id, known.revision + 1, fix.digest) if fix.governed else None):
        raise StateConflict(f"the request does not ask for this fix of {known.id}", next_step="Propose the fix again.")
    after = known.model_copy(update={"state": step.target, "revision": known.revision + 1, "fix": fix, "request": request, "approved_by": ()})
    _save(cursor, after)
    _tell(cursor, after, step.target, fix.proposed_by, fix.reason, at, seq, change=fix.change.model_dump(mode="json"))
    return after.model_dump(mode="json")


def _approve(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    known = _standing(cursor, arguments)
    approval = Approval.model_validate(arguments["approval"])
    step = step_of(known.state, "approve", governed=known.fix is not None and known.fix.governed, name=known.id)
    if known.request is None:
        raise ApprovalNeeded(f"{known.id} asks nobody for a signature", next_step="Propose its fix again.")
    refuse_uncounted(known.request, _given(cursor, known.request.id), approval)
    cursor.execute(
        "INSERT INTO fix_approval VALUES (?, ?, ?, ?)", [approval.request, approval.approver, approval.model_dump_json(), seq]
    )
    given = _given(cursor, known.request.id)
    moved = {"state": step.target, "revision": known.revision + 1} if is_complete(known.request, given) else {}
    after = known.model_copy(update={"approved_by": tuple(each.approver for each in given), **moved})
    _save(cursor, after)
    _tell(cursor, after, "approved", approval.approver, f"handed in by {arguments['by']}", at, seq, key=approval.key, level=approval.level)
    return after.model_dump(mode="json")


def _move(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    known = _standing(cursor, arguments)
    action, reason = arguments["action"], arguments["reason"]
    step = step_of(known.state, action, governed=known.fix is not None and known.fix.governed, name=known.id)
    if step.by == "people" or action == "propose":
        raise ApprovalNeeded(f"{action} is not taken like this", next_step="A fix is proposed with what it is, and approved with a signature.")
    after = known.model_copy(update={"state": step.target, "revision": known.revision + 1})
    if step.target == REOPENED or action == "fail":
        after = _without_fix(after, reason).model_copy(update={"closed_because": ""})
    if step.target == CLOSED:
        after = after.model_copy(update={"closed_because": reason})
    if action == "apply" and after.fix is not None and isinstance(after.fix.change, TaxonomyRule):
        rule = after.fix.change
        cursor.execute("INSERT OR REPLACE INTO taxonomy_rule VALUES (?, ?, ?)", [rule.name, rule.model_dump_json(), seq])
    _save(cursor, after)
    _tell(cursor, after, "failed" if action == "fail" else step.target, arguments["actor"], reason, at, seq)
    return after.model_dump(mode="json")


# ---- parts of the reducers -----------------------------------------------------------------------------------------------------------


def _without_fix(known: Escalation, why: str) -> Escalation:
    """With its fix, where it has one, among what was tried."""
    if known.fix is None:
        what = "the resolution check, with nothing applied"
    else:
        what = f"a {known.fix.change.kind} change, proposed by {known.fix.proposed_by}: {known.fix.reason}"
    tried = (*known.tried, Tried(what=what, result=why))[-TRIED:]
    return known.model_copy(update={"tried": tried, "fix": None, "request": None, "approved_by": ()})


def _find(cursor: Cursor, failure: Failure) -> Escalation | None:
    return _read(cursor, escalation_id(signature_of(failure)))


def _read(cursor: Cursor, name: str) -> Escalation | None:
    rows = cursor.execute("SELECT record FROM escalation WHERE id = ?", [name]).fetchall()
    return Escalation.model_validate_json(rows[0][0]) if rows else None


def _standing(cursor: Cursor, arguments: dict[str, Any]) -> Escalation:
    """The escalation as whoever asks has seen it."""
    known = _read(cursor, arguments["id"])
    if known is None:
        raise unknown(arguments["id"])
    if known.revision != arguments["revision"]:
        raise StateConflict(
            f"{known.id} is {known.state} by now, and was moved since this was asked", next_step="Look at it again.", revision=known.revision
        )
    return known


def _given(cursor: Cursor, request: str) -> list[Approval]:
    rows = cursor.execute("SELECT record FROM fix_approval WHERE request = ? ORDER BY seq", [request]).fetchall()
    return [Approval.model_validate_json(record) for (record,) in rows]


def _open_count(cursor: Cursor) -> int:
    ((count,),) = cursor.execute("SELECT count(*) FROM escalation WHERE state <> ?", [CLOSED]).fetchall()
    return int(count)


def _save(cursor: Cursor, escalation: Escalation) -> None:
    cursor.execute(
        "UPDATE escalation SET state = ?, severity = ?, record = ? WHERE id = ?",
        [escalation.state, escalation.severity, escalation.model_dump_json(), escalation.id],
    )


def _tell(cursor: Cursor, escalation: Escalation, what: str, actor: str, reason: str, at: str, seq: int, **data: Any) -> None:
    facts = {"revision": escalation.revision, "occurrences": escalation.occurrences, **data}
    append_event(cursor, seq=seq, at=at, kind=f"escalation_{what}", subject=escalation.id, actor=actor, reason=reason, data=facts)


def unknown(name: str) -> NotFound:
    """There is no escalation of that id."""
    return NotFound(f"there is no escalation {name[:80]!r}", next_step="escalations lists those there are.", escalation=name[:80])


TABLES = StageTables(
    migrations=(
        Migration(
            "escalate-1",
            (
                "CREATE TABLE escalation (id VARCHAR PRIMARY KEY, signature VARCHAR NOT NULL, state VARCHAR NOT NULL, severity VARCHAR NOT NULL, "
                "record JSON NOT NULL, seq BIGINT NOT NULL)",
                "CREATE TABLE escalation_source (source VARCHAR PRIMARY KEY, seq BIGINT NOT NULL)",
                "CREATE TABLE fix_approval (request VARCHAR, approver VARCHAR, record JSON NOT NULL, seq BIGINT NOT NULL, "
                "PRIMARY KEY (request, approver))",
                "CREATE TABLE taxonomy_rule (name VARCHAR PRIMARY KEY, record JSON NOT NULL, seq BIGINT NOT NULL)",
            ),
        ),
    ),
    reducers={"look_into_run": _look_into, "propose_fix": _propose, "approve_fix": _approve, "move_escalation": _move},
)


# ---- reading -------------------------------------------------------------------------------------------------------------------------


def get(store: Store, name: str) -> Escalation:
    """An escalation as it stands. NotFound when there is none of that id."""
    rows = store.read("SELECT record FROM escalation WHERE id = ?", [name])
    if not rows:
        raise unknown(name)
    return Escalation.model_validate_json(rows[0][0])


def latest(store: Store, *, closed: bool = False, limit: int | None = None) -> list[Escalation]:
    """Escalations, the newest first; with `closed` also those that are."""
    bound = "" if limit is None else f" LIMIT {limit:d}"
    rows = store.read(f"SELECT record FROM escalation WHERE ? OR state <> ? ORDER BY seq DESC, id{bound}", [closed, CLOSED])  # noqa: S608
    return [Escalation.model_validate_json(record) for (record,) in rows]


def open_count(store: Store) -> int:
    """How many are not closed."""
    ((count,),) = store.read("SELECT count(*) FROM escalation WHERE state <> ?", [CLOSED])
    return int(count)


def not_looked_into(store: Store, sources: Sequence[str]) -> list[str]:
    """Of these runs, those that nobody has looked into yet, in their order."""
    known = {source for (source,) in store.read("SELECT source FROM escalation_source WHERE list_contains(?, source)", [list(sources)])}
    return [source for source in sources if source not in known]


def approvals(store: Store, request: str | None = None) -> list[Approval]:
    """Signatures on fixes, oldest first: all, or those of one request."""
    rows = store.read("SELECT record FROM fix_approval WHERE ? IS NULL OR request = ? ORDER BY seq", [request, request])
    return [Approval.model_validate_json(record) for (record,) in rows]


def rules(store: Store) -> list[TaxonomyRule]:
    """The rules that closed escalations have become, oldest first."""
    return [TaxonomyRule.model_validate_json(record) for (record,) in store.read("SELECT record FROM taxonomy_rule ORDER BY seq")]
