"""Small domains, scenarios and results for the tests of measuring."""

from __future__ import annotations

from typing import Any

from engine.config import DomainFile
from engine.evaluate.types import ItemResult, Scenario, Split
from engine.generate.types import Answer

INTENT_SCHEMA = {
    "type": "object",
    "properties": {"intent": {"type": "string", "enum": ["refund", "delivery", "login"]}},
    "required": ["intent"],
    "additionalProperties": False,
}
TURN_SCHEMA = {
    "type": "object",
    "properties": {
        "acts": {"type": "array", "items": {"enum": ["inform", "request", "affirm"]}},
        "slots": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "date": {"type": "string"}},
            "additionalProperties": {"type": "string"},
        },
        "price": {"type": "number"},
    },
    "required": ["acts"],
    "additionalProperties": False,
}


def domain(checks: list[dict[str, Any]], *, schema: dict[str, Any] | None = None, kind: str = "json", **evaluation: Any) -> DomainFile:
    """A domain with this rubric."""
    return DomainFile.model_validate(
        {
            "title": "Sample",
            "contract": {"description": "d", "system": "s", "user": "{{ text }}", "output": {"kind": kind, "json_schema": schema}},
            "data": {"train": {"path": "train.jsonl"}, "evaluation": {"path": "eval.jsonl"}},
            "eval": {"checks": checks, **evaluation},
        }
    )


def scenario(expected: Any, text: str = "fly to Oslo on Monday", **changes: Any) -> Scenario:
    return Scenario.model_validate({"id": "s1", "input": {"text": text}, "expected": expected, "split": "core"} | changes)


def answer(text: str, **changes: Any) -> Answer:
    return Answer.model_validate({"key": "s1", "text": text} | changes)


def result(number: int, score: float, *, split: Split = "held_out", source: str = "", passed: bool | None = None, **changes: Any) -> ItemResult:
    return ItemResult.model_validate(
        {
            "scenario_id": f"s{number:04d}",
            "split": split,
            "outcome": "graded",
            "score": score,
            "passed": score >= 1.0 if passed is None else passed,
            "source": source,
        }
        | changes
    )
