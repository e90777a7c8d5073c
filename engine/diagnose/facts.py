"""Facts across items and across measurements: what one result alone cannot say.

Each function takes results that the loop already has and returns facts by scenario id. Pure: no store, no clock, no model. Core items and
training rows only; held-out has no part in any of it.

    unlearnable            the same input with two expected answers (near-duplicates by the domain's threshold)
    suspected_wrong_gold   several versions give one other label, and so do the nearest training rows
    instability            another outcome in a measurement of identical weights, asked the same way
    persistent             failed in each of the last rounds, whose training sets were aimed at its pattern
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.base.digests import canonical_json
from engine.diagnose.taxonomy import class_of, pattern_id, telling_observation
from engine.diagnose.types import CheapTrial, FailureClass
from engine.evaluate.similarity import grams, input_text, near_duplicates, near_duplicates_within, normalise
from engine.evaluate.types import ItemResult, PairedComparison, Scenario, TrainingRow

VERSIONS = 3
"""Different versions in a row that must agree before a label is suspected."""
NEIGHBOURS = 5
"""Nearest training rows that are asked."""
NEAR_ENOUGH = 0.15
"""Jaccard similarity of 5-grams below which a row is no neighbour. Of the five nearest rows of a row of `support` and of `travel`, nine and
seven in ten reach it."""


class ItemFact(NamedTuple):
    """What is known about one item across measurements."""

    failure_class: FailureClass
    why: str
    """In words, without anyone's text."""
    strength: float
    """Share of the evidence that agrees, 0..1."""
    suggested: Any = None
    """The answer that the evidence points to, where it points to one."""


class Round(NamedTuple):
    """One round of the ledger with the core results before and after it."""

    challenger: str
    method: str
    aimed: Mapping[str, int]
    """Training rows aimed at each pattern."""
    before: Sequence[ItemResult]
    """The incumbent's."""
    after: Sequence[ItemResult]
    """The challenger's, whether or not it was accepted."""


class Situation(NamedTuple):
    """What the measured subject was asked under: decides which remedies are left."""

    is_base: bool
    has_schema: bool
    structured: bool
    max_tokens: int
    pool_rows: int
    replay_share: float
    persistent_rounds: int
    needs_room: frozenset[str] = frozenset()
    """Scenarios whose reference is longer than the answer that was cut off."""
    structured_effect: PairedComparison | None = None
    """What decoding under the schema bought this very subject, where that was measured."""


@dataclass(frozen=True)
class Evidence:
    """Everything besides the results themselves that diagnosis uses. Empty, it diagnoses by observations alone."""

    facts: Mapping[str, ItemFact] = field(default_factory=dict)
    rounds: tuple[Round, ...] = ()
    """Of this cluster, comparable with the results, oldest first."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Input text by scenario id, for grouping by similarity."""
    persistent: frozenset[str] = frozenset()
    """Items that failed in each of the last rounds, aimed at."""
    situation: Situation | None = None
    trials: tuple[CheapTrial, ...] = ()
    learned: Mapping[str, FailureClass] = field(default_factory=dict)
    """By pattern that no observation explains, the class that a person has approved for it: rules that escalations have become."""


# ---- instability -------------------------------------------------------------------------------------------------------------------------


def unstable_items(
    current: Sequence[ItemResult], twins: Sequence[Sequence[ItemResult]], flipped: Collection[str] = frozenset()
) -> dict[str, ItemFact]:
    """Items that fail in `current` and pass when asked again: in a twin, which is a measurement of the same weights asked the same way on the
    same items, or within this measurement (`flipped`). An answer that came from the cache is the same answer and cannot differ."""
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for name in flipped:
        outcomes[name].append(True)
    for twin in twins:
        for result in twin:
            if result.outcome == "graded":
                outcomes[result.scenario_id].append(result.passed)
    facts: dict[str, ItemFact] = {}
    for result in _failed(current):
        seen = outcomes[result.scenario_id]
        if any(seen):
            why = f"passes in {sum(seen)} of {len(seen)} other askings of the same weights"
            facts[result.scenario_id] = ItemFact("instability", why, sum(seen) / len(seen))
    return facts


# ---- labels ------------------------------------------------------------------------------------------------------------------------------


class Neighbours:
    """Training rows by the 5-grams of their inputs."""

    def __init__(self, pool: Sequence[TrainingRow]) -> None:
        self.rows = tuple(pool)
        self._sets = [grams(normalise(input_text(row.input))) for row in pool]
        self._holders: dict[str, list[int]] = defaultdict(list)
        for position, one in enumerate(self._sets):
            for gram in one:
                self._holders[gram].append(position)

    def nearest(self, text: str, count: int = NEIGHBOURS, at_least: float = NEAR_ENOUGH) -> list[TrainingRow]:
        """The `count` most similar rows, most similar first; none below `at_least`."""
        wanted = grams(normalise(text))
        shared = Counter(position for gram in wanted for position in self._holders.get(gram, ()))
        scored = [(both / (len(wanted) + len(self._sets[position]) - both), position) for position, both in shared.items()]
        near = sorted(((similarity, position) for similarity, position in scored if similarity >= at_least), key=lambda pair: (-pair[0], pair[1]))
        return [self.rows[position] for _, position in near[:count]]


