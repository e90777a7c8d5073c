"""What a teacher's answers are worth and what is taken of them. Pure.

A teacher answers training prompts only. Its answers are graded by the domain's own rubric against the labels; that is the cross-check, and the
figure that is held against the floor. The floor cannot be measured on the rows that it was fitted on, so its core score is the bar: two means over
different items of one domain, compared as means. A teacher below the bar would teach a small model to do worse than a baseline without one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from engine.config import Output, Profile
from engine.curate.teach_jobs import FloorBar, LeftOut
from engine.evaluate.answers import MISSING, parse_answer
from engine.evaluate.grading import is_schema_valid
from engine.evaluate.prompts import neutralise
from engine.evaluate.types import Interval, ItemResult, Scenario, TrainingRow
from engine.generate.types import Answer, Message, Request

Trust = Literal["labels", "teacher", "both"]
Asking = Literal["schema", "words", "none"]

PROBE = 4
"""Questions that are asked before anything is known of what an answer takes."""
CHARACTERS_A_TOKEN = 4
"""Where an endpoint reports no usage."""
LEAST_JUDGED = 10
"""With fewer graded answers a mean says nothing, and the teacher is not used."""


# ---- asking ------------------------------------------------------------------------------------------------------------------------------


def asking_of(output: Output, profile: Profile | None) -> Asking:
    """How the form of an answer is asked for. A schema also where the domain itself decodes freely: only answers in form are taught."""
    if output.kind != "json" or output.json_schema is None or profile is None:
        return "none"
    return "words" if profile.kind == "endpoint" and not profile.structured_output else "schema"


def in_words(messages: Sequence[Message], schema: Mapping[str, Any]) -> tuple[Message, ...]:
    """A conversation whose system message also states the schema, for an endpoint that takes none."""
    stated = f"Answer with one JSON object and nothing else. It must satisfy this JSON Schema: {json.dumps(schema, ensure_ascii=False)}"
    system = "\n\n".join([*(message.content for message in messages if message.role == "system"), stated])
    return (Message(role="system", content=system), *(message for message in messages if message.role != "system"))


def tokens_of(request: Request, answer: Answer) -> int:
    """What a question and its answer take, in tokens: as reported, or a quarter of the characters where nothing is."""
    prompt = answer.prompt_tokens or -(-sum(len(message.content) for message in request.messages) // CHARACTERS_A_TOKEN)
    return prompt + (answer.completion_tokens or -(-len(answer.text) // CHARACTERS_A_TOKEN))


def affordable(budget: int | None, spent: Sequence[int], waiting: int) -> int:
    """How many more questions to ask now, when each may take as much as the dearest so far; 0 ends the asking.

    The budget is overrun only by the first PROBE questions, or by an answer dearer than all before it.
    """
    if budget is None:
        return waiting
    if not spent:
        return min(PROBE, waiting)
    return min(waiting, max(0, budget - sum(spent)) // max(1, *spent))


def stopped(asked: int, pool: int, spent: int, *, max_answers: int, max_tokens: int | None) -> str:
    """What ended the asking before the pool did, in a sentence."""
    if asked >= pool:
        return ""
    if asked >= max_answers:
        return f"Asked for {asked} of {pool} training rows: the budget of {max_answers} answers is spent."
    return f"Asked for {asked} of {pool} training rows: {spent} of the {max_tokens} tokens of its budget are spent, and another may not fit."


def items_of(rows: Sequence[TrainingRow]) -> list[Scenario]:
    """Training rows in the shape that grading takes. The split is a form's requirement: these are in no suite, and no table of measurements."""
    return [Scenario(id=row.id, input=row.input, expected=row.expected, split="core", source=row.source) for row in rows]


# ---- judging -----------------------------------------------------------------------------------------------------------------------------


class Standing(NamedTuple):
    """Whether a teacher is used, and why."""

    usable: bool
    reason: str


def standing(
    name: str, score: Interval, agreement: Interval, floor: FloorBar | None, *, metric: str, suite: str, grading: str, no_floor: str
) -> Standing:
    """A teacher's figures against the floor's. Whatever is missing makes it unusable."""
    mine, words = (score, "score") if metric == "score" else (agreement, "pass rate")
    figures = f"{name} has a {words} of {_figures(mine)} against the labels of training rows"
    if mine.n < LEAST_JUDGED:
        return Standing(False, f"{figures}; fewer than {LEAST_JUDGED} graded answers say nothing, so it is not used.")
    if no_floor:
        return Standing(False, f"{figures}. It is not used: {no_floor}")
    if floor is None:
        return Standing(True, f"{figures}. No baseline fits this output, so there is no floor to be below.")
    if (floor.suite, floor.grading) != (suite, grading):
        return Standing(False, f"{figures}. It is not used: the floor {floor.evaluation_id} was measured on another suite or rubric.")
    bar = floor.score if metric == "score" else floor.pass_rate
    against = f"{floor.subject} has {_figures(bar)} on core"
    if not mine.mean >= bar.mean:
        return Standing(False, f"{figures}, below the floor: {against}. It is reported and not used.")
    return Standing(True, f"{figures}, not below the floor: {against}.")


def _figures(figure: Interval) -> str:
    return f"{figure.mean:.3f} [{figure.low:.3f}, {figure.high:.3f}] (n={figure.n})"


# ---- taking ------------------------------------------------------------------------------------------------------------------------------


def taught_values(output: Output, trust: Trust, results: Sequence[ItemResult], texts: Mapping[str, str]) -> tuple[dict[str, Any], LeftOut]:
    """The answers that are taught, as values by row id, and how many are not. `texts`: each answer in full."""
    values: dict[str, Any] = {}
    counts = {"form": 0, "disagrees": 0, "lost": 0}
    for result in results:
        if result.outcome != "graded":
            counts["lost"] += 1
            continue
        value = _value(output, result, texts[result.scenario_id])
        if value is MISSING:
            counts["form"] += 1
        elif trust != "teacher" and not result.passed:
            counts["disagrees"] += 1
        else:
            values[result.scenario_id] = value
    return values, LeftOut(**counts)


def _value(output: Output, result: ItemResult, text: str) -> Any:
    """An answer's value; MISSING when its form is not what may be taught."""
    if result.finish_reason != "stop" or result.breached or not text.strip():
        return MISSING
    if output.kind == "json" and not is_schema_valid(result):
        return MISSING
    return parse_answer(output, neutralise(text)).value


def taught_pool(pool: Sequence[TrainingRow], values: Mapping[str, Any], trust: Trust) -> list[TrainingRow]:
    """The pool as it is taught: the teacher's answers in the place of labels, and without the rows that its trust leaves out."""
    kept = pool if trust == "labels" else [row for row in pool if row.id in values]
    return [row.model_copy(update={"expected": values[row.id]}) if row.id in values else row for row in kept]
