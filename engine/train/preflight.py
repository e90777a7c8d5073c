"""Whether rewards can teach anything, decided before a GRPO run takes a step.

GRPO learns from the differences between answers to one prompt. A prompt whose answers all score alike has no gradient: hopeless ones (all 0)
need examples, solved ones (all 1) need nothing. So a few answers are sampled where training would start; both kinds are dropped, and when too
few prompts show any spread the answer is "SFT first". Pure: the sampling is done by `engine/train/grpo.py`, the grading by the domain's rubric.

Prompts that were not sampled stay in: the sample says what share of them to expect a spread from.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pvariance

from engine.errors import NothingToLearn
from engine.train.types import Preflight, PromptSample

SAME = 1e-9
"""Rewards closer than this are equal."""


def is_flat(sample: PromptSample) -> bool:
    """Whether all answers to the prompt score alike."""
    return max(sample.rewards) - min(sample.rewards) <= SAME


def is_hopeless(sample: PromptSample) -> bool:
    """Whether no answer to the prompt has any reward."""
    return max(sample.rewards) <= SAME


def is_solved(sample: PromptSample) -> bool:
    """Whether every answer to the prompt has the full reward."""
    return min(sample.rewards) >= 1.0 - SAME


def judge_samples(samples: Sequence[PromptSample], *, cut: float, least_spread: float) -> Preflight:
    """The report on prompts that were sampled, at least one, each with as many answers. `least_spread`: share of prompts that must show spread."""
    prompts = len(samples)
    with_spread = sum(not is_flat(sample) for sample in samples) / prompts
    solvable = sum(not is_hopeless(sample) for sample in samples) / prompts
    hopeless, solved = sum(map(is_hopeless, samples)), sum(map(is_solved, samples))
    reward = fmean(value for sample in samples for value in sample.rewards)
    found = (
        f"{with_spread:.0%} of {prompts} sampled prompts have answers that score differently ({solvable:.0%} have any answer with a reward; "
        f"{hopeless} hopeless, {solved} solved; mean reward {reward:.3f})"
    )
    enough = with_spread >= least_spread and with_spread > 0
    return Preflight(
        prompts=prompts,
        samples=len(samples[0].rewards),
        solvable=solvable,
        with_spread=with_spread,
        reward=reward,
        variance=fmean(pvariance(sample.rewards) for sample in samples),
        hopeless=hopeless,
        solved=solved,
        cut=cut,
        advice="go" if enough else "sft_first",
        reason=f"{found}, which is enough for rewards to teach." if enough else f"{found}; rewards need {least_spread:.0%}. SFT first.",
    )


def kept_prompts(order: Sequence[str], samples: Sequence[PromptSample]) -> list[str]:
    """The prompts of `order` that training uses: those whose answers differ first, then the others; hopeless and solved ones are dropped."""
    judged = {sample.id: sample for sample in samples}
    kept = [name for name in order if name not in judged or not (is_hopeless(judged[name]) or is_solved(judged[name]))]
    return sorted(kept, key=lambda name: name not in judged or is_flat(judged[name]))


def refuse_without_spread(report: Preflight) -> None:
    """Raises NothingToLearn, with the figures, when the report says SFT first."""
    if report.advice == "go":
        return
    raise NothingToLearn(
        report.reason,
        next_step="Train with SFT first (train.method: sft), or give the rubric partial credit; then GRPO has something to compare.",
        **report.model_dump(mode="json", exclude={"reason"}),
    )
