"""How much a held-out set bears: the leakage budget, what a challenger's score may be reported as, and when the set is spent.

Every answer about held-out that somebody can act on teaches something about its items, and choosing by such answers makes the best score look
better than it is. After k answers an analyst who uses each to choose the next question can win by chance about c sqrt(k/n) with n items
(Dwork et al., "The reusable holdout", Science 2015). Two things hold that down:

- the ladder (Blum & Hardt, "The Ladder", ICML 2015): a challenger's held-out score is said only when it lies more than a step above the best
  said so far; otherwise the answer is that it does not. A score rounded to any fixed grid would not do: an analyst who sits at a border of
  the grid reads a bit from every answer.
- a budget: after so many answers the set is spent, and items that nobody has asked about take its place.

The step is one standard error of a mean of values in [0, 1] at its widest, 1/(2 sqrt(n)), rounded up to whole hundredths so that it can be read.
(The paper's parameter-free form takes s/sqrt(n) with the spread s that was seen; its proven one, (log(k n)/n)^(1/3), would be 0.3 for 300 items.)

The budget is the k for which GAIN sqrt(k/n) is the stated error: the half width of the score's own 95% interval, or 0.05 where that is less.
So a score that was chosen is at most as far off as chance alone allows it to be. GAIN = 0.19 is the largest mean overstatement, in units of
sqrt(k/n), of an analyst who climbs (keeps what was answered as better, changes a share of the items, asks again) against this ladder, over
shares from 0.1 to 1, n = 100 and 300, k = 15 to 80 (`tests/evaluate/test_holdout.py` repeats it); without the ladder it is 0.29. The bound that
holds against every analyst (ln of the possible transcripts, divided by 2n) is vacuous at these sizes: it would allow no look at 300 items. An
analyst cleverer than the climber could therefore gain more than is stated.

n counts sources, as every interval does. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from engine.config import Splits
from engine.evaluate.types import HeldOutState, Look, Reported

GAIN = 0.19
"""Mean overstatement of the best score after k looks at n sources through the ladder, in units of sqrt(k/n); measured, see above."""
HALF_WIDTH = 1.96 * 0.5
"""Of a score's 95% interval at its widest, times sqrt(n)."""
LEAST_ERROR = 0.05
ANCHOR_SHARE = 0.25
"""Of the old held-out items, how many stay at a rotation; and at most this share of the new ones, whatever the reserve holds."""

LEAST_RESERVE = 20
"""A reserve of fewer items is not rotated in: a set of so few decides nothing."""


def stated_error(sources: int) -> float:
    """How far the best score may lie above the truth, on average, because of the looks that the budget allows."""
    return max(LEAST_ERROR, HALF_WIDTH / math.sqrt(sources)) if sources else 1.0


def looks_borne(sources: int) -> int:
    """The looks that a set of so many sources bears at its stated error; at least 26, and 7 for every 100 sources of a large set."""
    return math.floor(sources * (stated_error(sources) / GAIN) ** 2)


def ladder_step(sources: int) -> float:
    """How far above the best reported score a challenger must lie before its own is said."""
    return max(1, math.ceil(50 / math.sqrt(sources) - 1e-9)) / 100 if sources else 1.0


def is_reported(score: float, best: float | None, step: float) -> bool:
    """Whether a challenger's score is said: it is more than a step above the best said before. NaN is not."""
    return best is None or score > best + step


def climb(looks: Iterable[Look], plain: Collection[str]) -> dict[str, Reported]:
    """What is said of each look of one suite, by evaluation id; `looks` oldest first.

    `plain` names subjects that nobody chose by held-out: the base, floors, and accepted versions, whose acceptance has been told. Their figures
    are said and raise the best. A measurement that was made twice is said or kept back as it was the first time. One that stopped early has no
    figures to say.
    """
    best: dict[str, float] = {}
    said: dict[str, Reported] = {}
    earlier: dict[str, Reported] = {}
    for look in looks:
        step = ladder_step(look.sources)
        if look.answers not in earlier:
            told = look.whole and (look.subject in plain or is_reported(look.score, best.get("score"), step))
            earlier[look.answers] = Reported(exact=told, best=best.get("score", look.score), step=step, whole=look.whole)
        verdict = said[look.evaluation_id] = earlier[look.answers]
        if verdict.exact:
            best["score"] = max(best.get("score", look.score), look.score)
    return said


def in_words(reported: Reported) -> str:
    """What is said in place of a score that is kept back, or that there is none."""
    if not reported.whole:
        return "not measured in full: its refusal was certain before all items were asked (evaluate asks the rest)"
    return f"not more than {reported.step:g} above the best reported score, {reported.best:.3f}; the figures are kept back to spare the held-out set"


def state_of(splits: Splits, *, generation: int, sources: int, looks: int, exposed: int, reserve: int) -> HeldOutState:
    """Where a held-out set stands. After a rotation the anchor's items carry the stated error already, so the others alone are counted upon."""
    fresh = sources - math.floor(ANCHOR_SHARE * sources) if generation else sources
    budget = splits.held_out_looks or looks_borne(fresh)
    return HeldOutState(
        generation=generation,
        sources=sources,
        looks=looks,
        budget=budget,
        step=ladder_step(sources),
        error=round(stated_error(sources), 3),
        exposed=exposed,
        reserve=reserve,
        spent=looks >= budget or exposed > MOVED_SHARE * sources,
    )


MOVED_SHARE = 0.3
"""A set counts as another one, and its looks start from none, only when more than this share of its items is new. One that an edit filled by
more than this share with items that were shown as core is spent at once."""


def middle_looks(counts: Sequence[int]) -> int:
    """The looks of a set from those of each of its items: what all but the least looked-at 30% have at least. So neither the anchor after a
    rotation (at most a quarter, much looked at) nor a few exchanged items decide."""
    return sorted(counts)[min(len(counts) - 1, math.floor(MOVED_SHARE * len(counts)))] if counts else 0
