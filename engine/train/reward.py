"""The reward of an answer to a training prompt: what evaluation would give it.

The same code grades (`engine/evaluate/grading.py`): the domain's checks with their partial credit, 0 where a safety net is breached, and an
answer that did not end within the limit graded as it stands. The references are those of the compiled training pool; no evaluation item is
looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import NamedTuple

from engine.base.digests import canonical_json
from engine.config import DomainFile
from engine.errors import ArgumentInvalid
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.grading import grade, is_schema_valid
from engine.evaluate.types import ItemResult, Scenario, TrainingRow
from engine.generate.types import Answer
from engine.train.preflight import SAME
from engine.train.types import StepFigures

_NO_ANSWER = ("empty", "refusal", "truncated")


class Sampled(NamedTuple):
    """One answer of the policy."""

    row: str
    """Id of the training row."""
    text: str
    tokens: int
    """The stop token included."""
    ended: bool
    """False when it was cut at the limit."""


class Rubric:
    """Grades answers to the rows of one training pool."""

    def __init__(self, compiled: CompiledDomain, rows: Sequence[str]) -> None:
        """Raises ArgumentInvalid when one of `rows` is not in the pool: without a reference there is no reward."""
        pool = {row.id: row for row in compiled.pool}
        unknown = [name for name in rows if name not in pool]
        if unknown:
            raise ArgumentInvalid(
                f"{len(unknown)} of {len(rows)} rows are not in the domain's training pool, such as {unknown[0]!r}; they have no reference to reward",
                next_step="Train on rows of the pool, or with SFT.",
            )
        self.domain: DomainFile = compiled.domain
        self._items = {name: as_item(pool[name]) for name in dict.fromkeys(rows)}

    def grade(self, answer: Sampled) -> ItemResult:
        """What evaluation makes of the answer."""
        return grade(
            self.domain,
            self._items[answer.row],
            Answer(key=answer.row, text=answer.text, finish_reason="stop" if answer.ended else "length", completion_tokens=answer.tokens),
        )

    def references(self, rows: Sequence[str]) -> int:
        """How many different references these rows have."""
        return len({canonical_json(self._items[name].expected) for name in rows})


def as_item(row: TrainingRow) -> Scenario:
    """A training row in the form that is graded. The split is a form's requirement: results of such items are kept nowhere."""
    return Scenario(id=row.id, input=row.input, expected=row.expected, split="core", tags=row.tags, source=row.source)


def outside_reward(domain: DomainFile, result: ItemResult) -> float:
    """What the reward does not count, 0 to 1: the answer's form, and the mean of the checks of weight 0 where the domain has any."""
    formed = not any(seen in _NO_ANSWER for seen in result.observations) and (domain.contract.output.kind != "json" or is_schema_valid(result))
    watched = [found.value for check, found in zip(domain.eval.checks, result.checks, strict=True) if check.weight == 0]
    return fmean([float(formed), fmean(watched)]) if watched else float(formed)


def step_figures(step: int, answers: Sequence[Sampled], rubric: Rubric, results: Sequence[ItemResult]) -> StepFigures:
    """The figures of one step from its answers, those to one prompt next to each other, and their results."""
    groups: dict[str, list[int]] = {}
    for at, answer in enumerate(answers):
        groups.setdefault(answer.row, []).append(at)
    scores = [result.score for result in results]
    flat = [max(scores[at] for at in group) - min(scores[at] for at in group) <= SAME for group in groups.values()]
    return StepFigures(
        step=step,
        reward=fmean(scores),
        spread=pstdev(scores),
        zero_spread=sum(flat) / len(flat),
        length=fmean(answer.tokens for answer in answers),
        cut=sum(not answer.ended for answer in answers) / len(answers),
        distinct=_different(groups, answers) / rubric.references(list(groups)),
        outside=fmean(outside_reward(rubric.domain, result) for result in results),
    )


def _different(groups: Mapping[str, Sequence[int]], answers: Sequence[Sampled]) -> float:
    """Different answers that a draw of one from each group shows, on average over the draws."""
    draws = max(len(group) for group in groups.values())
    return fmean(len({answers[group[draw % len(group)]].text for group in groups.values()}) for draw in range(draws))
