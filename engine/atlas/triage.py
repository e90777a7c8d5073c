"""Should you train? What to try first by what is known beforehand, and what follows from what was measured. Pure.

Two answers of one shape. Without a domain it is a framework: rules with their reasons, which at most say what to measure. With a domain it is a
judgement of measurements: what needs no training is asked first, from the cheapest to the dearest, and training is the answer only where none of it
reaches the target and there is something to learn from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.atlas.learning_curve import FARTHEST, RowsNeeded
from engine.atlas.types import Approach, Situation
from engine.evaluate.types import Interval

Verdict = Literal["do_not_train", "measure_first", "label_first", "train"]
When = Literal["first", "if_that_fails", "not_here"]
UNTRAINED: tuple[Approach, ...] = ("floor", "prompt", "constrain_decoding", "few_shot", "larger_model")
"""What needs no training of a language model, cheapest first."""
CHEAP: tuple[Approach, ...] = ("floor", "prompt", "constrain_decoding", "few_shot")
"""What an iterate run without rounds measures."""
EVALUATION_ROWS = 100
"""With fewer a pass rate near one half is known to ten points at best: 1.96 x sqrt(0.25 / 100) = 0.098."""
TRAINING_ROWS = 200
"""Fewer labelled rows leave hardly a hundred to learn from once those are set aside for evaluation. A rule of thumb."""

MOST_TIMES = 10
"""As many evaluation items as there are: beyond, nobody labels them to tell two figures apart that are nearly the same."""


class Advice(NamedTuple):
    """What the framework says of one way."""

    approach: Approach
    when: When
    reason: str


class Tried(NamedTuple):
    """What was measured of one way."""

    approach: Approach
    quality: Interval | None
    """In the domain's metric; None where it was not measured."""


class Judgement(NamedTuple):
    """The answer."""

    verdict: Verdict
    reasons: tuple[str, ...]


# ---- without a domain ------------------------------------------------------------------------------------------------------------------

REASONS: dict[Approach, dict[str, tuple[When, str]]] = {
    "floor": {
        "labels": ("first", "A classifier over words is fitted in seconds, costs next to nothing to serve, and is what a model has to beat."),
        "": ("not_here", "Without labels or fields to fill in there is nothing that a classical baseline predicts."),
    },
    "prompt": {"": ("first", "It costs an afternoon, and says what everything else has to beat.")},
    "constrain_decoding": {
        "format": ("first", "Decoding held to a schema cannot leave the form; it is a switch, no training."),
        "labels": ("first", "Held to the list of labels, an answer is always one of them."),
        "": ("if_that_fails", "It mends the form of an answer, not what is in it."),
    },
    "few_shot": {
        "style": ("first", "A few good answers in the prompt show a style better than words do."),
        "facts": ("not_here", "Examples show how to answer, not what is true today."),
        "": ("if_that_fails", "Worked examples cost prompt tokens with each request and no training."),
    },
    "retrieval": {
        "facts": ("first", "What changes or must be cited belongs into the prompt: weights learn ways of answering, and name no source."),
        "": ("not_here", "Nothing has to be looked up."),
    },
    "larger_model": {
        "reasoning": ("first", "What a small model cannot work out it seldom learns from some hundred rows; a larger one shows what is possible."),
        "speed": ("not_here", "It is slower and dearer, which is what is wrong."),
        "": ("if_that_fails", "It shows whether the task is hard or the model small, and can become the teacher."),
    },
    "lora": {
        "facts": ("not_here", "Facts that change would be trained in again and again, and forgotten meanwhile."),
        "speed": ("first", "A small model made for one task is how requests become cheap; it needs labelled rows, or a larger model to teach it."),
        "labels": ("if_that_fails", "Boundaries between labels that a prompt does not bring over are what rows teach best."),
        "reasoning": ("if_that_fails", "Only with worked solutions to learn from; answers alone teach it to sound right."),
        "": ("if_that_fails", "It is worth it where measurements of all the others fall short, and for as long as the task stays as it is."),
    },
}
"""By what is wrong; `""` stands for everything else."""


def advised(situation: Situation) -> tuple[Advice, ...]:
    """What to try, in order."""
    told = []
    for approach, by_need in REASONS.items():
        when, reason = by_need.get(situation.need or "", by_need[""])
        if situation.facts_change and approach in ("retrieval", "lora"):
            when, reason = REASONS[approach]["facts"]
        told.append(Advice(approach, when, reason))
    order: tuple[When, ...] = ("first", "if_that_fails", "not_here")
    return tuple(sorted(told, key=lambda each: order.index(each.when)))


def framework(situation: Situation) -> Judgement:
    """What can be said before anything was measured: never that training is worth it."""
    rows = situation.labelled_rows
    if situation.need == "facts" or situation.facts_change:
        return Judgement("do_not_train", (REASONS["retrieval"]["facts"][1], REASONS["lora"]["facts"][1]))
    if rows is not None and rows < EVALUATION_ROWS:
        why = f"{rows} labelled rows cannot show whether anything is better: {EVALUATION_ROWS} tell a pass rate to ten points."
        return Judgement("label_first", (why, "Rows for evaluation come first; prompts and examples can be written meanwhile."))
    reasons = ["Nothing was measured yet, and what needs no training may do."]
    if rows is not None and rows < TRAINING_ROWS:
        reasons.append(f"{rows} rows are enough to measure and hardly enough to learn from: from {TRAINING_ROWS} on some are left for that.")
    return Judgement("measure_first", tuple(reasons))


