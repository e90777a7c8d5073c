"""From an answer to a result: the rubric's weighted score, the safety nets that override it, and what the answer itself shows.

Pure: the same domain, scenario and answer give the same result, so a changed rubric regrades stored answers without generating.
An infrastructure error gives a result with `outcome == "error"` and no score: it is no statement about a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.base.digests import digest_of
from engine.config import Check, DomainFile
from engine.evaluate.answers import parse_answer, schema_observation
from engine.evaluate.checks import Finding, Judged, declines, fold_text, run_check
from engine.evaluate.prompts import neutralise, neutralise_value
from engine.evaluate.similarity import input_text
from engine.evaluate.types import CheckResult, ItemResult, Scenario
from engine.generate.types import Answer

GRADING_VERSION = 2
"""Raised when the same rubric would grade the same answer otherwise."""

MAX_KEPT_CHARACTERS = 8_000
MAX_OBSERVATIONS = 24
FORM_PROBLEMS = ("invalid_json", "fenced_json")
"""Observations, besides `schema:<path>`, of an answer that does not satisfy the output schema."""


def grading_digest(domain: DomainFile) -> str:
    """Names the rubric: checks, safety nets, pass mark, and the schema that they refer to."""
    rubric = domain.eval
    return digest_of(
        {
            "version": GRADING_VERSION,
            "checks": [check.model_dump(mode="json") for check in rubric.checks],
            "safety_nets": [net.model_dump(mode="json") for net in rubric.safety_nets],
            "pass_score": rubric.pass_score,
            "kind": domain.contract.output.kind,
            "schema": domain.contract.output.json_schema,
        }
    )


def grade(domain: DomainFile, scenario: Scenario, answer: Answer) -> ItemResult:
    """What became of one answer."""
    kept: dict[str, Any] = {
        "scenario_id": scenario.id,
        "split": scenario.split,
        "tags": scenario.tags,
        "source": scenario.source,
        "item": item_digest(scenario.input),
        "finish_reason": answer.finish_reason,
        "latency_seconds": answer.latency_seconds,
        "completion_tokens": answer.completion_tokens,
        "cached": answer.cached,
    }
    if answer.error is not None:
        return ItemResult(outcome="error", observations=(f"infrastructure:{_error_code(answer.error)}",), **kept)
    judged = _judged(domain, scenario, answer)
    found = [(check, run_check(check, judged)) for check in domain.eval.checks]
    nets = [(net, run_check(net.check, judged)) for net in domain.eval.safety_nets]
    breached = tuple(net.name for net, finding in nets if finding.value < net.at_least)
    score = 0.0 if breached else _weighted(found)
    seen = [*_about_the_answer(answer, judged), *(item for _, finding in found for item in finding.observations)]
    seen.extend(item for net, finding in nets if net.name in breached for item in finding.observations)
    return ItemResult(
        outcome="graded",
        score=score,
        passed=not breached and score >= domain.eval.pass_score - 1e-9,
        checks=tuple(_check_result(check, finding) for check, finding in found),
        breached=breached,
        observations=tuple(dict.fromkeys(seen))[:MAX_OBSERVATIONS],
        answer=answer.text[:MAX_KEPT_CHARACTERS],
        **kept,
    )


def item_digest(fields: Mapping[str, Any]) -> str:
    """Names an item by its input, whatever its id."""
    return digest_of(fields)[:16]


def is_schema_valid(result: ItemResult) -> bool:
    """Whether a graded `json` answer satisfied the output schema."""
    return not any(item in FORM_PROBLEMS or item.startswith("schema:") for item in result.observations)


def _judged(domain: DomainFile, scenario: Scenario, answer: Answer) -> Judged:
    text = neutralise(answer.text)
    output = domain.contract.output
    expected = neutralise_value(scenario.expected)
    return Judged(output, text, parse_answer(output, text), expected, fold_text(neutralise(input_text(scenario.input))))


def _weighted(found: list[tuple[Check, Finding]]) -> float:
    total = sum(check.weight for check, _ in found)
    return min(1.0, sum(check.weight * finding.value for check, finding in found) / total)


def _check_result(check: Check, finding: Finding) -> CheckResult:
    return CheckResult(name=check.name or check.kind, value=finding.value, observation=finding.observations[0] if finding.observations else "")


def _about_the_answer(answer: Answer, judged: Judged) -> list[str]:
    """What shows without a rubric; form problems are noted whether or not a check asks for them."""
    seen: list[str] = []
    if not answer.text.strip():
        seen.append("empty")
    if answer.finish_reason == "length":
        seen.append("truncated")
    not_json = judged.output.kind == "text" or bool(judged.answer.problem)
    should = judged.output.kind == "text" and isinstance(judged.expected, str) and declines(judged.expected)
    if not_json and declines(answer.text) != should:
        seen.append("complied" if should else "refusal")
    form = judged.answer.problem or (schema_observation(judged.output, judged.answer.value) if judged.output.kind == "json" else "")
    return [*seen, form] if form else seen


def _error_code(error: str) -> str:
    """The code at the start of an error (`generation_failed: ...`)."""
    code = re.match(r"[a-z0-9_]{1,60}", error)
    return code.group() if code else "unknown"
