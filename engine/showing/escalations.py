"""Escalations as surfaces show them: what waits for an answer, and of one what is known and what may follow."""

from __future__ import annotations

from collections.abc import Sequence

from engine.escalate.lifecycle import actions_from
from engine.escalate.resolution import in_words
from engine.escalate.types import Action, Escalation
from engine.views import EscalationLine, EscalationPage, NextCall

TITLE = 160
WHY: dict[Action, str] = {
    "propose": "attach a fix: a typed change",
    "apply": "once the change is made",
    "verify": "make its resolution check",
    "close": "its check has passed",
}
"""Steps that are suggested; the others are taken by people, or for a reason of their own."""


def escalations_page(listed: Sequence[Escalation], total: int) -> EscalationPage:
    """A list, with the first that wants an answer."""
    first = next((each for each in listed if each.state != "closed"), None)
    following = () if first is None else (NextCall(tool="escalations", arguments={"escalation": first.id}, why="what is known of it"),)
    summary = f"{total} escalations are open." if total else "No escalation is open."
    return EscalationPage(summary=summary, next=following, escalations=tuple(map(escalation_line, listed)))


def escalation_page(escalation: Escalation, report: str, *, said: str = "", unmet: Sequence[str] = (), run_id: str | None = None) -> EscalationPage:
    """One escalation. `said` is what was just done to it, `unmet` what its check found otherwise."""
    request = escalation.request if escalation.state == "proposed" else None
    return EscalationPage(
        summary=said or f"{escalation.id} is {escalation.state}: it was seen {escalation.occurrences} times since {escalation.since}.",
        next=_following(escalation, run_id),
        escalations=(escalation_line(escalation),),
        report=report,
        question=escalation.question,
        reproduction=escalation.reproduction,
        check={**escalation.check.model_dump(mode="json"), "in_words": in_words(escalation.check)},
        unmet=tuple(unmet),
        run_id=run_id,
        change=None if escalation.fix is None else escalation.fix.change.model_dump(mode="json"),
        document=None if request is None else request.model_dump(mode="json"),
        how_to_sign=None if request is None else how_to_sign(escalation),
    )


def escalation_line(escalation: Escalation) -> EscalationLine:
    """An escalation in a list."""
    return EscalationLine(
        escalation=escalation.id,
        state=escalation.state,
        severity=escalation.severity,
        title=escalation.title[:TITLE],
        cluster=escalation.failure.cluster,
        occurrences=escalation.occurrences,
        last_seen=escalation.last_seen,
    )


def how_to_sign(escalation: Escalation) -> str:
    """The command that signs its fix, for people."""
    return f"modelsmith escalation approve {escalation.id} --key PATH"


def _following(escalation: Escalation, run_id: str | None) -> tuple[NextCall, ...]:
    if run_id is not None:
        return (NextCall(tool="run_status", arguments={"run_id": run_id, "wait_seconds": 50}, why="wait for the check, then verify again"),)
    governed = escalation.fix is not None and escalation.fix.governed
    offered = [action for action in actions_from(escalation.state, governed=governed) if action in WHY]
    return tuple(
        NextCall(tool="resolve_escalation", arguments={"escalation": escalation.id, "action": action}, why=WHY[action]) for action in offered
    )
