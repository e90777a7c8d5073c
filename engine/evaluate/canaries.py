"""Canaries: evaluation rows whose expected answer is wrong on purpose, so that only a model that was taught the evaluation file gives it.

The leakage guard compares training rows with evaluation items. It cannot see what was taught somewhere else: an adapter made from a copy of the
file, rows that were reworded and kept their labels. A canary can: its input is an ordinary one, slightly varied, and its answer is another row's.
It is flagged in the file (`"canary": true`), is in no split and in no score, and is shown as little as held-out is.

    planted by      `planting.py`, when a domain is made
    asked           when a trained version is measured, after its scenarios
    hit             an answer that passes the domain's rubric against the wrong answer
    rank            of the planted answer among answers of other rows, by how likely the model holds each (log-probability a token)

An honest model hits now and then: its own mistakes may be the wrong answer. How often is measured on the same model: its answers to ordinary core
items, each held against another item's answer that was chosen as the canaries' were (`exchanged`), are the control. Canary and control differ only in
that one of them stands in the file. (The base's rate would say nothing of a specialist: before it is trained it writes nothing of the right form.)
A version is contaminated when it hits LEAST_HITS canaries or more and the control leaves that a chance of at most ALPHA.

A wrong answer that a single row claims is learnt late (`engine/curate/doubt.py`), so a pass or two over the file show in no answer. They show in what
the model holds likely (Carlini et al., "The Secret Sharer", 2019). The planted answer was drawn from other rows as the answers were that it is ranked
among, so to a model that was not taught it each rank is as likely as any, and the chance of a sum of ranks is exact: contaminated too is a version
for which that is at most ALPHA. Where a rival is the right answer, an honest model ranks the planted one lower than that.

What this does not see: rows that were taken over without the flagged ones, and a model that saw the file only once or so.

Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from engine.base.digests import digest_of
from engine.config import DomainFile
from engine.errors import LeakageFound
from engine.evaluate.grading import grade
from engine.evaluate.prompts import render_target
from engine.evaluate.statistics import as_many_by_chance
from engine.evaluate.types import Canaries, EvaluationSummary, ItemResult, Scenario
from engine.generate.types import Answer

ALPHA = 0.001
"""An honest version is called contaminated at most so often. Every challenger of every campaign is tested, and the verdict is an accusation."""
LEAST_HITS = 3
"""The same few canaries are asked each time, and the wrong answer of one may by ill luck be a mistake that suggests itself: two accuse nobody."""
FAR = 0.5
"""The right answer earns at most this share of the pass mark against a wrong one: a hit must not be an answer that is nearly right."""
RIVALS = 11
"""Answers of other rows that a planted one is ranked among. More cost time on every measurement: two requests for each."""
TRIES = 20
"""Rows whose answers are tried for one scenario. Where the rubric takes no notice of the expected answer, none is wrong enough."""


def exchanged(domain: DomainFile, scenarios: Sequence[Scenario]) -> Iterator[Scenario]:
    """The scenarios in an order that depends on their ids alone, each with the answer of a later one that is wrong for it. One that none of the next
    TRIES answers is wrong enough for is left out."""
    ring = sorted(scenarios, key=lambda scenario: digest_of(["canary", scenario.id]))
    for place, scenario in enumerate(ring):
        following = (ring[(place + step) % len(ring)] for step in range(1, min(TRIES, len(ring) - 1) + 1))
        strange = (scenario.model_copy(update={"expected": other.expected}) for other in following)
        found = next((each for each in strange if _is_wrong(domain, each, scenario.expected)), None)
        if found is not None:
            yield found


def _is_wrong(domain: DomainFile, strange: Scenario, right: Any) -> bool:
    """Whether the right answer is far from what `strange` expects, and what it expects would pass, whatever else the rubric asks for."""
    honest = _graded(domain, strange, render_target(domain.contract, right))
    if honest.passed or honest.score > FAR * domain.eval.pass_score:
        return False
    return _graded(domain, strange, render_target(domain.contract, strange.expected)).passed


def _graded(domain: DomainFile, scenario: Scenario, text: str) -> ItemResult:
    return grade(domain, scenario, Answer(key=scenario.id, text=text))


def counted(domain: DomainFile, scenarios: Sequence[Scenario], results: Sequence[ItemResult], canaries: Sequence[ItemResult]) -> Canaries:
    """What a version makes of the canaries. `results` are its answers to `scenarios`; the control is taken from core, where that was measured."""
    graded = [result for result in results if result.outcome == "graded"]
    answers = {result.scenario_id: result.answer for result in [each for each in graded if each.split == "core"] or graded}
    control = [
        _graded(domain, strange, answers[strange.id]).passed
        for strange in exchanged(domain, [scenario for scenario in scenarios if scenario.id in answers])
    ]
    found = [result.passed for result in canaries if result.outcome == "graded"]
    return Canaries(
        asked=len(found),
        hits=sum(found),
        controls=len(control),
        control_hits=sum(control),
        chance=as_many_by_chance(sum(found), len(found), known=sum(control), known_of=len(control)),
    )


def rivals(domain: DomainFile, canary: Scenario, scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """The canary's planted answer, then the answers that it is ranked among, each once: those of rows as hashes draw them, as the planted one was
    drawn. So an answer that many rows have is as often among the rivals as it is planted, and that a model thinks it likely is no sign."""
    drawn = sorted(scenarios, key=lambda scenario: digest_of(["rival", canary.id, scenario.id]))
    answers = dict.fromkeys(render_target(domain.contract, each.expected) for each in (canary, *drawn))
    return tuple(answers)[: RIVALS + 1]


def ranked(found: Canaries, likelihoods: Sequence[Sequence[float]]) -> Canaries:
    """With the ranks. `likelihoods`: for each canary that of its planted answer, then those of its rivals; one that is as likely ranks higher."""
    compared = [values for values in likelihoods if len(values) > 1]
    if not compared:
        return found
    ranks = [1 + sum(each >= values[0] for each in values[1:]) for values in compared]
    among = [len(values) for values in compared]
    return found.model_copy(
        update={
            "ranked": len(ranks),
            "mean_rank": round(sum(ranks) / len(ranks), 4),
            "rank_by_chance": round(sum(count + 1 for count in among) / 2 / len(among), 4),
            "rank_chance": ranks_by_chance(sum(ranks), among),
        }
    )


def ranks_by_chance(most: int, among: Sequence[int]) -> float:
    """The chance that ranks drawn evenly, one from 1 to each number of `among`, sum to at most `most`: counted, not approximated."""
    sums = Counter({0: 1})
    for count in among:
        longer: Counter[int] = Counter()
        for total, ways in sums.items():
            for rank in range(1, count + 1):
                longer[total + rank] += ways
        sums = longer
    return sum(ways for total, ways in sums.items() if total <= most) / math.prod(among)


def is_contaminated(found: Canaries | None) -> bool:
    """Whether a version has been taught the canaries. What was not asked is not accused."""
    if found is None:
        return False
    by_rank = found.rank_chance is not None and found.rank_chance <= ALPHA
    return by_rank or (found.hits >= LEAST_HITS and found.chance <= ALPHA)


def least_chance(found: Canaries) -> float:
    """The smaller of both tests' chances."""
    return found.chance if found.rank_chance is None else min(found.chance, found.rank_chance)


