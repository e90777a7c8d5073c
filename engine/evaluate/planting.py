"""Making the canaries of a domain from its evaluation rows (`canaries.py` says what they are for).

A canary's input is that of an evaluation row with its wording disturbed, so that it is no exact copy, and its answer that of another row. Which
rows, and how they are disturbed, follows from hashes of their ids: the same rows give the same canaries in any order. None comes near a training
row, which the leakage guard would refuse. Pure.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from engine.base.digests import digest_of
from engine.config import DomainFile
from engine.evaluate.canaries import exchanged
from engine.evaluate.proposals.transforms import DISTURBANCES, disturb
from engine.evaluate.rows import CANARY
from engine.evaluate.similarity import input_text, near_duplicates
from engine.evaluate.types import Scenario

MOST = 8
"""Enough that three or four hits are beyond chance, and a second's work to ask."""
ROWS_A_CANARY = 10
FEWEST_ROWS = 40
"""Of fewer evaluation rows none are made: their core would be too small a control."""
SPARE = 4
"""Candidates for each canary, because some come near a training row."""


def plant(domain: DomainFile, scenarios: Sequence[Scenario], taught: Sequence[str]) -> list[dict[str, Any]]:
    """Canaries as rows of an evaluation file, made from its scenarios. `taught` are the texts of the training rows' inputs.

    Fewer, or none, where the rows are few, or the rubric finds no row's answer wrong for another.
    """
    wanted = min(MOST, len(scenarios) // ROWS_A_CANARY) if len(scenarios) >= FEWEST_ROWS else 0
    candidates = _answers_in_turn(list(islice(_varied(domain, scenarios), SPARE * wanted)))
    near = {pair.left for pair in near_duplicates([input_text(each.input) for each in candidates], taught, domain.data.near_duplicate)}
    return [_row(each) for place, each in enumerate(candidates) if place not in near][:wanted]


def _varied(domain: DomainFile, scenarios: Sequence[Scenario]) -> Iterator[Scenario]:
    """Scenarios with a wrong answer and disturbed wording: with typos, or where no word is long enough for one, as it can be."""
    parents = {scenario.id: scenario for scenario in scenarios}
    for strange in exchanged(domain, scenarios):
        dice = random.Random(digest_of(["canary", strange.id]))  # noqa: S311 - no secret is made of it
        variants = (disturb(origin, parents[strange.id], dice) for origin in DISTURBANCES)
        variant = next((each for each in variants if each is not None), None)
        if variant is not None:
            yield strange.model_copy(update={"input": variant.input})


def _answers_in_turn(candidates: Sequence[Scenario]) -> list[Scenario]:
    """The candidates, those first whose answer none before them has, then those whose answer one has: no habit of a model may be several hits."""
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, int]] = []
    for place, candidate in enumerate(candidates):
        answer = digest_of(candidate.expected)
        ranked.append((seen[answer], place))
        seen[answer] += 1
    return [candidates[place] for _, place in sorted(ranked)]


def _row(canary: Scenario) -> dict[str, Any]:
    name = f"canary-{digest_of([canary.input, canary.expected])[:12]}"
    return {"id": name, "input": canary.input, "expected": canary.expected, "tags": {}, "source": canary.source or canary.id, CANARY: True}
