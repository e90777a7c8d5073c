"""What a training that ran out of memory is tried with next. Pure.

    micro batch     a quarter of the rows in one pass, down to one. The batch stays, so the gradient is the same and only the passes are more
    checkpointing   activations are computed again instead of kept: the same gradient, slower
    smaller plan    a quarter of the adapter's rank, for SFT that begins anew: another adapter, so the last resort

Each rung needs less than the one before and says so among the plan's reasons. Not here: GRPO and DPO have no smaller plan, they give way to SFT;
an adapter that is gone on from keeps its shape.
"""

from __future__ import annotations

from typing import Any

from engine.train.types import TrainPlan

FEWER = 4
"""How many times fewer rows, or ranks, the next rung has."""
LEAST_RANK = 4
_WHY = "training ran out of memory"


def ladder(plan: TrainPlan) -> tuple[TrainPlan, ...]:
    """`plan`, then what to try when the one before it ran out of memory. Finite: at most a dozen rungs for the largest batch."""
    return (*same_gradient(plan), *_of_lower_rank(same_gradient(plan)[-1]))


def same_gradient(plan: TrainPlan) -> tuple[TrainPlan, ...]:
    """`plan` and the rungs that train the same adapter up to rounding; a later training may begin with the one that sufficed."""
    rungs = [plan]
    while (rows := rungs[-1].micro_batch_size) > 1:
        fewer = max(size for size in range(1, max(1, rows // FEWER) + 1) if plan.batch_size % size == 0)
        rungs.append(_changed(rungs[-1], f"micro_batch_size is {fewer} instead of {rows}: {_WHY}. The gradient is the same.", micro_batch_size=fewer))
    if not plan.gradient_checkpointing:
        rungs.append(_changed(rungs[-1], f"gradient_checkpointing is on: {_WHY}. The gradient is the same.", gradient_checkpointing=True))
    return tuple(rungs)


def _of_lower_rank(plan: TrainPlan) -> tuple[TrainPlan, ...]:
    if plan.method != "sft" or plan.warm_start or plan.lora.rank <= LEAST_RANK:
        return ()
    rank = max(LEAST_RANK, plan.lora.rank // FEWER)
    alpha = max(1, round(plan.lora.alpha * rank / plan.lora.rank))
    why = f"rank is {rank} instead of {plan.lora.rank}, and alpha {alpha}: {_WHY} with everything else at its least."
    return (_changed(plan, why, lora=plan.lora.model_copy(update={"rank": rank, "alpha": alpha})),)


def _changed(plan: TrainPlan, why: str, **changes: Any) -> TrainPlan:
    return plan.model_copy(update={**changes, "reasons": (*plan.reasons, why)})