# ---- with a domain ---------------------------------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """What is known of a domain."""

    tried: Sequence[Tried]
    target: float | None
    """Of the metric."""
    metric: str
    rows: int
    """Labelled, to learn from."""
    above_floor: bool | None
    """Whether the trained version is shown to lie above the floor, in pairs; None where either is not there."""
    above_base: bool | None
    """Above the base likewise."""
    refused: int
    """Challengers that the gate refused since the last one that it accepted."""
    needed: RowsNeeded | None
    """For the target, by the learning curve."""


def judged(measured: Measured) -> Judgement:
    """What follows, from the cheapest way to the dearest."""
    known = {each.approach: each.quality for each in measured.tried if each.quality is not None}
    target, lora = measured.target, known.get("lora")
    if target is not None:
        reached = [name for name in UNTRAINED if name in known and known[name].low >= target]
        if reached:
            return Judgement("do_not_train", (f"{_words(reached[0], known)} reaches {measured.metric} {target:g} surely, without training.",))
    if lora is not None:
        return _of_a_trained_one(measured, known, lora)
    nearly = [name for name in UNTRAINED if name in known and target is not None and known[name].mean >= target]
    if nearly:
        why = f"{_words(nearly[0], known)} may reach {measured.metric} {target:g}: its interval does not say yet."
        return Judgement("measure_first", (why, _until_sure(known[nearly[0]], target or 0.0)))
    missing = [name for name in CHEAP if name in {each.approach for each in measured.tried if each.quality is None}]
    if missing:
        return Judgement("measure_first", (f"Not measured yet: {', '.join(NAMES[name] for name in missing)}.",))
    return _before_training(measured, known)


def _until_sure(quality: Interval, target: float) -> str:
    """What it takes to tell a mean from a target that it is not below. Intervals shrink with the root of the items."""
    room = quality.mean - target
    if room <= 0:
        return "It lies on the target, so no number of evaluation items is likely to say more; training has to be worth it for another reason."
    items = math.ceil(quality.n * ((quality.mean - quality.low) / room) ** 2)
    many = f"If its mean stays, some {items:,} evaluation items instead of {quality.n:,} would say it."
    if items <= MOST_TIMES * quality.n:
        return f"{many} They cost less than training."
    return f"{many} That is hardly worth {room:.3g}: take it as reaching the target, or ask for more than {target:g} and look again."


NAMES: dict[Approach, str] = {
    "floor": "the floor",
    "prompt": "the base as it is prompted",
    "constrain_decoding": "decoding under the schema",
    "few_shot": "worked examples in the prompt",
    "retrieval": "retrieval",
    "larger_model": "a larger model",
    "lora": "the trained version",
}


def _words(name: Approach, known: dict[Approach, Interval]) -> str:
    each = known[name]
    return f"{NAMES[name][0].upper()}{NAMES[name][1:]} ({each.mean:.3f} [{each.low:.3f}, {each.high:.3f}])"


def _of_a_trained_one(measured: Measured, known: dict[Approach, Interval], lora: Interval) -> Judgement:
    """A version was trained and accepted: was it worth it, and would more be?"""
    others = {name: known[name] for name in UNTRAINED if name in known}
    if measured.above_floor is False or measured.above_base is False:
        which = "the floor" if measured.above_floor is False else "the base"
        return Judgement("do_not_train", (f"{_words('lora', known)} is not shown to be better than {which}: what costs less does as well.",))
    rivals = [name for name, each in others.items() if name not in ("floor", "prompt") and each.mean >= lora.low]
    if rivals:
        why = f"{_words('lora', known)} is not shown to be better than {NAMES[rivals[0]]} ({others[rivals[0]].mean:.3f}), which needs no training."
        return Judgement("do_not_train", (why, "They were measured on different items; a measurement on the same ones may part them."))
    worth = f"{_words('lora', known)} is better than all that needs no training."
    if measured.target is None or lora.mean >= measured.target:
        reached = "" if measured.target is None else f" It reaches {measured.metric} {measured.target:g}."
        return Judgement("train", (worth + reached, "It is trained; train again when drift or new rows say so."))
    return _further(measured, (worth,))


def _before_training(measured: Measured, known: dict[Approach, Interval]) -> Judgement:
    best = max((name for name in UNTRAINED if name in known), key=lambda name: known[name].mean)
    reasons = [f"{_words(best, known)} is the best without training" + (
        f"; {measured.metric} {measured.target:g} is wanted." if measured.target is not None else "; no target says whether that is enough."
    )]  # fmt: skip
    if measured.refused:
        reasons.append(f"{measured.refused} trained versions were refused by the gate: none was shown to be better.")
    if measured.target is None:
        return Judgement("measure_first", (*reasons, "Set a target for the cluster in clusters.json: without one any gain looks worth its price."))
    if measured.rows < TRAINING_ROWS:
        return Judgement("label_first", (*reasons, f"{measured.rows} training rows are few: from {TRAINING_ROWS} on they are worth a round."))
    return _further(measured, tuple(reasons))


def _further(measured: Measured, reasons: tuple[str, ...]) -> Judgement:
    """Train on what there is, or label more first: by the learning curve, where there is one."""
    needed = measured.needed
    if needed is None:
        return Judgement("train", (*reasons, "No learning curve says how much the rows are worth."))
    if needed.low is None or needed.low > measured.rows:
        why = f"The floor's learning curve does not come to {measured.target:g} within {FARTHEST} times the {measured.rows} rows there are."
        if needed.low is not None:
            why = f"The floor's learning curve comes to {measured.target:g} with at least {needed.low} rows; there are {measured.rows}."
        if measured.refused or any(each.approach == "lora" and each.quality for each in measured.tried):
            return Judgement("label_first", (*reasons, why))
        return Judgement("train", (*reasons, why, "A language model often needs fewer rows than the floor: one round says by how much."))
    return Judgement("train", (*reasons, f"By the learning curve {measured.rows} rows can be enough."))
