"""REPORT.md: an escalation to be read, by the agent that answers it first and by the person it asks. Pure.

What users, models and programs wrote stands in fences that it cannot close, under a line that says that it is data. Everything else is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from engine.escalate.lifecycle import PAST, actions_from
from engine.escalate.redaction import MARK, bounded, fenced, inline
from engine.escalate.resolution import in_words
from engine.escalate.types import Escalation

EXCERPT_BYTES = 2000
EXCERPTS = 3


def report(escalation: Escalation, evidence: Mapping[str, str]) -> str:
    """The whole page. `evidence` holds its files, by name."""
    parts = (_head, _what, _known, _tried, _fix, _how)
    blocks = [*(part(escalation) for part in parts), _evidence(escalation, evidence)]
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block) + "\n"


def _head(escalation: Escalation) -> Iterator[str]:
    times = "once" if escalation.occurrences == 1 else f"{escalation.occurrences} times"
    yield f"# {escalation.id}: {inline(escalation.title)}"
    yield ""
    yield f"**{escalation.state}**, severity {escalation.severity}, seen {times} since {escalation.since}, last {escalation.last_seen}."
    if escalation.closed_because:
        yield f"Closed: {inline(escalation.closed_because)}"


def _what(escalation: Escalation) -> Iterator[str]:
    failure = escalation.failure
    facts = {"cluster": failure.cluster, "what": failure.what, "step": failure.step, "code": failure.code, "class": failure.failure_class}
    yield "## What failed"
    yield ""
    yield from (f"- {name}: {inline(str(value))}" for name, value in facts.items() if value)
    yield f"- seen in: {', '.join(inline(each.source) + (f' ({inline(each.words)})' if each.words else '') for each in escalation.latest)}"
    yield ""
    yield MARK
    yield fenced(bounded(failure.words, EXCERPT_BYTES))


def _known(escalation: Escalation) -> Iterator[str]:
    yield "## What is known"
    yield ""
    yield f"- nearest class: {escalation.class_guess}. {escalation.why_unmatched}"
    yield f"- what it stops: {escalation.blast_radius}"


def _tried(escalation: Escalation) -> Iterator[str]:
    if escalation.tried:
        yield "## What was tried"
        yield ""
        yield from (f"- {inline(each.what)}: {inline(each.result)}" for each in escalation.tried)


def _fix(escalation: Escalation) -> Iterator[str]:
    if escalation.fix is None:
        return
    fix = escalation.fix
    signed = f" Approved by {', '.join(map(inline, escalation.approved_by))}." if escalation.approved_by else ""
    asked = f" A person has to approve it: `modelsmith escalation approve {escalation.id} --key PATH`." if fix.governed and not signed else ""
    yield "## The fix"
    yield ""
    yield f"Proposed by {inline(fix.proposed_by)}: {inline(fix.reason)}.{asked}{signed}"
    yield ""
    yield MARK
    yield fenced(json.dumps(fix.change.model_dump(mode="json"), indent=1, ensure_ascii=False))


def _how(escalation: Escalation) -> Iterator[str]:
    governed = escalation.fix is not None and escalation.fix.governed
    now = ", ".join(PAST[action] for action in actions_from(escalation.state, governed=governed))
    yield "## What to do"
    yield ""
    yield f"To see it again: {inline(escalation.reproduction)}"
    yield ""
    yield f"It is closed when this passes: {inline(in_words(escalation.check))}"
    yield ""
    yield "Allowed without asking anybody:"
    yield from (f"- {action}" for action in escalation.allowed_actions)
    yield ""
    yield f"Asked of a person: {inline(escalation.question)}"
    yield ""
    yield f"From {escalation.state} it may be {now}: `resolve_escalation`."


def _evidence(escalation: Escalation, evidence: Mapping[str, str]) -> Iterator[str]:
    if not escalation.evidence:
        return
    yield "## Evidence"
    yield ""
    yield from (f"- `evidence/{each.name}`: {each.about} ({each.bytes} bytes, sha256 {each.sha256[:12]})" for each in escalation.evidence)
    for each in escalation.evidence[:EXCERPTS]:
        if each.name in evidence:
            yield ""
            yield f"`evidence/{each.name}`. {MARK}"
            yield fenced(bounded(evidence[each.name], EXCERPT_BYTES))
