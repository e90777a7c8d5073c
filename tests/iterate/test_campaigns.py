"""Simulated campaigns: how often the gate lets a challenger through that is no better, how often it sees one that is, and what stopping early saves.

The model has a chance of its own to pass each item (most are nearly sure or nearly hopeless, some waver), and every answer is drawn anew: two
measurements of equal weights differ, as they do with a real server. Items come in dialogues of one to four.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.config import Acceptance
from engine.evaluate.early_stop import ERROR, Watch, certain_refusal, in_order, portions
from engine.evaluate.statistics import attempt_confidence, detectable_difference, interval, sign_flip
from engine.evaluate.types import ItemResult, Scenario, StoppedEarly
from engine.iterate.decide import decide

Values = np.ndarray[Any, np.dtype[np.float64]]

ITEMS = 240
CAMPAIGNS = 300
ATTEMPTS = 10
EARLY = 25
"""Challengers of each effect that are watched for an early stop."""
SOURCES = [f"d{number}" for number in np.repeat(np.arange(ITEMS), np.resize([1, 2, 3, 4], ITEMS))[:ITEMS]]


def chances(dice: np.random.Generator) -> Values:
    """Each item's chance of being passed."""
    return dice.beta(0.4, 0.3, ITEMS)


def measured(chance: Values, dice: np.random.Generator, *, partial: bool) -> Values:
    """The scores of one measurement: 1 or 0; with partial credit a quarter, half or three quarters of it where it failed."""
    return np.where(dice.random(ITEMS) < chance, 1.0, dice.integers(0, 4, ITEMS) / 4 if partial else 0.0)


def is_shown(before: Values, after: Values, attempt: int) -> bool:
    """The improvement clause's condition (`shown_above_zero`), its cheap half first."""
    confidence = attempt_confidence(0.95, attempt)
    gained = list(after - before)
    if sign_flip(gained, SOURCES) > 1 - confidence:
        return False
    return interval(gained, SOURCES, confidence=confidence, limits=(-1.0, 1.0)).low > 0


def promotes(dice: np.random.Generator, *, partial: bool, budget: bool) -> bool:
    """Whether any of ten challengers that are equal to the incumbent gets through."""
    chance = chances(dice)
    incumbent = measured(chance, dice, partial=partial)
    attempts = range(1, ATTEMPTS + 1) if budget else [1] * ATTEMPTS
    return any(is_shown(incumbent, measured(chance, dice, partial=partial), attempt) for attempt in attempts)


@pytest.mark.parametrize("partial", [False, True], ids=["pass or fail", "partial credit"])
def test_of_hundreds_of_campaigns_without_any_improvement_at_most_the_stated_share_promotes(partial: bool) -> None:
    dice = np.random.default_rng(5)
    promoted = sum(promotes(dice, partial=partial, budget=True) for _ in range(CAMPAIGNS))
    # Stated: 5%. Of 300 campaigns that is 15; more than 24 would come about once in a hundred times at exactly 5%.
    assert promoted <= 24, promoted


def test_without_the_budget_ten_attempts_would_promote_more_often_than_stated() -> None:
    with_budget, without = (
        sum(promotes(dice, partial=False, budget=budget) for _ in range(CAMPAIGNS))
        for budget, dice in ((True, np.random.default_rng(5)), (False, np.random.default_rng(5)))
    )
    assert without > 0.05 * CAMPAIGNS
    assert without > 2 * with_budget


def test_the_power_grows_with_the_effect_and_agrees_with_what_the_verdict_says_it_could_detect() -> None:
    dice = np.random.default_rng(6)
    power: dict[float, float] = {}
    detectable: list[float] = []
    for effect in (0.02, 0.05, 0.10, 0.20):
        shown = 0
        for _ in range(60):
            chance = chances(dice)
            better = np.where(dice.random(ITEMS) < effect / (1 - chance).mean(), 1.0, chance)
            before, after = measured(chance, dice, partial=False), measured(better, dice, partial=False)
            shown += is_shown(before, after, 1)
            detectable.append(detectable_difference(list(after - before), SOURCES))
        power[effect] = shown / 60
    assert power[0.02] < power[0.05] < power[0.10] < power[0.20]
    assert power[0.02] < 0.4
    assert power[0.20] > 0.9
    assert 0.05 < float(np.median(detectable)) < 0.15  # 80% power lies somewhere between 5 and 15 points


def answered(scores: Values) -> list[ItemResult]:
    return [
        ItemResult(scenario_id=f"s{n:03}", split="held_out", outcome="graded", score=float(score), passed=bool(score == 1.0), source=SOURCES[n])
        for n, score in enumerate(scores)
    ]


def test_a_campaign_of_ten_equal_challengers_through_the_whole_gate_promotes_none() -> None:
    dice = np.random.default_rng(7)
    chance = chances(dice)
    incumbent = answered(measured(chance, dice, partial=True))
    verdicts = [
        decide(
            Acceptance(floor="ignore"),
            slices=(),
            incumbent=incumbent,
            challenger=answered(measured(chance, dice, partial=True)),
            floor=None,
            seed=17,
            attempt=attempt,
        ).verdict
        for attempt in range(1, ATTEMPTS + 1)
    ]
    assert verdicts == ["roll_back"] * ATTEMPTS


def changed(chance: Values, effect: float, dice: np.random.Generator) -> Values:
    """The chances of a challenger whose mean lies `effect` above: some items become sure, or hopeless."""
    room = (1 - chance).mean() if effect >= 0 else chance.mean()
    return np.where(dice.random(ITEMS) < abs(effect) / room, float(effect >= 0), chance)


def stopped_at(incumbent: list[ItemResult], challenger: list[ItemResult], subject: str) -> StoppedEarly | None:
    """Asks portion by portion, as the worker does."""
    scenarios = [Scenario(id=each.scenario_id, input={}, expected="", split="held_out", source=each.source) for each in incumbent]
    sources, answers = in_order(scenarios, subject), {each.scenario_id: each for each in challenger}
    watch = Watch(sources, 32, {"incumbent": incumbent}, Acceptance(floor="ignore"), 0.95, stability=None, relied_on=True, against="e", seed=17)
    asked: list[ItemResult] = []
    for portion in portions(sources, 32):
        asked += [answers[scenario.id] for scenario in portion]
        if (found := certain_refusal(watch, asked)) is not None:
            return found
    return None


def test_stopping_early_saves_items_of_what_is_no_better_and_stops_nothing_that_the_whole_gate_would_accept() -> None:
    dice = np.random.default_rng(8)
    saved: dict[float, float] = {}
    wrongly = 0
    for effect in (-0.20, -0.10, -0.05, 0.0, 0.02, 0.05, 0.10):
        shares = []
        for number in range(EARLY):
            chance = chances(dice)
            before = answered(measured(chance, dice, partial=True))
            after = answered(measured(changed(chance, effect, dice), dice, partial=True))
            found = stopped_at(before, after, f"v{number}")
            shares.append(found.saved / ITEMS if found else 0.0)
            if found:
                whole = decide(Acceptance(floor="ignore"), slices=(), incumbent=before, challenger=after, floor=None, seed=17)
                wrongly += whole.verdict == "accept"
        saved[effect] = sum(shares) / EARLY
    assert wrongly <= ERROR * 7 * EARLY, wrongly
    assert list(saved.values()) == sorted(saved.values(), reverse=True), saved
    assert saved[-0.20] > 0.45
    assert saved[-0.10] > 0.30
    assert saved[-0.05] > 0.20
    assert saved[0.0] > 0.05
    assert saved[0.10] < 0.05