def suspected_wrong_gold(
    current: Sequence[ItemResult],
    versions: Sequence[Sequence[ItemResult]],
    scenarios: Mapping[str, Scenario],
    neighbours: Neighbours,
    *,
    agreeing: int = VERSIONS,
) -> dict[str, ItemFact]:
    """Failed items of `current` whose label may be wrong. `versions`: core results of different trained versions, newest first. An item is
    suspected when the last `agreeing` of them give the same other label, and of its nearest training rows most carry that label and fewer the
    expected one. A base is no version: it confuses labels without having seen any."""
    if len(versions) < agreeing:
        return {}
    answers = [{result.scenario_id: _confusion(result) for result in results} for results in versions[:agreeing]]
    facts: dict[str, ItemFact] = {}
    for result in _failed(current):
        pairs = {each.get(result.scenario_id, "") for each in answers}
        pair = pairs.pop()
        if pairs or not pair or result.scenario_id not in scenarios:
            continue
        expected, _, got = pair.partition("->")
        near = neighbours.nearest(input_text(scenarios[result.scenario_id].input))
        labels = [set(_scalars(row.expected)) for row in near]
        with_got, with_expected = sum(got in texts for texts in labels), sum(expected in texts for texts in labels)
        if 2 * with_got > len(near) and with_got > with_expected and len(near) >= NEIGHBOURS // 2 + 1:
            why = (
                f"{agreeing} versions in a row answer {got!r}, and {with_got} of its {len(near)} nearest training rows carry it; "
                f"{with_expected} carry {expected!r}"
            )
            facts[result.scenario_id] = ItemFact("suspected_wrong_gold", why, with_got / len(near), got)
    return facts


def _confusion(result: ItemResult) -> str:
    """The one confusion pair of a failed answer; empty when there is none or more than one."""
    pairs = {each.removeprefix("wrong_label:") for each in result.observations if each.startswith("wrong_label:")}
    return pairs.pop() if result.outcome == "graded" and not result.passed and len(pairs) == 1 else ""


def unlearnable_items(scenarios: Sequence[Scenario], pool: Sequence[TrainingRow], threshold: float) -> dict[str, ItemFact]:
    """Core items whose input nearly duplicates another core item or a training row with another expected answer."""
    texts = [input_text(scenario.input) for scenario in scenarios]
    expected = [canonical_json(scenario.expected) for scenario in scenarios]
    facts: dict[str, ItemFact] = {}

    def note(position: int, other: str, similarity: float, answer: Any) -> None:
        why = f"its input is nearly that of {other} (similarity {similarity:.2f}), which expects another answer"
        known = facts.get(scenarios[position].id)
        if known is None or known.strength < similarity:
            facts[scenarios[position].id] = ItemFact("unlearnable", why, min(1.0, similarity), answer)

    for pair in near_duplicates_within(texts, threshold):
        if expected[pair.left] != expected[pair.right]:
            note(pair.left, f"core item {scenarios[pair.right].id}", pair.similarity, scenarios[pair.right].expected)
            note(pair.right, f"core item {scenarios[pair.left].id}", pair.similarity, scenarios[pair.left].expected)
    for pair in near_duplicates(texts, [input_text(row.input) for row in pool], threshold):
        if expected[pair.left] != canonical_json(pool[pair.right].expected):
            note(pair.left, f"training row {pool[pair.right].id}", pair.similarity, pool[pair.right].expected)
    return facts


class RowConflict(NamedTuple):
    """Two training rows with nearly one input and two expected answers."""

    left: TrainingRow
    right: TrainingRow
    similarity: float


def conflicting_rows(pool: Sequence[TrainingRow], threshold: float) -> list[RowConflict]:
    """Pairs of training rows that teach two answers to nearly the same input, most similar first."""
    expected = [canonical_json(row.expected) for row in pool]
    pairs = near_duplicates_within([input_text(row.input) for row in pool], threshold)
    found = [RowConflict(pool[pair.left], pool[pair.right], pair.similarity) for pair in pairs if expected[pair.left] != expected[pair.right]]
    return sorted(found, key=lambda conflict: (-conflict.similarity, conflict.left.id, conflict.right.id))


# ---- persistence ---------------------------------------------------------------------------------------------------------------------------


def persistent_items(current: Sequence[ItemResult], rounds: Sequence[Round], last: int) -> frozenset[str]:
    """Items that fail now, failed for the same reason before and after each of the `last` rounds, and whose pattern each round aimed rows at."""
    if len(rounds) < last or last < 1:
        return frozenset()
    alive = {result.scenario_id: telling_observation(result) for result in _failed(current)}
    for each in rounds[-last:]:
        before = {result.scenario_id: telling_observation(result) for result in _failed(each.before)}
        after = {result.scenario_id: telling_observation(result) for result in _failed(each.after)}
        alive = {
            item: seen for item, seen in alive.items() if before.get(item) == seen and after.get(item) == seen and was_aimed(each.aimed, *seen)
        }
    return frozenset(alive)


def was_aimed(aimed: Collection[str], kind: str, detail: str) -> bool:
    """Whether a training set was aimed at this observation's pattern, or at its kind's rare ones."""
    return pattern_id(kind, detail) in aimed or pattern_id(kind, "") in aimed


def class_of_result(result: ItemResult) -> FailureClass:
    """The class that a failed result's own observations make."""
    return class_of(telling_observation(result)[0])


def _failed(results: Sequence[ItemResult]) -> Iterator[ItemResult]:
    return (result for result in results if result.outcome == "graded" and not result.passed)


def _scalars(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _scalars(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _scalars(item)
    elif value is not None:
        yield str(value)
