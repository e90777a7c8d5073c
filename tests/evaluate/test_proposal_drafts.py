"""Drafting scenarios: what a transformation may change, what is taken out, and what is chosen."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.config import DomainFile
from engine.evaluate.answers import schema_problem
from engine.evaluate.proposals.drafting import Surroundings, clashes, draft_variants, is_valid, sift, similarity
from engine.evaluate.proposals.transforms import DISTURBANCES, disturb, leaves, recombine, slots_of, values_of
from engine.evaluate.proposals.types import NOISE, Draft
from engine.evaluate.similarity import grams, input_text, near_duplicates, normalise
from engine.evaluate.types import Scenario, TrainingRow

CITIES = ("Oslo", "Bergen", "Paris", "Madrid", "Rome", "Lima", "Quito", "Cairo")
SCHEMA = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["book", "cancel"]},
        "slots": {"type": "object", "properties": {"from": {"type": "string"}, "to": {"type": "string"}, "people": {"type": "integer"}}},
    },
    "required": ["intent", "slots"],
    "additionalProperties": False,
}
DOMAIN = DomainFile.model_validate(
    {
        "title": "Trips",
        "contract": {"description": "d", "system": "", "user": "{{ text }}", "output": {"json_schema": SCHEMA}},
        "data": {"evaluation": {"path": "eval.jsonl"}},
        "eval": {"checks": [{"kind": "set_f1", "path": "slots"}]},
    }
)
TEMPLATES = (
    "please book {people} seats from {from} to {to} for me",
    "I would like to travel to {to}, leaving {from}, with {people} persons",
    "we are {people} and must get from {from} over the mountains to {to} tomorrow",
)


def scenario(number: int, start: str, to: str, people: int, split: Any = "core") -> Scenario:
    slots = {"to": to, "from": start, "people": people}
    return Scenario(
        id=f"s{number}", input={"text": TEMPLATES[number % 3].format(**slots)}, expected={"intent": "book", "slots": slots}, split=split, tags={"k": "v"}
    )


SUITES = st.lists(
    st.tuples(st.sampled_from(CITIES), st.sampled_from(CITIES), st.integers(2, 9)).filter(lambda trip: trip[0] != trip[1]), min_size=2, max_size=8
).map(lambda trips: [scenario(number, *trip) for number, trip in enumerate(trips)])


def around(scenarios: list[Scenario], **changes: Any) -> Surroundings:
    return Surroundings(**{"scenarios": scenarios, "pool": (), "earlier": (), "threshold": 0.8} | changes)


@settings(max_examples=12)
@given(SUITES, st.integers(0, 99))
def test_a_recombined_answer_changes_in_step_with_its_input_and_fits_the_schema(core: list[Scenario], seed: int) -> None:
    for parent in core:
        variant = recombine(DOMAIN, parent, values_of(DOMAIN, core), random.Random(seed))
        if variant is None:
            continue
        assert variant.expected["intent"] == "book"
        assert not schema_problem(DOMAIN.contract.output, variant.expected, quote=True)
        assert list(variant.expected["slots"]) == list(parent.expected["slots"])
        number = int(parent.id[1:])
        assert variant.input["text"] == TEMPLATES[number % 3].format(**variant.expected["slots"])


@settings(max_examples=12)
@given(SUITES, st.sampled_from(sorted(DISTURBANCES)), st.integers(0, 99))
def test_disturbed_wording_keeps_the_answer_and_whatever_the_answer_quotes(core: list[Scenario], origin: Any, seed: int) -> None:
    for parent in core:
        variant = disturb(origin, parent, random.Random(seed))
        assert variant is not None
        assert variant.expected == parent.expected
        assert variant.input != parent.input
        for _, quoted in leaves(parent.expected["slots"]):
            assert str(quoted) in variant.input["text"]


@settings(max_examples=12)
@given(SUITES, st.integers(0, 9))
def test_drafts_are_the_same_for_the_same_seed_and_each_id_names_its_content(core: list[Scenario], seed: int) -> None:
    drafts = draft_variants(DOMAIN, "p", core, core, seed=seed)
    assert drafts == draft_variants(DOMAIN, "p", core, core, seed=seed)
    assert len({draft.id for draft in drafts}) == len({json.dumps([draft.input, draft.expected]) for draft in drafts}) == len(drafts)
    assert all(draft.source == draft.parent and draft.tags == {"k": "v"} for draft in drafts)


@settings(max_examples=12)
@given(SUITES, st.integers(0, 9), st.integers(1, 6), st.sampled_from([0.5, 0.8]))
def test_what_is_chosen_is_valid_new_unlike_and_clear_of_kept_back_items(core: list[Scenario], seed: int, count: int, threshold: float) -> None:
    drafts = draft_variants(DOMAIN, "p", core, core, seed=seed)
    assume(len(drafts) > 3)
    held_out = Scenario(id="h", input=drafts[0].input, expected=drafts[0].expected, split="held_out")
    reserve = Scenario(id="r", input=drafts[1].input, expected=drafts[1].expected, split="reserve")
    pool = [TrainingRow(id="t", input=drafts[2].input, expected=drafts[2].expected)]
    surroundings = around([*core, held_out, reserve], pool=pool, earlier=drafts[3:4], threshold=threshold)
    chosen, dropped = sift(DOMAIN, drafts, surroundings, count=count, seed=seed)
    assert len(chosen) <= count
    assert len(chosen) + dropped.invalid + dropped.duplicates + dropped.kept_back + dropped.left_over == len(drafts)
    assert dropped.kept_back >= 1
    texts = [input_text(draft.input) for draft in chosen]
    others = [held_out, reserve, *pool, *drafts[3:4]]
    assert not near_duplicates(texts, [input_text(other.input) for other in others], threshold)
    for left, right, _ in near_duplicates(texts, [input_text(each.input) for each in core], threshold):
        assert (chosen[left].parent, chosen[left].origin in NOISE) == (core[right].id, True)
    assert not [pair for pair in near_duplicates(texts, texts, threshold) if pair.left != pair.right]


def test_labels_ambiguous_values_and_values_the_input_lacks_are_never_exchanged() -> None:
    def places(text: str, expected: Any) -> list[str]:
        return [slot.place for slot in slots_of(DOMAIN, Scenario(id="s", input={"text": text}, expected=expected, split="core"))]

    assert places("book from Oslo to Rome", {"intent": "book", "slots": {"from": "Oslo", "to": "Rome"}}) == ["slots.from", "slots.to"]
    assert places("from Oslo to Oslo", {"intent": "book", "slots": {"from": "Oslo", "to": "Oslo"}}) == []
    assert places("from New York to York", {"intent": "book", "slots": {"from": "New York", "to": "York"}}) == []
    assert places("to oslo, yes Oslo", {"intent": "book", "slots": {"to": "Oslo"}}) == []
    assert places("a ticket please", {"intent": "book", "slots": {"to": "Oslo"}}) == []
    assert places("is there wifi?", {"intent": "book", "slots": {"to": "?"}}) == []


def test_an_answer_outside_the_schema_or_an_unrenderable_prompt_is_invalid() -> None:
    def draft(**changes: Any) -> Draft:
        whole = {"id": "x", "origin": "typos", "parent": "s", "pattern": "p", "input": {"text": "t"}, "expected": {"intent": "book", "slots": {}}, "source": "s"}
        return Draft.model_validate(whole | changes)

    assert is_valid(DOMAIN, draft())
    assert not is_valid(DOMAIN, draft(expected={"intent": "dance", "slots": {}}))
    assert not is_valid(DOMAIN, draft(input={"words": "t"}))


def test_each_choice_is_the_one_least_like_what_is_there() -> None:
    core = [scenario(number, CITIES[number], CITIES[number + 3], number + 2) for number in range(5)]
    drafts = [draft for draft in draft_variants(DOMAIN, "p", core, core, seed=1) if draft.origin == "typos"]
    surroundings = around(core)
    chosen, _ = sift(DOMAIN, drafts, surroundings, count=3, seed=1)
    kept_back, known = clashes(drafts, surroundings)
    pool = [draft for draft in drafts if draft.id not in kept_back | known]

    def sets(fields: dict[str, Any]) -> frozenset[str]:
        return grams(normalise(input_text(fields)))

    def worst(draft: Draft, before: list[Draft]) -> float:
        there = [sets(each.input) for each in core if each.id != draft.parent] + [sets(each.input) for each in before]
        return max(similarity(sets(draft.input), one) for one in there)

    for position, draft in enumerate(chosen):
        before = chosen[:position]
        left = [other for other in pool if other not in before and not any(similarity(sets(other.input), sets(each.input)) >= 0.8 for each in before)]
        assert worst(draft, before) == min(worst(other, before) for other in left)
