"""Whether an export answers as the version did that was evaluated. Pure.

The most reported fault of fine-tuned models is that what is served is not what was evaluated: another chat template, another tokenizer, a wrong
scale of the adapter, a torn tensor. Files that are equal prove none of it, for the fault may be in how they were made. So an export is loaded and
asked the core items again, and held against the answers of the measurement:

- answers: the share that is the same to the letter. A template or a tokenizer that differs shows here, and in no log-probability of given tokens.
- score: how far the mean moved, either way: an export that is better is another model too.
- logprobs: the version's fingerprint (`engine/generate/fingerprint.py`). A scale or a tensor that differs shows here, also where answers survive it.
- lost: an item without an answer is no agreement.

Only core is replayed: nothing of held-out need be said of an export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.evaluate.types import ItemResult
from engine.generate.types import FingerprintReport
from engine.promote.types import FormName, FormParity, ParityFigure

Likeness = Literal["same", "rounded", "quantised"]
"""How a form's numbers stand to those that were evaluated: the same ones in the same engine; the same weights rounded elsewhere (an adapter beside
its base, or added into it); fewer bits."""

SAME_ANSWERS: dict[Likeness, float] = {"same": 0.9, "rounded": 0.8, "quantised": 0.5}
"""Share of answers that must be the same to the letter. Batches fall together differently each time, so equal weights do not give equal answers
throughout: SmolLM2-135M with greedy decoding gave 49 of 50 the same in two engines of one precision and 47 of 50 in two precisions. The lower end of
95% intervals of those shares is 0.9 and 0.84. Fewer bits have no such figure; there the score decides."""
SCORE_MOVED = 0.05
"""How far the mean of core may move. One answer in twenty that tips over, all in one direction, moves it as far."""
ROUNDING = 1e-9
"""What two sums of the same numbers may differ by."""


class Replayed(NamedTuple):
    """What a form answered when it was asked again."""

    loaded_in: str
    report: FingerprintReport
    results: tuple[ItemResult, ...]
    """Of core; empty where the fingerprint did not match, for then nothing is asked."""
    seconds: float


def parity_of(form: FormName, likeness: Likeness, evaluated: Sequence[ItemResult], replayed: Replayed) -> FormParity:
    """A form's replay held against the measurement's answers to the same core items."""
    before = {result.scenario_id: result for result in evaluated if result.split == "core" and result.outcome == "graded"}
    after = {result.scenario_id: result for result in replayed.results if result.outcome == "graded" and result.scenario_id in before}
    return FormParity(
        form=form,
        loaded_in=replayed.loaded_in,
        items=len(before),
        figures=(*_logprobs(replayed.report), _answers(before, after, SAME_ANSWERS[likeness]), _lost(before, after), _score(before, after)),
        seconds=round(replayed.seconds, 3),
    )


def holds(name: str, figure: float | None, limit: float) -> bool:
    """Whether a figure is within its limit. What was not measured, or is no number, is not."""
    if figure is None or not math.isfinite(figure):
        return False
    return figure >= limit - ROUNDING if name == "answers" else figure <= limit + ROUNDING


def _figure(name: Literal["answers", "lost", "score", "logprobs"], measured: float | None, limit: float, sentence: str) -> ParityFigure:
    figure = round(measured, 4) if measured is not None and math.isfinite(measured) else None
    return ParityFigure(name=name, holds=holds(name, figure, limit), figure=figure, limit=limit, sentence=sentence)


def _answers(before: dict[str, ItemResult], after: dict[str, ItemResult], limit: float) -> ParityFigure:
    if not after:
        return _figure("answers", None, limit, f"None of {len(before)} core items was answered.")
    same = sum(after[name].answer == before[name].answer for name in after)
    sentence = f"{same} of {len(before)} answers to core items are the same to the letter; at least {limit:.0%} must be."
    return _figure("answers", same / len(before), limit, sentence)


def _lost(before: dict[str, ItemResult], after: dict[str, ItemResult]) -> ParityFigure:
    lost = len(before) - len(after)
    return _figure("lost", lost, 0, f"{lost} of {len(before)} core items have no answer.")


def _score(before: dict[str, ItemResult], after: dict[str, ItemResult]) -> ParityFigure:
    if not after:
        return _figure("score", None, SCORE_MOVED, "The score was not measured.")
    was, now = (math.fsum(side[name].score for name in after) / len(after) for side in (before, after))
    sentence = f"The mean score of core was {was:.3f} and is {now:.3f}; it may move by {SCORE_MOVED:g}."
    return _figure("score", abs(now - was), SCORE_MOVED, sentence)


def _logprobs(report: FingerprintReport) -> tuple[ParityFigure, ...]:
    """Nothing where the weights have no fingerprint."""
    if report.verdict == "unproved":
        return ()
    limit = report.limit or 0.0
    shown = "no number" if report.mean_difference is None else f"{report.mean_difference:.3f} nats"
    sentence = f"Log-probabilities of the version's fingerprint differ by {shown} on average; at most {limit:g} is allowed."
    if report.verdict == "mismatch":
        sentence += " These are other weights, so nothing was asked."
    return (_figure("logprobs", report.mean_difference, limit, sentence),)
