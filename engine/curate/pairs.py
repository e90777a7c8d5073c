"""Pairs of answers for preference training, from what the incumbent answers to training prompts. Pure.

The preferred side is a teacher's golden answer where there is one, else an answer of the incumbent's own that has the full score (it is what the
model would write anyway), else the reference. The other side is an answer that failed. Left out: answers lost to infrastructure, empty ones, ones
that were cut at the limit (a pair would punish the unfinished beginning), and a failed answer that reads like its preferred one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.curate.golden import FULL
from engine.curate.types import PairCounts
from engine.evaluate.types import ItemResult


class Answered(NamedTuple):
    """What the incumbent answered to one training row: one result a sample, in the order of sampling (the first is greedy)."""

    row: str
    reference: str
    """The text of the reference answer."""
    results: tuple[ItemResult, ...]
    golden: str = ""
    """A teacher's golden answer to it; empty where there is none."""


class Pair(NamedTuple):
    """Two answers to one row."""

    row: str
    chosen: str
    rejected: str


def sampled_rows(rows: Sequence[str], most: int, seed: int) -> list[str]:
    """At most `most` distinct rows, drawn by the hash of the seed and the row's id, in the order of `rows`."""
    distinct = list(dict.fromkeys(rows))
    drawn = set(sorted(distinct, key=lambda name: hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest())[:most])
    return [name for name in distinct if name in drawn]


def pairs_of(answered: Sequence[Answered], *, per_row: int) -> tuple[list[Pair], PairCounts]:
    """At most `per_row` pairs a row, those from earlier samples first, and what became of every answer."""
    pairs: list[Pair] = []
    passed = failed = lost = left_out = golden = own = 0
    for row in answered:
        graded = [result for result in row.results if result.outcome == "graded"]
        lost += len(row.results) - len(graded)
        full = [result.answer for result in graded if result.passed and result.score >= FULL and result.finish_reason == "stop"]
        chosen = row.golden or (full[0] if full else row.reference)
        failures = [result for result in graded if not result.passed]
        passed += len(graded) - len(failures)
        failed += len(failures)
        whole = [result.answer for result in failures if result.finish_reason == "stop"]
        usable = dict.fromkeys(answer for answer in whole if answer.strip() not in ("", chosen.strip()))
        left_out += len(failures) - len(usable)
        taken = list(usable)[:per_row]
        pairs.extend(Pair(row.row, chosen, rejected) for rejected in taken)
        golden += len(taken) if row.golden else 0
        own += len(taken) if full and not row.golden else 0
    counts = PairCounts(
        prompts=len(answered),
        passed=passed,
        failed=failed,
        lost=lost,
        left_out=left_out,
        pairs=len(pairs),
        golden_chosen=golden,
        own_chosen=own,
    )
    return pairs, counts


def preferred_in_words(counts: PairCounts) -> str:
    """What stands on the better side of the pairs, in a sentence."""
    sides = (
        (counts.golden_chosen, "a teacher's golden answer"),
        (counts.own_chosen, "the incumbent's own answer with the full score"),
        (counts.pairs - counts.golden_chosen - counts.own_chosen, "the reference"),
    )
    named = ", ".join(f"{words} in {count}" for count, words in sides if count)
    return f"Of {counts.pairs} pairs with a failed answer of the incumbent the better side is {named}."


def enough(counts: PairCounts, *, least_pairs: int, least_passed: float) -> str:
    """Why these answers are no ground for preference training, in a sentence; nothing when they are.

    A model that gets almost nothing right has to be shown answers (SFT); one that gets everything right has nothing to unlearn.
    """
    share = counts.passed / max(1, counts.passed + counts.failed)
    figures = f"{counts.pairs} pairs from {counts.prompts} training prompts, {share:.0%} of the incumbent's answers pass"
    if share < least_passed:
        return f"{figures}; preference training needs {least_passed:.0%}. SFT first."
    if counts.pairs < least_pairs:
        return f"{figures}; {least_pairs} pairs are needed. SFT on more rows instead."
    return ""


def keys_of(rows: Sequence[str], samples: int) -> Mapping[str, tuple[str, int]]:
    """The name of each question (a row and a sample) in a batch."""
    return {f"{row}#{sample}": (row, sample) for row in rows for sample in range(samples)}
