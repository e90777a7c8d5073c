"""Golden standards: answers without a fault, kept to be used again. Pure.

An answer is golden when it is whole, every check gives it the full value, and nothing was noticed about it. Golden answers to training prompts are
material to teach with: examples in a prompt, or the preferred side of a pair. Golden answers to core items are memory: an item that was once
answered without a fault and fails now has been lost, whatever the average says. They are never taught, because core would stop measuring;
held-out and reserve items are never golden at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.base.digests import digest_of, sha256_hex
from engine.evaluate.grading import MAX_KEPT_CHARACTERS
from engine.evaluate.similarity import grams, input_text, normalise
from engine.evaluate.types import ItemResult, TrainingRow
from engine.generate.types import Message

FULL = 1.0 - 1e-9


class GoldenAnswer(NamedTuple):
    """A golden answer to a training prompt."""

    row: TrainingRow
    messages: tuple[Message, ...]
    """The domain's prompt for it."""
    answer: str


def is_golden(result: ItemResult) -> bool:
    """Whether an answer passes everything with the full score."""
    return (
        result.outcome == "graded"
        and result.passed
        and result.score >= FULL
        and result.finish_reason == "stop"
        and not result.breached
        and not result.observations
        and all(check.value >= FULL for check in result.checks)
        and len(result.answer) < MAX_KEPT_CHARACTERS  # a longer one is kept cut
    )


def golden_answers(results: Sequence[ItemResult]) -> dict[str, str]:
    """The golden ones among these results: the digest of each answer, by item. Held-out and reserve items are passed over."""
    return {result.scenario_id: sha256_hex(result.answer.encode()) for result in results if result.split == "core" and is_golden(result)}


def golden_digest(answers: Mapping[str, str]) -> str:
    """Names a set of golden answers, by item id and the answer's text or digest."""
    return digest_of(sorted(answers.items()))


def few_shot(golden: Sequence[GoldenAnswer], count: int) -> list[GoldenAnswer]:
    """`count` examples unlike each other: each next one has an answer not shown yet where there is one, and the input least like those taken.

    Ties, and with them the first, go to the smaller row id, so that equal sets give equal examples. A thousand answers take milliseconds for each
    example.
    """
    pool = sorted(golden, key=lambda one: one.row.id)
    sets = {one.row.id: grams(normalise(input_text(one.row.input))) for one in pool}
    nearest = dict.fromkeys(sets, 0.0)
    taken: list[GoldenAnswer] = []
    shown: set[str] = set()
    while pool and len(taken) < count:
        best = min(pool, key=lambda one: (_spelling(one.row.expected) in shown, nearest[one.row.id], one.row.id))
        pool.remove(best)
        nearest = {one.row.id: max(nearest[one.row.id], _likeness(sets[one.row.id], sets[best.row.id])) for one in pool}
        taken.append(best)
        shown.add(_spelling(best.row.expected))
    return taken


def preference_pairs(golden: Sequence[GoldenAnswer], failed: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Pairs for preference training: golden answers against failed ones to the same prompts, by row id, in the order of `golden`.

    A failed answer that is empty, or reads like the golden one, makes no pair.
    """
    return [
        {"id": one.row.id, "messages": [message.model_dump() for message in one.messages], "chosen": one.answer, "rejected": text}
        for one in golden
        for text in dict.fromkeys(failed.get(one.row.id, ()))
        if text.strip() not in ("", one.answer.strip())
    ]


def lost_golden(golden: Sequence[str], results: Sequence[ItemResult], most: int = 50) -> tuple[str, ...]:
    """The core items among `golden` that fail now, at most `most`. An item lost to infrastructure has not failed."""
    failed = {result.scenario_id for result in results if result.split == "core" and result.outcome == "graded" and not result.passed}
    return tuple(sorted(failed.intersection(golden)))[:most]


def _likeness(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / max(1, len(left | right))


def _spelling(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
