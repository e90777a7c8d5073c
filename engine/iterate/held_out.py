"""What the loop does about its held-out set: where it stands, whether to rotate it, when to stop choosing by it, and what to say.

Pure deciding over records; the driver reads them and submits what follows. A rotation happens at the start of a run, after the domain is
compiled and before anything is measured, so that all of a run's comparisons are of one generation.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.config import Acceptance, Splits
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.grading import item_digest
from engine.evaluate.holdout import LEAST_RESERVE, state_of
from engine.evaluate.statistics import interval, value_of
from engine.evaluate.types import AnchorScore, HeldOutState, ItemResult, Scenario


def held_out_items(compiled: CompiledDomain) -> list[str]:
    """The held-out items by their digests."""
    return [item_digest(scenario.input) for scenario in compiled.of_split("held_out")]


def held_out_state(compiled: CompiledDomain, looks: int, exposed: int) -> HeldOutState:
    """Where the held-out set of a compiled domain stands, given what was asked about its items."""
    held_out = compiled.of_split("held_out")
    return state_of(
        compiled.domain.data.splits,
        generation=compiled.manifest.generation,
        sources=sources_of(held_out),
        looks=looks,
        exposed=exposed,
        reserve=compiled.manifest.scenarios["reserve"],
    )


def sources_of(scenarios: Sequence[Scenario]) -> int:
    """Independent sources; an item without one is its own."""
    return len({scenario.source or f"\0{scenario.id}" for scenario in scenarios})


def rotation_reason(state: HeldOutState) -> str | None:
    """Why the set should be rotated now; None when it is not spent or nothing is left to rotate in."""
    if not state.spent or state.reserve < LEAST_RESERVE:
        return None
    if state.looks >= state.budget:
        return f"{state.looks} of {state.budget} looks were used; the reserve takes over"
    return f"{state.exposed} of the held-out items had been core before; the reserve takes over"


def must_stop(splits: Splits, state: HeldOutState) -> bool:
    """Whether the loop may choose no further by this set."""
    return state.spent and splits.when_spent == "stop"


def anchor_score(
    acceptance: Acceptance, subject: str, anchor: Sequence[str], before: Sequence[ItemResult], after: Sequence[ItemResult]
) -> AnchorScore | None:
    """A subject's means on the anchor items, before and after a rotation; None when not all were answered both times."""
    wanted = set(anchor)
    found = [[result for result in results if result.scenario_id in wanted and result.outcome == "graded"] for results in (before, after)]
    if not wanted or any(len(results) != len(wanted) for results in found):
        return None
    one, other = (
        interval([value_of(result, acceptance.metric) for result in results], [result.source for result in results], confidence=acceptance.confidence)
        for results in found
    )
    return AnchorScore(subject=subject, before=one, after=other)


def held_out_notes(splits: Splits, state: HeldOutState, rotated: bool, anchors: Sequence[AnchorScore]) -> list[str]:
    """What to know of the held-out set, in sentences."""
    notes = [f"{state.looks} of {state.budget} looks at the held-out set are used (generation {state.generation}, {state.sources} sources)."]
    if rotated:
        notes.append("The held-out set was spent and has been rotated: the reserve took its place, and the old items are core now.")
    for anchor in anchors:
        notes.append(
            f"On the {anchor.before.n} items that stayed, {anchor.subject} scores {anchor.before.mean:.3f} before and {anchor.after.mean:.3f} "
            "after the rotation; other held-out figures before and after are of different items."
        )
    if state.exposed:
        notes.append(f"{state.exposed} held-out items had been core before an edit of the suite, so they may have been looked at.")
    left = f"too small a reserve ({state.reserve} items)" if state.reserve else "no reserve"
    if state.spent:
        if state.reserve >= LEAST_RESERVE:
            notes.append("The held-out set is spent: the next iterate run rotates the reserve in.")
        elif splits.when_spent == "stop":
            notes.append(
                f"The held-out set is spent and {left} is left, so nothing more is chosen by it. Add evaluation rows that nobody has looked at, "
                "or set data.splits.when_spent to go_on and read the figures with that in mind."
            )
        else:
            notes.append(
                f"The held-out set is spent and {left} is left; the domain says to go on. "
                f"The best score may be more than {state.error:g} too high."
            )
    return notes
