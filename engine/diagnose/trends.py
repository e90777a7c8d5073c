"""Patterns over the rounds of a cluster: what was fixed, what came back, what never moved. Pure.

A series has one count before the first round, then one for each round's challenger, accepted or not: it shows what training does to a pattern.
What answers now may be an earlier version; the ledger says which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

from engine.diagnose.facts import Round, was_aimed
from engine.diagnose.taxonomy import class_of, pattern_id, pattern_name, telling_observation
from engine.diagnose.types import Trend
from engine.evaluate.types import ItemResult

NOTED = 2
"""Patterns that never had as many items are left out: single items come and go."""

Verdict = Literal["fixed", "came_back", "never_moved", "less", "more", "new"]
_ORDER: tuple[Verdict, ...] = ("came_back", "never_moved", "new", "more", "less", "fixed")


def trends(rounds: Sequence[Round]) -> tuple[Trend, ...]:
    """Every pattern of these rounds (oldest first), those that need attention first."""
    if not rounds:
        return ()
    counts = [observed(results) for results in _series(rounds)]
    found = []
    for kind, detail in sorted({pair for count in counts for pair in count}):
        items = tuple(count[kind, detail] for count in counts)
        if max(items) >= NOTED:
            found.append(
                Trend(
                    pattern=pattern_id(kind, detail),
                    name=pattern_name(kind, detail),
                    failure_class=class_of(kind),
                    items=items,
                    aimed_rounds=sum(was_aimed(each.aimed, kind, detail) for each in rounds),
                    verdict=verdict(items),
                )
            )
    return tuple(sorted(found, key=lambda trend: (_ORDER.index(trend.verdict), -trend.items[-1], -max(trend.items), trend.pattern)))


def verdict(items: Sequence[int]) -> Verdict:
    """One series in a word. Fixed: none left. New: none at first. Came back: after falling to half of the start or less it rose to more than
    half again. Never moved: no count differs from the start by a fifth of it or more (at least one item)."""
    first, last = items[0], items[-1]
    if last == 0:
        return "fixed"
    if first == 0:
        return "new"
    if any(2 * count <= first for count in items[1:-1]) and 2 * last > first:
        return "came_back"
    if all(abs(count - first) < max(1.0, first / 5) for count in items):
        return "never_moved"
    return "less" if last < first else "more"


def trend_of(rounds: Sequence[Round], kind: str, detail: str, members: Collection[str], *, by_observation: bool) -> tuple[int, ...]:
    """Items of one pattern per round: those that show its observation; for a group that is more than an observation, those of its members
    that fail."""
    if by_observation:
        return tuple(observed(results)[kind, detail] for results in _series(rounds))
    wanted = set(members)
    return tuple(
        sum(result.outcome == "graded" and not result.passed and result.scenario_id in wanted for result in results) for results in _series(rounds)
    )


def observed(results: Sequence[ItemResult]) -> Counter[tuple[str, str]]:
    """How many failed items show each telling observation."""
    return Counter(telling_observation(result) for result in results if result.outcome == "graded" and not result.passed)


def _series(rounds: Sequence[Round]) -> list[Sequence[ItemResult]]:
    return [rounds[0].before, *(each.after for each in rounds)] if rounds else []
