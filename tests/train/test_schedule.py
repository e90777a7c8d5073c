"""The schedule on recorded ledgers, and what holds for every ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import DirectoryWeights, Inference, Lora, ModelProfile, Training, TrainOverrides
from engine.train import schedule as rules
from engine.train.plan import plan_training, unscheduled
from engine.train.preference_plan import DPO_RATE, GRPO_RATE
from engine.train.schedule import epochs_within_budget, regressed, schedule
from engine.train.types import Facts, PastRound, Schedule, Suggestion
from tests.train.test_plan import managed, shipped

LEDGERS = Path(__file__).parent / "ledgers"
NAMES = ("method", "learning_rate", "rank", "epochs", "max_rows", "replay_share", "warm_start")
SMALL = managed(
    inference=Inference(max_model_len=1024),
    weights=DirectoryWeights(path="models/small"),
    training=Training(learning_rate=0.002, epochs=1.6, batch_size=12, micro_batch_size=12, max_rows=1000),
    lora=Lora(rank=16, alpha=32, first_layer=8),
)


def read(path: Path) -> tuple[list[PastRound], TrainOverrides, Facts, Suggestion | None, dict[str, Any]]:
    """A ledger with what stood beside it. A round says `grounds` only where they were other ones."""
    file = json.loads(path.read_text())
    overrides = TrainOverrides.model_validate(file.get("overrides", {}))
    grounds = unscheduled(SMALL, overrides).grounds
    rounds = [PastRound.model_validate({**one, "schedule": {"grounds": grounds, **one["schedule"]}}) for one in file["rounds"]]
    suggestion = Suggestion.model_validate(file["suggestion"]) if "suggestion" in file else None
    return rounds, overrides, Facts.model_validate(file["facts"]), suggestion, file["expected"]


@pytest.mark.parametrize("path", sorted(LEDGERS.glob("*.json")), ids=lambda path: path.stem)
def test_the_schedule_that_follows_from_a_recorded_ledger(path: Path) -> None:
    rounds, overrides, facts, suggestion, expected = read(path)
    found = schedule(rounds, SMALL, overrides, facts, suggestion)
    assert {name: getattr(found, name) for name in NAMES} == expected["schedule"]
    assert list(found.reasons) == expected["reasons"]
    asked = schedule(rounds, SMALL, overrides, facts).search
    assert (None if asked is None else [[trial.rate, trial.passes, round(trial.value, 3)] for trial in asked.trials]) == expected.get("trials")


def test_every_ledger_says_why_it_is_there() -> None:
    assert {path.stem for path in LEDGERS.glob("*.json")} >= {"first_run", "regression", "plateau", "gap_opens", "after_acceptance", "diverged"}
    assert all(json.loads(path.read_text())["about"] for path in LEDGERS.glob("*.json"))


# ---- for every ledger ------------------------------------------------------------------------------------------------------------------

shares = st.floats(0.0, 1.0).map(lambda value: round(value, 3))


@st.composite
def schedules(draw: st.DrawFn, grounds: str) -> Schedule:
    return Schedule(
        method="sft",
        learning_rate=draw(st.floats(0.002 / 32, 0.004)),
        rank=draw(st.sampled_from([8, 16, 32])),
        epochs=draw(st.floats(0.25, 8.0)),
        max_rows=draw(st.integers(8, 6000)),
        replay_share=draw(shares),
        warm_start=draw(st.booleans()),
        rows=draw(st.integers(8, 6000)),
        grounds=draw(st.sampled_from([grounds, grounds, grounds, "others"])),
    )


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[list[PastRound], TrainOverrides, Facts]:
    """Any ledger: values that no schedule would have chosen are among them, because people edit settings."""
    overrides = draw(st.sampled_from([TrainOverrides(), TrainOverrides(learning_rate=0.001), TrainOverrides(epochs=3, max_rows=480, rank=8)]))
    grounds = unscheduled(SMALL, overrides).grounds
    rounds = []
    for iteration in range(1, draw(st.integers(0, 4)) + 1):
        outcome = draw(st.sampled_from(["accepted", "rolled_back", "rolled_back", "diverged"]))
        before, gain, width = draw(shares), draw(st.floats(-0.3, 0.3)), draw(st.floats(0.001, 0.2))
        rounds.append(
            PastRound(
                run_id="r",
                iteration=iteration,
                incumbent=draw(st.sampled_from(["base", "v-1", "v-2"])),
                challenger=None if outcome == "diverged" else draw(st.sampled_from(["v-1", "v-2", "v-3"])),
                outcome=outcome,
                schedule=draw(schedules(grounds)),
                before=before,
                after=before + gain,
                low=gain - width,
                high=gain + width,
                detectable=draw(st.floats(0.001, 0.3)),
                items=100,
                better=draw(st.integers(0, 50)),
                worse=draw(st.integers(0, 50)),
                slices_lost=draw(st.booleans()),
                core_gain=draw(st.none() | st.floats(-0.3, 0.3)),
                first_loss=2.0,
                final_loss=draw(st.floats(0.0, 2.0)),
            )
        )
    lora = draw(st.none() | st.sampled_from([8, 16]).map(lambda rank: Lora(rank=rank, alpha=2 * rank, first_layer=8)))
    facts = Facts(
        pool_rows=draw(st.integers(1, 20_000)),
        incumbent="base" if lora is None else "v-1",
        incumbent_lora=lora,
        mean=draw(shares),
        partial_credit=draw(st.booleans()),
        failing_share=draw(shares),
        largest_rank=draw(st.sampled_from([None, 16, 64])),
        seed=17,
    )
    return rounds, overrides, facts


@settings(max_examples=100)
@given(ledger=ledgers(), octaves=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_values_stay_within_their_bounds_and_every_changed_one_has_a_reason(
    ledger: tuple[list[PastRound], TrainOverrides, Facts], octaves: tuple[float, float]
) -> None:
    rounds, overrides, facts = ledger
    found = schedule(rounds, SMALL, overrides, facts, Suggestion(rate=octaves[0], passes=octaves[1], trials=1))
    assert found == schedule(list(rounds), SMALL, overrides, facts, Suggestion(rate=octaves[0], passes=octaves[1], trials=1))
    assert found.search is None
    start = 0.002 if overrides.learning_rate is None else overrides.learning_rate
    last = rounds[-1].schedule if rounds and rounds[-1].schedule.grounds == found.grounds else None
    carried = [last.learning_rate] if last else []
    lowest, highest = min([start / 32, *carried]) / 2, max([2 * start, *(2 * rate for rate in carried)])
    assert lowest * 0.99 <= found.learning_rate <= highest * 1.01
    assert 0.25 <= found.epochs <= 8.0
    assert found.rows == min(facts.pool_rows, found.max_rows)
    assert 0.0 <= found.replay_share <= 1.0
    assert found.rank <= (facts.largest_rank or rules.LARGEST_RANK)
    for name in NAMES:
        value = getattr(found, name)
        override = getattr(overrides, name, None)
        assert override in (None, "auto") or value == override
        usual = getattr(unscheduled(SMALL, TrainOverrides()), name)
        if value != usual or (last is not None and value != getattr(last, name)):
            assert any(reason.startswith(f"{name} ") for reason in found.reasons), (name, found)


@settings(max_examples=100)
@given(ledger=ledgers())
def test_no_rule_raises_the_learning_rate_after_a_regression_or_a_divergence(ledger: tuple[list[PastRound], TrainOverrides, Facts]) -> None:
    rounds, overrides, facts = ledger
    found = schedule(rounds, SMALL, overrides, facts)
    if overrides.learning_rate is not None or not rounds or rounds[-1].schedule.grounds != found.grounds:
        return
    if regressed(rounds[-1]) or rounds[-1].outcome == "diverged":
        assert found.learning_rate <= rounds[-1].schedule.learning_rate
        assert found.search is None


@given(rows=st.integers(1, 50_000), epochs=st.floats(0.5, 4.0))
def test_a_run_costs_about_the_same_however_many_rows_there_are(rows: int, epochs: float) -> None:
    found = epochs_within_budget(epochs, rows, batch_size=12, usual_rows=1000)
    steps = rows * found / 12
    assert steps <= max(1000 * epochs / 12, rows / 12, rules.FEWEST_STEPS) * 1.02
    assert steps >= min(rules.FEWEST_STEPS, 4 * rows / 12) * 0.98


def test_a_plan_follows_its_schedule_and_carries_its_reasons() -> None:
    rounds, overrides, facts, _, _ = read(LEDGERS / "regression.json")
    chosen = schedule(rounds, SMALL, overrides, facts)
    plan = plan_training(SMALL, overrides, rows=400, device="cpu", seed=17, merge=True, iteration=2, schedule=chosen)
    assert (plan.learning_rate, plan.epochs, plan.lora.rank) == (chosen.learning_rate, chosen.epochs, chosen.rank)
    assert plan.reasons[: len(chosen.reasons)] == chosen.reasons


def test_a_profile_served_as_adapters_gets_no_rank_that_its_server_refuses() -> None:
    profile = shipped("qwen2.5-32b-nf4")
    facts = Facts(pool_rows=9000, incumbent="base", mean=0.2, partial_credit=True, failing_share=0.8, largest_rank=profile.lora.rank, seed=17)
    found = schedule([], profile, TrainOverrides(), facts)
    assert found.rank == profile.lora.rank
    assert any("model server takes no more" in reason for reason in found.reasons)
    wide = schedule([], profile, TrainOverrides(), facts.model_copy(update={"largest_rank": None}))
    assert wide.rank == 64


def test_a_plateau_asks_for_rewards_or_pairs_and_a_second_one_goes_back() -> None:
    rounds, overrides, facts, _, _ = read(LEDGERS / "plateau.json")
    by_reward = schedule(rounds, SMALL, overrides, facts)
    assert (by_reward.method, by_reward.learning_rate) == ("grpo", 0.002 * GRPO_RATE)
    by_pairs = schedule(rounds, SMALL, overrides, facts.model_copy(update={"partial_credit": False}))
    assert (by_pairs.method, by_pairs.learning_rate) == ("dpo", 0.002 * DPO_RATE)
    tried = [one.model_copy(update={"schedule": one.schedule.model_copy(update={"method": "grpo", "learning_rate": 1e-4})}) for one in rounds[-2:]]
    back = schedule([*rounds, *tried], SMALL, overrides, facts)
    assert (back.method, back.learning_rate) == ("sft", 0.002)


@pytest.mark.parametrize("method", ["sft", "grpo", "dpo"])
def test_the_method_that_the_domain_sets_stays(method: str) -> None:
    rounds, _, facts, _, _ = read(LEDGERS / "plateau.json")
    overrides = TrainOverrides.model_validate({"method": method})
    assert schedule([], SMALL, overrides, facts).method == method
    own = [one.model_copy(update={"schedule": one.schedule.model_copy(update={"grounds": unscheduled(SMALL, overrides).grounds})}) for one in rounds]
    assert schedule(own, SMALL, overrides, facts).method == method


def test_a_model_profile_is_all_that_a_first_schedule_needs() -> None:
    assert isinstance(SMALL, ModelProfile)
    facts = Facts(pool_rows=1000, incumbent="base", mean=0.0, partial_credit=False, failing_share=1.0, seed=17)
    assert schedule([], SMALL, TrainOverrides(), facts).reasons == ()
