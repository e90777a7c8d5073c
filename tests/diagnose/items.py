"""Results and rows as the tests of diagnosis need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.diagnose.facts import Round, Situation
from engine.diagnose.types import CheapTrial
from engine.evaluate.statistics import compare
from engine.evaluate.types import ItemResult, Scenario, TrainingRow


def item(name: str, *observations: str, score: float = 0.0, passed: bool = False, **fields: object) -> ItemResult:
    return ItemResult.model_validate(
        {"scenario_id": name, "split": "core", "outcome": "graded", "score": score, "passed": passed, "observations": observations, **fields}
    )


def passing(name: str) -> ItemResult:
    return item(name, passed=True, score=1.0)


def core(count: int, failing: Mapping[int, str] = {}) -> list[ItemResult]:
    """`count` items of which those in `failing` show one observation each."""
    return [item(f"s{n}", failing[n]) if n in failing else passing(f"s{n}") for n in range(count)]


def scenario(name: str, text: str, expected: Any) -> Scenario:
    return Scenario(id=name, input={"text": text}, expected=expected, split="core")


def row(name: str, text: str, expected: Any) -> TrainingRow:
    return TrainingRow(id=name, input={"text": text}, expected=expected)


def round_of(before: Sequence[ItemResult], after: Sequence[ItemResult], *aimed: str, method: str = "sft") -> Round:
    return Round(challenger="v-1", method=method, aimed=dict.fromkeys(aimed, 8), before=before, after=after)


def situation(**changes: Any) -> Situation:
    return Situation(
        **{"is_base": True, "has_schema": True, "structured": True, "max_tokens": 64, "pool_rows": 100, "replay_share": 0.5, "persistent_rounds": 2} | changes
    )


def trial(remedy: str, before: Sequence[ItemResult], after: Sequence[ItemResult]) -> CheapTrial:
    comparison = compare(before, after, split="core")
    return CheapTrial.model_validate({"remedy": remedy, "words": remedy, "structured": True, "comparison": comparison, "seconds": 1.0, "generated": len(after)})
