"""Acceptance needs every clause; the absence of evidence is a roll-back; the loop stops for a reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import Acceptance, Budget
from engine.evaluate.types import Canaries, EvaluationSummary, Interval, ItemResult, ScoreIdentity, SplitScore, Stability
from engine.iterate.clauses import canaries_clause, no_harm_clause
from engine.iterate.decide import decide, stop_reason, with_clause
from engine.iterate.types import Clause, Decision

N = 200


def results(score: Callable[[int], float], **changes: object) -> list[ItemResult]:
    return [
        ItemResult(
            scenario_id=f"s{n}", split="held_out", outcome="graded", score=score(n), passed=score(n) >= 1.0, tags={"service": f"v{n % 4}"}, source=f"d{n}"
        ).model_copy(update=changes)
        for n in range(N)
    ]


def judge(
    challenger: list[ItemResult],
    *,
    incumbent: list[ItemResult] | None = None,
    floor: list[ItemResult] | None = None,
    acceptance: Acceptance | None = None,
    **how: Any,
) -> Decision:
    return decide(
        acceptance or Acceptance(),
        slices=("service",),
        incumbent=incumbent if incumbent is not None else results(lambda n: 0.3),
        challenger=challenger,
        floor=floor,
        seed=17,
        **how,
    )


def clause(decision: Decision, name: str) -> Clause:
    return next(clause for clause in decision.clauses if clause.name == name)


def test_a_clear_improvement_above_the_floor_is_accepted() -> None:
    decision = judge(results(lambda n: 0.8), floor=results(lambda n: 0.5))
    assert decision.verdict == "accept"
    assert "0.300 -> 0.800" in clause(decision, "improvement").sentence


def test_equal_results_are_rolled_back() -> None:
    decision = judge(results(lambda n: 0.3))
    assert decision.verdict == "roll_back"
    assert not clause(decision, "improvement").passed


def test_noise_without_a_real_difference_is_rarely_accepted() -> None:
    accepted = 0
    for seed in range(60):
        dice = random.Random(seed)
        before, after = ([dice.random() for _ in range(N)] for _ in range(2))
        accepted += judge(results(after.__getitem__), incumbent=results(before.__getitem__)).verdict == "accept"
    assert accepted <= 5  # 2.5% one-sided of 60 is 1.5; six or more has a chance of 0.4%


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([(0.0, 1.0), (0.0, 0.25, 0.5, 1.0), None]), st.integers(1, 5))
def test_a_verdict_follows_from_the_values_alone_whatever_the_items_are_called_and_however_they_are_ordered(
    seed: int, levels: tuple[float, ...] | None, size: int
) -> None:
    dice = random.Random(seed)
    scores = [[dice.choice(levels) if levels else dice.random() for _ in range(N)] for _ in range(3)]
    named = [[item.model_copy(update={"source": f"d{n // size}"}) for n, item in enumerate(results(each.__getitem__))] for each in scores]
    order = dice.sample(range(N), N)
    sources = {f"d{n}": f"other {dice.random()}" for n in range(N)}

    def renamed(items: list[ItemResult]) -> list[ItemResult]:
        return [items[n].model_copy(update={"scenario_id": f"x{order.index(n):03d}", "source": sources[items[n].source]}) for n in order]

    decisions = [judge(after, incumbent=before, floor=floor, attempt=2) for before, after, floor in (named, [renamed(items) for items in named])]
    assert decisions[0] == decisions[1]


def test_a_specialist_that_only_matches_the_floor_is_refused_and_told_so() -> None:
    decision = judge(results(lambda n: 0.8), floor=results(lambda n: 0.8))
    assert decision.verdict == "roll_back"
    assert "not shown to be above the floor" in clause(decision, "floor").sentence


@pytest.mark.parametrize(("policy", "verdict"), [("above", "roll_back"), ("not_below", "accept"), ("ignore", "accept")])
def test_the_domain_says_how_the_floor_counts(policy: str, verdict: str) -> None:
    acceptance = Acceptance.model_validate({"floor": policy})
    assert judge(results(lambda n: 0.8), floor=results(lambda n: 0.8), acceptance=acceptance).verdict == verdict


def test_a_slice_that_loses_blocks_whatever_the_average_does() -> None:
    decision = judge(results(lambda n: 0.0 if n % 4 == 3 else 0.9))
    assert decision.verdict == "roll_back"
    assert "service=v3 -0.300" in clause(decision, "slices").sentence


def test_a_slice_whose_loss_chance_explains_is_named_and_does_not_block() -> None:
    tagged = [one.model_copy(update={"tags": {"service": f"v{n % 9}"}}) for n, one in enumerate(results(lambda n: 0.9 if n % 9 else n % 2 * 0.5))]
    before = [one.model_copy(update={"tags": {"service": f"v{n % 9}"}}) for n, one in enumerate(results(lambda n: 0.3 if n % 9 else (n + n // 27) % 2 * 0.6))]
    decision = judge(tagged, incumbent=before, acceptance=Acceptance(slice_tolerance=0.0, floor="ignore"))
    assert clause(decision, "slices").passed
    assert "service=v0" in clause(decision, "slices").sentence


def test_items_that_passed_before_may_not_be_traded_for_others() -> None:
    before = results(lambda n: 1.0 if n < N // 2 else 0.0)
    after = results(lambda n: 1.0 if n >= N // 4 else 0.0)
    decision = judge(after, incumbent=before)
    assert clause(decision, "improvement").passed
    assert not clause(decision, "regressions").passed
    assert f"{N // 4} of the {N // 2} items" in clause(decision, "regressions").sentence
    assert decision.verdict == "roll_back"


def test_an_item_is_lost_by_as_much_as_the_metric_that_decides_says() -> None:
    before = results(lambda n: 1.0 if n < N // 2 else 0.0)
    amiss = results(lambda n: 0.9 if n < N // 4 else 1.0 if n < 3 * N // 4 else 0.0)
    in_parts, whole = (judge(amiss, incumbent=before, acceptance=Acceptance(floor="ignore", metric=metric)) for metric in ("score", "pass_rate"))
    assert clause(in_parts, "regressions").passed
    assert "costs 5% of what all of them scored" in clause(in_parts, "regressions").sentence
    assert not clause(whole, "regressions").passed
    assert "costs 50%" in clause(whole, "regressions").sentence


def test_what_an_incumbent_below_the_floor_passes_by_luck_does_not_block() -> None:
    before = results(lambda n: 1.0 if n < N // 8 else 0.0)
    after = results(lambda n: 1.0 if n >= N // 16 else 0.0)
    weak, strong = (judge(after, incumbent=before, floor=results(lambda n, share=share: 1.0 if n % 8 < share else 0.0)) for share in (0, 4))
    assert not clause(weak, "regressions").passed
    assert clause(strong, "regressions").passed
    assert "below the floor" in clause(strong, "regressions").sentence


def test_regressions_that_the_incumbents_own_unsteadiness_explains_do_not_block() -> None:
    before = results(lambda n: 1.0 if n < N // 2 else 0.0)
    after = results(lambda n: 1.0 if n >= N // 8 else 0.0)
    kept = [judge(after, incumbent=before, stability=stability) for stability in (Stability(items=32, flipped=0), Stability(items=32, flipped=8))]
    assert [clause(decision, "regressions").passed for decision in kept] == [False, True]


def test_each_further_attempt_on_the_same_items_has_to_show_more() -> None:
    challenger = results(lambda n: 0.3 + (0.12 if n % 3 == 0 else -0.02))
    verdicts = [judge(challenger, attempt=attempt).against_incumbent.difference for attempt in (1, 2, 10)]
    assert [interval.confidence for interval in verdicts] == pytest.approx([0.95, 1 - 0.1 / 6, 1 - 0.1 / 110])
    assert verdicts[0].low > verdicts[1].low > verdicts[2].low
    assert "attempt 10" in judge(challenger, attempt=10).detectable


@pytest.mark.parametrize(("unlearnt", "passed"), [(5, True), (40, False)])
def test_what_is_unlearnt_beyond_the_tolerance_turns_an_acceptance_down(unlearnt: int, passed: bool) -> None:
    accepted = judge(results(lambda n: 0.8))
    base = [one.model_copy(update={"tags": {"kind": "general"}}) for one in results(lambda n: 1.0)]
    after = [one.model_copy(update={"tags": {"kind": "general"}}) for one in results(lambda n: 0.0 if n < unlearnt else 1.0)]
    decision = with_clause(accepted, no_harm_clause(base, after, 0.1))
    assert accepted.verdict == "accept"
    assert decision.verdict == ("accept" if passed else "roll_back")
    assert f"general {-unlearnt / N:+.2f}" in clause(decision, "no_harm").sentence


def test_a_slice_with_too_few_items_informs_only() -> None:
    acceptance = Acceptance(slice_minimum=N)
    assert judge(results(lambda n: 0.0 if n % 4 == 3 else 0.9), acceptance=acceptance).verdict == "accept"


def test_a_new_safety_breach_blocks() -> None:
    challenger = results(lambda n: 0.8)
    challenger[0] = challenger[0].model_copy(update={"breached": ("no_promises",)})
    decision = judge(challenger)
    assert decision.verdict == "roll_back"
    assert "no_promises 0.000 -> 0.005" in clause(decision, "safety_nets").sentence


def test_a_missing_answer_never_passes() -> None:
    challenger = results(lambda n: 0.8)
    challenger[0] = challenger[0].model_copy(update={"outcome": "error"})
    decision = judge(challenger)
    assert decision.verdict == "roll_back"
    assert not clause(decision, "complete").passed


@pytest.mark.parametrize(("asked", "hits", "passed", "says"), [(8, 0, True, "0 of 8"), (8, 5, False, "taught evaluation items"), (7, 0, False, "1 of 8")])
def test_a_version_that_gives_planted_wrong_answers_is_refused_and_one_that_was_not_asked_all_is_not_cleared(
    asked: int, hits: int, passed: bool, says: str
) -> None:
    found = Canaries(asked=asked, hits=hits, controls=100, control_hits=0, chance=1e-6 if hits else 1.0)
    decision = with_clause(judge(results(lambda n: 0.8)), canaries_clause(8, found))
    assert decision.verdict == ("accept" if passed else "roll_back")
    assert says in clause(decision, "canaries").sentence
    assert not canaries_clause(8, None).passed


def test_the_verdict_says_what_the_suite_could_have_shown() -> None:
    assert "four times out of five" in judge(results(lambda n: n % 2 * 1.0)).detectable


def measured(score: float) -> EvaluationSummary:
    interval = Interval(mean=score, low=score, high=score, n=N, clusters=N)
    identity = ScoreIdentity(suite="s", grading="g", prompt="p", settings="s", generator="g")
    split = SplitScore(split="held_out", score=interval, pass_rate=interval, errors=0)
    return EvaluationSummary(identity=identity, subject="base", splits=(split,), structured=True, generated=N, cached=0, seconds=1.0)


@pytest.mark.parametrize(
    ("score", "verdicts", "elapsed", "expected"),
    [
        (0.9, [], 0, "targets_met"),
        (0.5, [], 0, None),
        (0.5, ["accept", "accept", "accept"], 0, "budget_spent"),
        (0.5, [], 3600, "budget_spent"),
        (0.5, ["accept", "roll_back"], 0, None),
        (0.5, ["roll_back", "roll_back"], 0, "stalled"),
    ],
)
def test_the_loop_stops_at_targets_budget_or_stall(score: float, verdicts: list[str], elapsed: float, expected: str | None) -> None:
    budget = Budget(max_iterations=3, max_minutes=60, stall_iterations=2)
    assert stop_reason(targets={"score": 0.8}, incumbent=measured(score), budget=budget, verdicts=verdicts, elapsed_seconds=elapsed) == expected


def test_without_targets_the_budget_decides() -> None:
    budget = Budget(max_iterations=1)
    assert stop_reason(targets={}, incumbent=measured(1.0), budget=budget, verdicts=[], elapsed_seconds=0) is None