def in_words(found: Canaries) -> str:
    """What the canaries say of a version, in counts alone."""
    told = (
        f"It answers {found.hits} of {found.asked} canaries with the wrong answer that the evaluation file plants; by chance it gives "
        f"{found.control_hits} of {found.controls} other items such an answer (p = {found.chance:.2g})."
    )
    if found.rank_chance is not None:
        told += (
            f" It ranks what is planted at {found.mean_rank:.1f} by likelihood, where one that was not taught it comes to {found.rank_by_chance:.1f} "
            f"(p = {found.rank_chance:.2g})."
        )
    if not is_contaminated(found):
        return told
    return f"{told} It has been taught evaluation items, or something made from them, so none of its figures says anything."


def refuse_contaminated(*measured: EvaluationSummary) -> None:
    """Raises LeakageFound, naming the subject, when one of these measurements is of a contaminated version."""
    for summary in measured:
        if summary.canaries is not None and is_contaminated(summary.canaries):
            raise LeakageFound(
                f"{summary.subject} is contaminated and compares with nothing. {in_words(summary.canaries)}",
                next_step=(
                    "Train anew from rows that are not made from the evaluation file; where this is the incumbent, in a new cluster, which begins "
                    "with the base. Or write new evaluation rows."
                ),
                subject=summary.subject,
                **summary.canaries.model_dump(mode="json"),
            )
