"""From failed core scenarios to the few drafts worth a person's look. Pure.

`draft_variants` makes every variant that the transformations give; `sift` takes out what is invalid, known already or near an item that is kept
back, and chooses among the rest for diversity: greedy max-min over the similarity of inputs (`engine/evaluate/similarity.py`; the farthest-first
traversal of Gonzalez 1985), so that each draft is as unlike the scenarios of its pattern, and those before it, as can be. Origins take turns, because
a longer or odder text is unlike the others whatever was done to it, and because acceptance is measured for each.

Parents, and the scenarios whose values are borrowed, are governed core scenarios: no text of another split can come into a draft. What a teacher
drafts (`engine/curate/draft_worker.py`) varies training rows and passes the same sifting.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from engine.base.digests import digest_of
from engine.config import DomainFile
from engine.errors import DomainInvalid, TooLarge
from engine.evaluate.answers import schema_problem
from engine.evaluate.prompts import render_messages
from engine.evaluate.proposals.transforms import DISTURBANCES, Variant, disturb, recombine, values_of
from engine.evaluate.proposals.types import NOISE, TRANSFORMATIONS, Draft, Dropped
from engine.evaluate.similarity import grams, input_text, near_duplicates, normalise
from engine.evaluate.types import Scenario, TrainingRow

RECOMBINATIONS = 4
"""Of each parent that has something to exchange."""
MAX_PARENTS = 64
"""The worst of a larger pattern."""
MAX_REFERENCES = 200
"""Scenarios that a draft's distance is taken from."""


class Surroundings(NamedTuple):
    """What drafts are held against."""

    scenarios: Sequence[Scenario]
    """The whole suite, canaries included."""
    pool: Sequence[TrainingRow]
    earlier: Sequence[Draft]
    """Drafted before, whatever became of them."""
    threshold: float
    """Similarity from which two inputs are the same item (`data.near_duplicate`)."""


class Sifted(NamedTuple):
    """The drafts that are left, most unlike first, and what was taken out."""

    chosen: list[Draft]
    dropped: Dropped


def draft_variants(domain: DomainFile, pattern: str, parents: Sequence[Scenario], core: Sequence[Scenario], *, seed: int) -> list[Draft]:
    """Every variant of the pattern's scenarios; values are borrowed from the pattern first, and from all of core where it has none to lend."""
    own, all_values = values_of(domain, parents), values_of(domain, core)
    values = {place: own[place] if len(own.get(place, ())) > 1 else found for place, found in all_values.items()}
    drafts: dict[str, Draft] = {}
    for parent in parents[:MAX_PARENTS]:
        variants: list[Variant | None] = [recombine(domain, parent, values, dice(seed, parent, str(number))) for number in range(RECOMBINATIONS)]
        variants += [disturb(origin, parent, dice(seed, parent, origin)) for origin in DISTURBANCES]
        for variant in variants:
            if variant is not None:
                draft = draft_of(pattern, parent, variant)
                drafts.setdefault(draft.id, draft)
    return list(drafts.values())


def dice(seed: int, parent: Scenario, what: str) -> random.Random:
    """The source of chance for one variant: the same for the same seed, whatever else is drafted."""
    return random.Random(f"{seed}/{parent.id}/{what}")  # noqa: S311 - no secret is made of it


def draft_of(pattern: str, parent: Scenario | TrainingRow, variant: Variant) -> Draft:
    """A variant as a draft."""
    return Draft(
        id=f"x-{digest_of([variant.input, variant.expected])[:16]}",
        origin=variant.origin,
        parent=parent.id,
        pattern=pattern,
        input=variant.input,
        expected=variant.expected,
        tags=parent.tags,
        source=parent.source or parent.id,
    )


