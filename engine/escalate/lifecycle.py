"""From open to closed, as a table: what is not in it is refused. Pure.

    open -> proposed -> applied -> verified -> closed            a fix that nobody has to approve
    open -> proposed -> approved -> applied -> verified -> closed     one that touches what people decided
    anything past open -> reopened -> proposed -> ...            it came back, the check failed, or somebody says so

An agent may propose, apply, verify, close and reopen. It may not approve: that edge is taken by a person's signature alone. Nothing is verified
but by its resolution check, and nothing is closed that was not verified. A failure that mended itself is verified from open: its check passes.

A recurrence adds to the escalation as it stands; one that was verified or closed is reopened, because what mended it did not last.

`flaws` says what is wrong with a table, and a table with a flaw does not load.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from engine.base.record import Record
from engine.errors import ApprovalNeeded, StateConflict
from engine.escalate.types import Action, State

By = Literal["anybody", "people", "check", "scan"]
"""Who may take a step: anybody (an agent included), people by signature, the resolution check, or the scan that found it again."""
Needs = Literal["", "free", "governed"]
"""Which fix it needs: any or none, one that nobody has to approve, or one that people have to."""


class Step(Record):
    """One edge of the lifecycle."""

    action: Action
    source: State
    target: State
    by: By = "anybody"
    fix: Needs = ""


FIRST: State = "open"
CLOSED: State = "closed"
APPROVED: State = "approved"
APPLIED: State = "applied"
VERIFIED: State = "verified"
REOPENED: State = "reopened"

LIFECYCLE: tuple[Step, ...] = (
    Step(action="propose", source="open", target="proposed"),
    Step(action="propose", source="reopened", target="proposed"),
    Step(action="approve", source="proposed", target="approved", by="people", fix="governed"),
    Step(action="apply", source="proposed", target="applied", fix="free"),
    Step(action="apply", source="approved", target="applied", fix="governed"),
    Step(action="verify", source="open", target="verified", by="check"),
    Step(action="verify", source="reopened", target="verified", by="check"),
    Step(action="verify", source="applied", target="verified", by="check"),
    Step(action="fail", source="open", target="open", by="check"),
    Step(action="fail", source="reopened", target="reopened", by="check"),
    Step(action="fail", source="applied", target="reopened", by="check"),
    Step(action="close", source="verified", target="closed"),
    Step(action="reopen", source="proposed", target="reopened"),
    Step(action="reopen", source="approved", target="reopened"),
    Step(action="reopen", source="applied", target="reopened"),
    Step(action="reopen", source="verified", target="reopened"),
    Step(action="reopen", source="closed", target="reopened"),
    Step(action="recur", source="verified", target="reopened", by="scan"),
    Step(action="recur", source="closed", target="reopened", by="scan"),
)
"""Stores hold the names of states: the table may gain, and never renames."""


def step_of(state: State, action: Action, *, governed: bool, name: str) -> Step:
    """The edge of that action out of `state`, for a fix that is governed or not. ApprovalNeeded where people have to sign first, StateConflict
    where there is none."""
    found = [step for step in leaving(state) if step.action == action]
    fitting = [step for step in found if step.fix in ("", "governed" if governed else "free")]
    if fitting:
        return fitting[0]
    if found and governed:
        raise ApprovalNeeded(
            f"the fix of {name} touches what people decide, and none of them has approved it",
            next_step=f"Somebody in the approver list runs `modelsmith escalation approve {name} --key PATH`.",
        )
    offered = actions_from(state, governed=governed)
    raise StateConflict(
        f"{name} is {state}: it cannot be {PAST[action]} now",
        next_step=f"From {state} it may be {', '.join(PAST[each] for each in offered)}.",
        state=state,
        allowed=offered,
    )


PAST: dict[Action, str] = {
    "propose": "given a fix",
    "approve": "approved",
    "apply": "applied",
    "verify": "verified",
    "fail": "found to fail",
    "close": "closed",
    "reopen": "reopened",
    "recur": "seen again",
}
"""Each action as it is said of an escalation."""


def leaving(state: State) -> tuple[Step, ...]:
    """The edges out of a state, in the table's order."""
    return tuple(step for step in LIFECYCLE if step.source == state)


def actions_from(state: State, *, governed: bool) -> list[Action]:
    """What may be asked for from a state, in the table's order: not what the check or the scan does by itself."""
    fits = ("", "governed" if governed else "free")
    return list(dict.fromkeys(step.action for step in leaving(state) if step.fix in fits and step.action not in ("fail", "recur")))


def after_recurrence(state: State) -> State:
    """Where an escalation stands after its failure was seen again."""
    return next((step.target for step in leaving(state) if step.action == "recur"), state)


def flaws(table: Sequence[Step]) -> tuple[str, ...]:
    """What is wrong with a table, in sentences; empty when it may be used."""
    return (*_doubled(table), *_unsigned(table), *_unverified(table), *_stuck(table))


def _doubled(table: Sequence[Step]) -> Iterable[str]:
    edges = [(step.action, step.source, step.fix) for step in table]
    for action, source, fix in dict.fromkeys(edge for edge in edges if edges.count(edge) > 1):
        yield f"{action} out of {source} stands twice{f' for a fix that is {fix}' if fix else ''}"


def _unsigned(table: Sequence[Step]) -> Iterable[str]:
    """A governed fix is applied from the approved state alone, into which nothing leads but people."""
    for step in table:
        if step.action == "apply" and step.fix != "free" and step.source != APPROVED:
            yield f"a governed fix is applied from {step.source}"
        if (step.target == APPROVED) != (step.by == "people"):
            yield f"{step.source} -> {step.target} is taken by {step.by}"
        if step.target == APPLIED and step.action != "apply":
            yield f"{step.action} leads to {APPLIED}"


def _unverified(table: Sequence[Step]) -> Iterable[str]:
    """Into closed leads only verified, and into that only the check."""
    for step in table:
        if step.target == CLOSED and step.source != VERIFIED:
            yield f"{step.source} is closed without its check"
        if step.target == VERIFIED and step.by != "check":
            yield f"{step.source} is verified by {step.by}"


def _stuck(table: Sequence[Step]) -> Iterable[str]:
    for state in dict.fromkeys(end for step in table for end in (step.source, step.target)):
        if CLOSED not in _reached(state, table):
            yield f"nothing leads from {state} to {CLOSED}"


def _reached(state: State, table: Sequence[Step]) -> set[State]:
    reached: set[State] = {state}
    while more := {step.target for step in table if step.source in reached} - reached:
        reached |= more
    return reached


if found := flaws(LIFECYCLE):
    raise ValueError(f"the lifecycle of escalations cannot be used: {'; '.join(found)}")
