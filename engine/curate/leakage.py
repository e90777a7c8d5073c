"""The leakage guard: no training row may be, or nearly be, an evaluation item of any split, or a canary.

A hit is never repaired quietly: the run stops and names the pair, because a pool that overlaps its evaluation rows has to be mended at the
source. Of a core item the id is named, of any other not even that: an error is read by people and agents. What has to be taken out is the
training row, which is named always.

What it cannot see: a paraphrase in other words, a translation, or a summary shares too few 5-grams (a measured case is in
`tests/evaluate/test_cheats.py`); nor what was taught somewhere else. Against those stand the canaries (`engine/evaluate/canaries.py`), the splits'
groups, the reserve, and core beside held-out: who trains on either's paraphrases scores no better on a reserve that is rotated in.

Pure. 2,000 rows against 900 items take about a second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.errors import LeakageFound
from engine.evaluate.compile import named_item
from engine.evaluate.similarity import input_text, near_duplicates, normalise
from engine.evaluate.types import Place, Scenario, TrainingRow

_NAMED_LEAKS = 5


class Leak(NamedTuple):
    """A training row that is an evaluation item."""

    row: str
    scenario: str
    split: Place
    how: Literal["exact", "normalised", "near"]
    similarity: float


def find_leaks(rows: Sequence[TrainingRow], scenarios: Sequence[Scenario], threshold: float) -> tuple[Leak, ...]:
    """Every (row, scenario) whose inputs are equal, equal after normalising, or similar from `threshold` on; the closest first.

    Inputs without any text are compared by equality alone.
    """
    row_texts = [input_text(row.input) for row in rows]
    scenario_texts = [input_text(scenario.input) for scenario in scenarios]
    leaks: dict[tuple[int, int], Leak] = {}

    def note(row: int, item: int, how: Literal["exact", "normalised", "near"], similarity: float) -> None:
        leaks.setdefault((row, item), Leak(rows[row].id, scenarios[item].id, scenarios[item].split, how, similarity))

    for row, item in _equal(row_texts, scenario_texts):
        note(row, item, "exact", 1.0)
    for row, item in _equal([normalise(text) for text in row_texts], [normalise(text) for text in scenario_texts]):
        note(row, item, "normalised", 1.0)
    for pair in near_duplicates(row_texts, scenario_texts, threshold):
        note(pair.left, pair.right, "near", pair.similarity)
    return tuple(sorted(leaks.values(), key=lambda leak: (-leak.similarity, leak.how, leak.row, leak.scenario)))


def refuse_leaks(leaks: Sequence[Leak]) -> None:
    """Raises LeakageFound when there is any."""
    if not leaks:
        return
    worst = leaks[0]
    named = [f"{leak.row} ~ {named_item(leak.scenario, leak.split)} ({leak.how}, {leak.similarity:.2f})" for leak in leaks[:_NAMED_LEAKS]]
    raise LeakageFound(
        f"training row {worst.row!r} is {_IN_WORDS[worst.how]} {named_item(worst.scenario, worst.split)} "
        f"(similarity {worst.similarity:.2f}); {len(leaks)} such pairs in all",
        next_step="Take these rows out of the domain's training pool or its evaluation rows: a score on seen items means nothing.",
        pairs=named,
        count=len(leaks),
    )


_IN_WORDS = {"exact": "the same as", "normalised": "the same, but for case and punctuation, as", "near": "nearly the same as"}


def _equal(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    holders: dict[str, list[int]] = defaultdict(list)
    for position, text in enumerate(right):
        holders[text].append(position)
    return [(position, other) for position, text in enumerate(left) for other in holders.get(text, ())]