def sift(domain: DomainFile, drafts: Sequence[Draft], around: Surroundings, *, count: int, seed: int) -> Sifted:
    """Up to `count` drafts that may be staged."""
    sound = [draft for draft in drafts if is_valid(domain, draft)]
    kept_back, known = clashes(sound, around)
    fresh = [draft for draft in sound if draft.id not in kept_back | known]
    chosen, alike = choose_unlike(fresh, around, count=count, seed=seed)
    return Sifted(
        chosen,
        Dropped(
            invalid=len(drafts) - len(sound),
            duplicates=len(known - kept_back) + alike,
            kept_back=len(kept_back),
            left_over=len(fresh) - len(chosen) - alike,
        ),
    )


def is_valid(domain: DomainFile, draft: Draft) -> bool:
    """Whether the expected answer satisfies the output schema and the prompt renders."""
    output = domain.contract.output
    if output.kind == "json" and schema_problem(output, draft.expected, quote=False):
        return False
    try:
        render_messages(domain.contract, draft.input)
    except (DomainInvalid, TooLarge):
        return False
    return True


def clashes(drafts: Sequence[Draft], around: Surroundings) -> tuple[set[str], set[str]]:
    """Ids of the drafts that are near an item of held-out or reserve, and of those that are known: near anything else that is there already.

    A draft of disturbed wording may be near its own parent, but must not read the same.
    """
    texts = [input_text(draft.input) for draft in drafts]
    kept_back: set[str] = set()
    known: set[str] = set()
    for left, right, _ in near_duplicates(texts, [input_text(each.input) for each in around.scenarios], around.threshold):
        draft, scenario = drafts[left], around.scenarios[right]
        if scenario.split != "core":
            kept_back.add(draft.id)
        elif scenario.id != draft.id and not (scenario.id == draft.parent and draft.origin in NOISE and scenario.input != draft.input):
            known.add(draft.id)
    there = [input_text(row.input) for row in around.pool] + [input_text(earlier.input) for earlier in around.earlier]
    known.update(drafts[left].id for left, _, _ in near_duplicates(texts, there, around.threshold))
    return kept_back, known


def choose_unlike(drafts: Sequence[Draft], around: Surroundings, *, count: int, seed: int) -> tuple[list[Draft], int]:
    """Greedily, origins in turn, the draft that is least like whatever it is nearest to; and how many fell out as nearly the same as a chosen one.

    Its own parent is left out of what a draft is held against, so that recombined and disturbed drafts meet on equal terms.
    """
    patterns, parents = {draft.pattern for draft in drafts}, {draft.parent for draft in drafts}
    references = [(each.id, _grams(each.input)) for each in around.scenarios if each.id in parents][:MAX_REFERENCES]
    references += [(each.id, _grams(each.input)) for each in around.earlier if each.pattern in patterns][:MAX_REFERENCES]
    sets = {draft.id: _grams(draft.input) for draft in drafts}
    nearest = {draft.id: max((similarity(sets[draft.id], one) for name, one in references if name != draft.parent), default=0.0) for draft in drafts}
    left = sorted(drafts, key=lambda draft: _rank(seed, draft.id))
    chosen: list[Draft] = []
    alike = 0
    while left and len(chosen) < count:
        turns = Counter(draft.origin for draft in chosen)
        turn = min({draft.origin for draft in left}, key=lambda origin: (turns[origin], in_order(origin)))
        best = min((draft for draft in left if draft.origin == turn), key=lambda draft: nearest[draft.id])
        chosen.append(best)
        left.remove(best)
        remaining = []
        for draft in left:
            close = similarity(sets[draft.id], sets[best.id])
            if close >= around.threshold:
                alike += 1
            else:
                nearest[draft.id] = max(nearest[draft.id], close)
                remaining.append(draft)
        left = remaining
    return chosen, alike


def in_order(origin: str) -> tuple[int, str]:
    """Where an origin stands among the others: transformations first, then teachers by name."""
    return (list(TRANSFORMATIONS).index(origin) if origin in TRANSFORMATIONS else len(TRANSFORMATIONS), origin)


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard similarity of two sets of grams."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _grams(fields: dict[str, object]) -> frozenset[str]:
    return grams(normalise(input_text(fields)))


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
