"""What GRPO and DPO change in a training plan, with reasons. Pure.

Both go on from the incumbent's adapter where there is one, and both take small steps: the profile's learning rate is meant for SFT of a new
adapter. On a CPU the number of steps is bounded by time: generation is what costs. Where the figures come from: 24 GRPO steps of 4 prompts with 4
answers of up to 80 tokens took 16.8 s each (median) on two cores with 135M parameters, DPO steps of 4 pairs 3.2 s.
"""

from __future__ import annotations

import math

from engine.config import Device, Profile, ScriptedProfile
from engine.train.types import DpoPlan, GrpoPlan, TrainPlan
from engine.train.watchdog import LIMITS

GENERATIONS, PROMPTS_PER_STEP = 4, 4
CPU_SECONDS = 900.0
"""What a training may take on a CPU when nobody says otherwise."""
_MEASURED_PARAMETERS = 0.135
_SECONDS_AN_ANSWER_TOKEN = 16.8 / (16 * 80)
_SECONDS_A_PAIR = 3.2 / 4
GRPO_RATE, DPO_RATE = 1 / 20, 1 / 40
"""Where they start, as shares of the rate that SFT starts from. GRPO: 1e-4 took a version of SmolLM2-135M that SFT had made at 8e-4 from 0.20 to
0.28 exact match (one run of 24 steps), and one where SFT had stalled nowhere that shows (`docs/learning.md`); the profile's rate here is 2e-3. DPO is
not measured."""
_MICRO_BATCH = 8
_GRPO_EPOCHS = 2.0
_PREFLIGHT_SHARE = 0.15
_PREFLIGHT_MOST = 48
_SAVES = 8


def with_grpo(
    plan: TrainPlan,
    profile: Profile,
    *,
    rows: int,
    device: Device,
    max_tokens: int,
    warm_start: bool,
    seconds: float = CPU_SECONDS,
    scheduled: bool = False,
) -> TrainPlan:
    """`plan` as a GRPO run over `rows` prompts, whose answers may have `max_tokens` tokens. `scheduled`: its learning rate is GRPO's already."""
    reasons = [*plan.reasons]
    wanted = max(1, math.ceil(rows * _GRPO_EPOCHS / PROMPTS_PER_STEP))
    preflight = min(rows, _PREFLIGHT_MOST, wanted * PROMPTS_PER_STEP)
    steps = wanted
    if device == "cpu":
        answer = _SECONDS_AN_ANSWER_TOKEN * max_tokens * scale_of(profile)
        preflight = min(preflight, max(PROMPTS_PER_STEP, int(seconds * _PREFLIGHT_SHARE / (answer * GENERATIONS))))
        affordable = int((seconds - answer * GENERATIONS * preflight) / (answer * GENERATIONS * PROMPTS_PER_STEP))
        steps = max(1, min(wanted, affordable))
        if steps < wanted:
            reasons.append(
                f"{steps} GRPO steps instead of {wanted} for {_GRPO_EPOCHS:g} passes: on a CPU a step of {GENERATIONS * PROMPTS_PER_STEP} answers is "
                f"estimated at {answer * GENERATIONS * PROMPTS_PER_STEP:.0f} s, and training may take {seconds:.0f} s."
            )
    rate = 1.0 if scheduled else GRPO_RATE
    if not scheduled:
        reasons.append(_rate_reason(plan.learning_rate, rate, "GRPO"))
    reasons.append(f"The pre-flight samples {GENERATIONS} answers to {preflight} prompts first; without spread in the rewards nothing is trained.")
    grpo = GrpoPlan(
        generations=GENERATIONS,
        prompts_per_step=PROMPTS_PER_STEP,
        max_new_tokens=max_tokens,
        temperature=1.0,
        top_p=1.0,
        beta=0.0,
        steps=steps,
        clip=0.2,
        scale_rewards="group",
        loss="dapo",
        preflight_prompts=preflight,
        preflight_samples=GENERATIONS,
        preflight_spread=0.2,
        watch=LIMITS,
    )
    batch = GENERATIONS * PROMPTS_PER_STEP
    return _changed(plan, "grpo", warm_start, reasons, rate=rate, batch=batch, steps=steps, epochs=steps * PROMPTS_PER_STEP / rows, grpo=grpo)


def with_dpo(
    plan: TrainPlan, profile: Profile, *, rows: int, device: Device, warm_start: bool, seconds: float = CPU_SECONDS, scheduled: bool = False
) -> TrainPlan:
    """`plan` as a DPO run over `rows` pairs, each seen once or for as long as the time allows. `scheduled`: its learning rate is DPO's already."""
    reasons = [*plan.reasons]
    per_step = min(4, rows)
    wanted = steps = math.ceil(rows / per_step)
    if device == "cpu":
        step = _SECONDS_A_PAIR * per_step * scale_of(profile)
        steps = max(1, min(wanted, int(seconds / step)))
        if steps < wanted:
            reasons.append(f"{steps} DPO steps instead of {wanted}: on a CPU a step is estimated at {step:.0f} s; training may take {seconds:.0f} s.")
    rate = 1.0 if scheduled else DPO_RATE
    if not scheduled:
        reasons.append(_rate_reason(plan.learning_rate, rate, "DPO"))
    dpo = DpoPlan(beta=0.1, pairs_per_step=per_step, loss="sigmoid", steps=steps)
    return _changed(plan, "dpo", warm_start, reasons, rate=rate, batch=per_step, steps=steps, epochs=min(1.0, steps * per_step / rows), dpo=dpo)


def scale_of(profile: Profile) -> float:
    """How much dearer a token is than with the model that was measured."""
    return 1.0 if isinstance(profile, ScriptedProfile) else max(1.0, getattr(profile, "parameters_billion", 1.0) / _MEASURED_PARAMETERS)


def _changed(
    plan: TrainPlan,
    method: str,
    warm_start: bool,
    reasons: list[str],
    *,
    rate: float,
    batch: int,
    steps: int,
    epochs: float,
    grpo: GrpoPlan | None = None,
    dpo: DpoPlan | None = None,
) -> TrainPlan:
    reasons.append(
        "It goes on from the incumbent's adapter."
        if warm_start
        else f"There is no version to go on from: {method.upper()} starts from the base, which seldom has enough to build on."
    )
    changes = {
        "method": method,
        "warm_start": warm_start,
        "learning_rate": plan.learning_rate * rate,
        "epochs": round(epochs, 4),
        "batch_size": batch,
        "micro_batch_size": max(size for size in range(1, min(_MICRO_BATCH, batch, plan.micro_batch_size) + 1) if batch % size == 0),
        "scheduler": "constant",
        "checkpoint_every_steps": max(1, min(plan.checkpoint_every_steps, math.ceil(steps / _SAVES))),
        "grpo": None if grpo is None else grpo.model_dump(),
        "dpo": None if dpo is None else dpo.model_dump(),
        "reasons": tuple(reasons),
    }
    return TrainPlan.model_validate({**plan.model_dump(), **changes})


def _rate_reason(rate: float, share: float, method: str) -> str:
    return f"learning_rate is {rate * share:g}, a {round(1 / share)}th of what SFT would take: {method} moves weights that already answer."
