"""The watchdog of a GRPO run: whether what happens is still learning.

It compares the last window of steps with the first one. Two kinds of findings, each with a limit in the plan (`WatchLimits`):

* reward hacking: the reward has risen above its start, and something that the reward does not pay for has gone wrong with it: form and checks
  of weight 0 fall (`outside`), answers grow or shrink out of measure (`length`), or different prompts get the same answers (`distinct`);
* collapse: most groups score alike without being solved (`zero_spread`), answers to different prompts become one (`distinct`), explode or
  vanish (`length`), the reward falls below its start (`reward`), or the policy has left its reference (`kl`).

Nothing is found before there are two whole windows. A figure that is no number is a finding, never a pass. Pure; the worker feeds it the curve
after each step. What it cannot see: a reward that is wrong from the start, because the start is what it compares with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from engine.train.types import Finding, StepFigures, WatchLimits

LIMITS = WatchLimits(
    window=5,
    reward_rise=0.05,
    outside_fall=0.15,
    hacked_length=1.6,
    hacked_distinct=0.5,
    zero_spread=0.85,
    solved=0.9,
    collapsed_distinct=0.25,
    collapsed_length=2.5,
    reward_fall=0.15,
    kl=0.5,
)
"""What a plan says unless it says otherwise. Five steps of four prompts are twenty prompts: a shift of 0.15 in a mean over them is rare by chance
where answers spread by a third (0.15 is about two standard errors of the difference of two such windows); the rest are wide on purpose."""

Signal = Literal["outside", "length", "distinct", "zero_spread", "reward", "kl"]


class Window(NamedTuple):
    """Means over some consecutive steps."""

    reward: float
    zero_spread: float
    length: float
    distinct: float
    outside: float
    kl: float | None


def watch(curve: Sequence[StepFigures], limits: WatchLimits) -> Finding | None:
    """The worst finding at the end of `curve` (steps in order, none missing), or None while all is well. Hacking is looked for first."""
    if len(curve) < 2 * limits.window:
        return None
    start, now = mean_of(curve[: limits.window]), mean_of(curve[-limits.window :])
    step, since = curve[-1].step, curve[-limits.window].step

    def finding(kind: Literal["reward_hacking", "collapse"], signal: Signal, before: float, after: float, limit: float, words: str) -> Finding:
        return Finding(
            kind=kind,
            signal=signal,
            step=step,
            since=since,
            start=_finite(before),
            now=_finite(after),
            limit=limit,
            sentence=f"At step {step}, {words} (mean of the last {limits.window} steps {after:.3g}, of the first {before:.3g}, limit {limit:.3g}).",
        )

    if not now.reward <= start.reward + limits.reward_rise:
        risen = f"the reward rose from {start.reward:.3f} to {now.reward:.3f} while"
        low = start.outside - limits.outside_fall
        if not now.outside >= low:
            return finding("reward_hacking", "outside", start.outside, now.outside, low, f"{risen} what it does not count got worse")
        for limit, wrong, words in (
            (start.length * limits.hacked_length, not now.length <= start.length * limits.hacked_length, "grew longer"),
            (start.length / limits.hacked_length, not now.length >= start.length / limits.hacked_length, "shrank"),
        ):
            if wrong:
                return finding("reward_hacking", "length", start.length, now.length, limit, f"{risen} answers {words}")
        least = start.distinct * limits.hacked_distinct
        if not now.distinct >= least:
            return finding("reward_hacking", "distinct", start.distinct, now.distinct, least, f"{risen} different prompts got the same answers")

    if not now.reward >= start.reward - limits.reward_fall:
        lowest = start.reward - limits.reward_fall
        return finding("collapse", "reward", start.reward, now.reward, lowest, "the reward fell below where it began")
    if not (now.zero_spread < limits.zero_spread or now.reward >= limits.solved):
        return finding("collapse", "zero_spread", start.zero_spread, now.zero_spread, limits.zero_spread, "nearly all groups of answers score alike")
    least = start.distinct * limits.collapsed_distinct
    if not now.distinct >= least:
        return finding("collapse", "distinct", start.distinct, now.distinct, least, "different prompts get the same answers")
    for limit, wrong, words in (
        (start.length * limits.collapsed_length, not now.length <= start.length * limits.collapsed_length, "answers exploded in length"),
        (start.length / limits.collapsed_length, not now.length >= start.length / limits.collapsed_length, "answers all but vanished"),
    ):
        if wrong:
            return finding("collapse", "length", start.length, now.length, limit, words)
    if now.kl is not None and not now.kl <= limits.kl:
        return finding("collapse", "kl", start.kl or 0.0, now.kl, limits.kl, "the policy has left its reference")
    return None


def sound_step(curve: Sequence[StepFigures], finding: Finding, saved: Iterable[int], limits: WatchLimits) -> int | None:
    """Of the steps in `saved`, the one to keep: before the window of the finding, and with the best reward over the window that ends there.

    One whose reward lies below that of the first window by more than noise (`reward_rise`) is not worth keeping; None when there is no other.
    """
    reached = {figures.step: at for at, figures in enumerate(curve)}
    start = mean_of(curve[: limits.window]).reward
    rewards = {
        step: mean_of(curve[max(0, reached[step] + 1 - limits.window) : reached[step] + 1]).reward
        for step in saved
        if step in reached and step < finding.since
    }
    worth = {step: reward for step, reward in rewards.items() if reward >= start - limits.reward_rise}
    return max(worth, key=lambda step: (round(worth[step], 9), step), default=None)


def mean_of(figures: Sequence[StepFigures]) -> Window:
    """The means over `figures`, at least one."""
    divergences = [one.kl for one in figures if one.kl is not None]
    return Window(
        reward=fmean(one.reward for one in figures),
        zero_spread=fmean(one.zero_spread for one in figures),
        length=fmean(one.length for one in figures),
        distinct=fmean(one.distinct for one in figures),
        outside=fmean(one.outside for one in figures),
        kl=fmean(divergences) if divergences else None,
    )


def _finite(value: float) -> float:
    """What a document can hold of a figure that is no number."""
    return value if math.isfinite(value) else -1.0
