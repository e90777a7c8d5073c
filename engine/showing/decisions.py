"""The decision history as people and agents read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.atlas.records import DecisionRecord
from engine.views import NextCall
from engine.views.atlas import DecisionHistory, DecisionLine, DecisionNote, Difference

MOST_DIFFERENCES = 30
LONGEST = 160
"""Characters of a text that a difference shows."""
NOW = "now"
UNSAID = frozenset({"next", "assumptions", "reasons"})
"""Parts of an answer that explain its figures: what differs in them differs in those."""


def decision_line(kept: DecisionRecord) -> DecisionLine:
    """One of them in a list."""
    notes = tuple(DecisionNote(by=each.by, at=each.at, note=each.text) for each in kept.notes)
    said = str(kept.answer.get("summary", ""))
    return DecisionLine(decision=kept.id, question=kept.question, arguments=kept.arguments, said=said, by=kept.by, at=kept.at, notes=notes)


def recorded(kept: DecisionRecord) -> DecisionHistory:
    """What was just kept."""
    arguments = {"decision": kept.id}
    return DecisionHistory(
        summary=f"{kept.id} keeps what {kept.question} answered: {kept.answer.get('summary', '')}",
        next=(NextCall(tool="decision_history", arguments=arguments, why="whether it would be answered the same now"),),
        decisions=(decision_line(kept),),
    )


def history_page(found: Sequence[DecisionRecord], total: int, next_cursor: str | None) -> DecisionHistory:
    """A page of them."""
    words = "Nothing was kept yet: record_decision keeps an answer." if total == 0 else f"{total} kept, newest first."
    why = "the newest in full, and what differs now"
    following = [NextCall(tool="decision_history", arguments={"decision": each.id}, why=why) for each in found[:1]]
    return DecisionHistory(
        summary=words, next=tuple(following), decisions=tuple(map(decision_line, found)), total=total, next_cursor=next_cursor
    )


def decision_page(kept: DecisionRecord, now: Mapping[str, Any] | None, other: DecisionRecord | None) -> DecisionHistory:
    """One in full; held against another one, or against what the same question is answered `now`."""
    if other is not None:
        against, found = other.id, differences(_asked_and_answered(kept), _asked_and_answered(other))
    else:
        against, found = NOW, [] if now is None else differences(kept.answer, now)
    if other is None and now is None:
        words = "It cannot be asked again now."
    elif not found:
        words = f"It does not differ from {against}." if other else "It would be answered the same now."
    else:
        words = f"{len(found)} figures differ {'from ' + against if other else 'now'}."
    return DecisionHistory(
        summary=f"{kept.id}, {kept.question} at {kept.at}: {kept.answer.get('summary', '')} {words}",
        decisions=tuple(map(decision_line, (kept,) if other is None else (kept, other))),
        answer=kept.answer if other is None else None,
        differs_from=against,
        differences=tuple(found[:MOST_DIFFERENCES]),
        more_differences=max(0, len(found) - MOST_DIFFERENCES),
    )


def _asked_and_answered(kept: DecisionRecord) -> dict[str, Any]:
    return {"asked": kept.arguments, **kept.answer}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Where two documents differ, leaf by leaf, in the order of the first."""
    flat = [dict(_leaves(each, "")) for each in (before, after)]
    places = list(dict.fromkeys([*flat[0], *flat[1]]))
    return [
        Difference(place=place, before=_short(flat[0].get(place)), after=_short(flat[1].get(place)))
        for place in places
        if flat[0].get(place) != flat[1].get(place)
    ]


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if place or name not in UNSAID:
                yield from _leaves(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _leaves(item, f"{place}.{at}")
    else:
        yield place, value


def _short(value: Any) -> Any:
    return f"{value[:LONGEST]}..." if isinstance(value, str) and len(value) > LONGEST else value
