"""Plans of GRPO and DPO: every setting stated, steps that a CPU can afford, and reasons for both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import Lora, TrainOverrides
from engine.train.plan import plan_training
from engine.train.types import TrainPlan
from tests.train.tiny import tiny_profile


def planned(method: str, **changes: object) -> TrainPlan:
    arguments: dict = {"rows": 400, "device": "cpu", "seed": 17, "merge": True, "max_tokens": 96} | changes
    return plan_training(tiny_profile(), TrainOverrides(), method=method, **arguments)


@given(st.integers(1, 2000), st.integers(8, 512), st.floats(30, 5000), st.floats(30, 5000))
def test_more_time_never_gives_fewer_steps_and_no_more_than_the_rows_call_for(rows: int, tokens: int, less: float, more: float) -> None:
    less, more = sorted((less, more))
    for method in ("grpo", "dpo"):
        short, long = (planned(method, rows=rows, max_tokens=tokens, seconds=seconds) for seconds in (less, more))
        steps = [getattr(plan, method).steps for plan in (short, long)]
        assert 1 <= steps[0] <= steps[1]
        assert short.batch_size % short.micro_batch_size == 0
    pairs = planned("dpo", rows=rows).dpo
    assert pairs is not None
    assert (pairs.steps - 1) * pairs.pairs_per_step < rows


def test_on_a_gpu_the_rows_decide_and_on_a_cpu_the_time_does_and_the_plan_says_so() -> None:
    slow, fast = planned("grpo", seconds=600.0), planned("grpo", device="cuda", seconds=600.0)
    assert slow.grpo is not None
    assert fast.grpo is not None
    assert fast.grpo.steps == 200
    assert slow.grpo.steps < 40
    assert any("GRPO steps instead of 200" in reason for reason in slow.reasons)


@pytest.mark.parametrize("method", ["grpo", "dpo"])
def test_it_goes_on_from_the_incumbent_in_its_shape_and_with_small_steps(method: str) -> None:
    plan = planned(method, start=Lora(rank=8, alpha=64))
    assert plan.warm_start
    assert (plan.lora.rank, plan.lora.alpha) == (8, 64)
    assert plan.learning_rate <= planned("sft").learning_rate / 20 + 1e-12
    assert any("rank is 8" in reason for reason in plan.reasons)
    anew = planned(method)
    assert not anew.warm_start
    assert any("no version to go on from" in reason for reason in anew.reasons)


def test_sft_is_planned_as_before() -> None:
    plan = planned("sft", start=Lora(rank=8, alpha=64))
    assert (plan.method, plan.warm_start, plan.grpo, plan.dpo) == ("sft", False, None, None)
    assert plan.lora.rank == 4
    assert TrainPlan.model_validate(plan.model_dump()) == plan
