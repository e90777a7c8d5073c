"""Golden standards: answers without a fault, kept to be used again. Pure, but for `read_golden`, which reads the answers.

An answer is golden when it is whole, every check gives it the full value, and nothing was noticed about it. Golden answers to training prompts are
material to teach with: worked examples in a prompt, or the preferred side of a pair. Golden answers to core items are memory: an item that was once
answered without a fault and fails now has been lost, whatever the average says. They are never taught, because core would stop measuring;
held-out and reserve items are never golden at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.base.digests import digest_of, file_sha256, sha256_hex
from engine.base.files import read_jsonl
from engine.curate.teach import items_of, taught_pool, taught_values
from engine.curate.types import GoldenSource
from engine.errors import ArtifactCorrupt
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.grading import MAX_KEPT_CHARACTERS, grade
from engine.evaluate.similarity import grams, input_text, normalise
from engine.evaluate.types import ItemResult, TrainingRow
from engine.generate.types import Answer

FULL = 1.0 - 1e-9


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


def read_golden(compiled: CompiledDomain, sources: Sequence[GoldenSource]) -> list[TrainingRow]:
    """The rows with a golden answer among these. ArtifactCorrupt when a file is not the one that was named."""
    results: list[ItemResult] = []
    for source in sources:
        path = Path(source.results)
        if not path.is_file() or file_sha256(path) != source.digest:
            raise ArtifactCorrupt(f"the golden answers {source.digest[:12]} are not the ones that were kept", next_step="Ask the teacher again.")
        results += [ItemResult.model_validate(row) for row in read_jsonl(path)]
    return golden_rows(compiled, results)


def golden_rows(compiled: CompiledDomain, results: Iterable[ItemResult]) -> list[TrainingRow]:
    """The rows of the pool that have a golden answer among these results, each with that answer in the place of its label, in the pool's order.

    The last golden answer to a row counts. It is graded once more, against the row as it is now: input and label may change under one id.
    """
    texts = {result.scenario_id: result.answer for result in results if is_golden(result)}
    rows = [row for row in compiled.pool if row.id in texts]
    again = [grade(compiled.domain, item, Answer(key=item.id, text=texts[item.id])) for item in items_of(rows)]
    values, _ = taught_values(compiled.domain.contract.output, "both", [result for result in again if is_golden(result)], texts)
    return taught_pool(rows, values, "both")


def few_shot(golden: Sequence[TrainingRow], count: int) -> list[TrainingRow]:
    """`count` rows unlike each other: each next one has an answer not shown yet where there is one, and the input least like those taken.

    Ties, and with them the first, go to the smaller row id, so that equal sets give equal examples. A thousand answers take milliseconds for each
    example.
    """
    pool = sorted(golden, key=lambda row: row.id)
    sets = {row.id: grams(normalise(input_text(row.input))) for row in pool}
    nearest = dict.fromkeys(sets, 0.0)
    taken: list[TrainingRow] = []
    shown: set[str] = set()
    while pool and len(taken) < count:
        best = min(pool, key=lambda row: (_spelling(row.expected) in shown, nearest[row.id], row.id))
        pool.remove(best)
        nearest = {row.id: max(nearest[row.id], _likeness(sets[row.id], sets[best.id])) for row in pool}
        taken.append(best)
        shown.add(_spelling(best.expected))
    return taken


def lost_golden(golden: Sequence[str], results: Sequence[ItemResult], most: int = 50) -> tuple[str, ...]:
    """The core items among `golden` that fail now, at most `most`. An item lost to infrastructure has not failed."""
    failed = {result.scenario_id for result in results if result.split == "core" and result.outcome == "graded" and not result.passed}
    return tuple(sorted(failed.intersection(golden)))[:most]


def _likeness(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / max(1, len(left | right))


def _spelling(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
