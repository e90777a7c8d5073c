"""The pre-flight: which prompts rewards can teach, and when the answer is SFT first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import NothingToLearn
from engine.train.preflight import is_flat, is_hopeless, is_solved, judge_samples, kept_prompts, refuse_without_spread
from engine.train.types import PromptSample

REWARDS = st.sampled_from((0.0, 0.25, 0.5, 1.0))
SAMPLES = st.lists(st.lists(REWARDS, min_size=4, max_size=4), min_size=1, max_size=20).map(
    lambda rows: [PromptSample(id=f"p{at}", rewards=tuple(values)) for at, values in enumerate(rows)]
)


@given(SAMPLES, st.integers(0, 10))
def test_exactly_hopeless_and_solved_prompts_are_dropped_and_those_with_spread_come_first(samples: list[PromptSample], unsampled: int) -> None:
    order = [sample.id for sample in samples] + [f"u{at}" for at in range(unsampled)]
    kept = kept_prompts(order, samples)
    dropped = {sample.id for sample in samples if set(sample.rewards) in ({0.0}, {1.0})}
    assert set(kept) == set(order) - dropped
    spread = {sample.id for sample in samples if len(set(sample.rewards)) > 1}
    assert set(kept[: len(spread)]) == spread


@given(SAMPLES, st.floats(0, 1))
def test_the_report_counts_what_is_there_and_training_goes_on_only_with_enough_spread(samples: list[PromptSample], least: float) -> None:
    report = judge_samples(samples, cut=0.0, least_spread=least)
    assert report.with_spread == sum(not is_flat(sample) for sample in samples) / len(samples)
    assert report.hopeless == sum(map(is_hopeless, samples))
    assert report.solved == sum(map(is_solved, samples))
    assert report.solvable == 1 - report.hopeless / len(samples) or abs(report.solvable - 1 + report.hopeless / len(samples)) < 1e-9
    assert (report.variance > 0) == (report.with_spread > 0)
    assert (report.advice == "go") == (report.with_spread >= least and report.with_spread > 0)


def test_sft_first_is_a_refusal_with_its_figures() -> None:
    samples = [PromptSample(id=f"p{at}", rewards=(0.0, 0.0, 0.0, 0.0)) for at in range(9)] + [PromptSample(id="p9", rewards=(0.0, 1.0, 0.0, 0.0))]
    report = judge_samples(samples, cut=0.5, least_spread=0.2)
    with pytest.raises(NothingToLearn, match="10% of 10 sampled prompts") as refusal:
        refuse_without_spread(report)
    assert refusal.value.message.endswith("SFT first.")
    assert refusal.value.details["hopeless"] == 9
    refuse_without_spread(judge_samples(samples[8:], cut=0.0, least_spread=0.2))
