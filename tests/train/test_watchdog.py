"""The watchdog on curves: what is learning passes, what is hacking or collapse is found, and only what was sound is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.train.types import StepFigures
from engine.train.watchdog import LIMITS, sound_step, watch

SOUND = {"reward": 0.5, "spread": 0.3, "zero_spread": 0.2, "length": 30.0, "cut": 0.0, "distinct": 1.0, "outside": 0.9}
RECORDED = (0.344, 0.465, 0.429, 0.448, 0.41)
"""Window means of the reward in a real run (24 steps, 135M, intent and slots) that made held-out better."""


def curve(steps: int, **moves: tuple[float, float]) -> list[StepFigures]:
    """`steps` steps in which each named figure goes from its first value to its second, in a straight line, after the first window."""
    made = []
    for step in range(1, steps + 1):
        along = min(1.0, max(0.0, (step - LIMITS.window) / max(1, steps - 2 * LIMITS.window)))
        moved = {name: first + (last - first) * along for name, (first, last) in moves.items()}
        made.append(StepFigures.model_validate({"step": step, **SOUND, **moved}))
    return made


def first_finding(figures: list[StepFigures]):
    found = (watch(figures[:step], LIMITS) for step in range(1, len(figures) + 1))
    return next((finding for finding in found if finding is not None), None)


@given(
    st.floats(0.1, 0.5), st.floats(0.0, 0.4), st.floats(5, 60), st.floats(0.75, 1.3), st.floats(0.75, 1.2), st.floats(0.0, 0.7), st.integers(10, 60)
)
def test_a_reward_that_rises_with_form_length_and_diversity_in_place_is_left_alone(
    reward: float, gain: float, length: float, longer: float, distinct: float, flat: float, steps: int
) -> None:
    figures = curve(
        steps, reward=(reward, reward + gain), length=(length, length * longer), distinct=(1.0, distinct), zero_spread=(0.2, flat), outside=(0.85, 0.9)
    )
    assert first_finding(figures) is None


def test_the_recorded_run_that_helped_is_left_alone() -> None:
    figures = [StepFigures.model_validate({"step": 5 * at + i + 1, **SOUND, "reward": mean}) for at, mean in enumerate(RECORDED) for i in range(5)]
    assert first_finding(figures) is None


@pytest.mark.parametrize(
    ("moves", "kind", "signal"),
    [
        ({"reward": (0.4, 0.8), "outside": (0.9, 0.4)}, "reward_hacking", "outside"),
        ({"reward": (0.4, 0.8), "length": (30, 70)}, "reward_hacking", "length"),
        ({"reward": (0.4, 0.8), "length": (30, 8)}, "reward_hacking", "length"),
        ({"reward": (0.4, 0.8), "distinct": (1.0, 0.3)}, "reward_hacking", "distinct"),
        ({"reward": (0.5, 0.1)}, "collapse", "reward"),
        ({"zero_spread": (0.2, 1.0)}, "collapse", "zero_spread"),
        ({"distinct": (1.0, 0.1)}, "collapse", "distinct"),
        ({"length": (30, 120)}, "collapse", "length"),
        ({"length": (30, 3)}, "collapse", "length"),
        ({"kl": (0.0, 2.0)}, "collapse", "kl"),
    ],
)
def test_each_way_of_going_wrong_is_found_by_its_name_before_the_end(moves: dict, kind: str, signal: str) -> None:
    finding = first_finding(curve(40, **moves))
    assert finding is not None
    assert (finding.kind, finding.signal) == (kind, signal)
    assert finding.step < 40
    assert f"At step {finding.step}" in finding.sentence


def test_groups_without_spread_are_no_collapse_when_they_are_solved() -> None:
    assert first_finding(curve(40, reward=(0.5, 1.0), zero_spread=(0.2, 1.0))) is None


@given(st.sampled_from(("reward", "length")), st.integers(10, 30))
def test_a_figure_that_is_no_number_never_passes(name: str, steps: int) -> None:
    figures = curve(steps)
    figures[-1] = figures[-1].model_copy(update={name: float("nan")})
    assert watch(figures, LIMITS) is not None


@given(st.integers(1, 2 * LIMITS.window - 1), st.floats(0, 1), st.floats(1, 1000))
def test_nothing_is_found_before_there_are_two_windows(steps: int, reward: float, length: float) -> None:
    assert watch(curve(steps, reward=(0.0, reward), length=(length, 1.0)), LIMITS) is None


@given(st.sets(st.integers(1, 40), max_size=10), st.floats(0.2, 0.9), st.sampled_from(({"outside": (0.9, 0.0)}, {"length": (30, 300)})))
def test_what_is_kept_was_saved_before_the_window_of_the_finding_and_is_the_best_of_those(saved: set[int], gain: float, wrong: dict) -> None:
    figures = curve(40, reward=(0.1, 0.1 + gain), **wrong)
    finding = first_finding(figures)
    assert finding is not None
    step = sound_step(figures[: finding.step], finding, saved, LIMITS)
    sound = {one for one in saved if one < finding.since}
    assert (step is None) == (not sound)
    if step is not None:
        assert step == max(sound)  # the reward rises all the way


def test_a_checkpoint_whose_reward_had_already_fallen_is_not_worth_keeping() -> None:
    figures = curve(40, reward=(0.6, 0.0))
    finding = first_finding(figures)
    assert finding is not None
    late = finding.since - 1
    assert sound_step(figures, finding, [late], LIMITS) == (late if figures[late - 1].reward > 0.55 else None)
    assert sound_step(figures, finding, [LIMITS.window], LIMITS) == LIMITS.window
    assert sound_step(figures, finding, [], LIMITS) is None
