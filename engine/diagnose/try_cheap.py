"""Which cheap remedies to try, on which items, with which examples. Pure; `engine/diagnose/worker.py` measures them.

Two remedies cost no training: worked examples in the prompt, and decoding under the schema or without it. Both are measured on one and the
same sample of core against the domain's own way of asking, whose answers are in the cache. The examples are golden answers where there are some.
Order comes from hashes of the domain's seed, so that the sample and the other examples are the same in each run, whatever the order of the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.config import EndpointProfile, ModelProfile, Profile
from engine.diagnose.jobs import TryCheapJob, WorkedExample
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.prompts import render_messages, render_target, render_with_examples
from engine.evaluate.types import TrainingRow
from engine.generate.types import Message, PreparedBase

CHARACTERS_PER_TOKEN = 2.5
"""Taken for a prompt that must not outgrow the model's context: English has about four, so this errs on the safe side."""


def plan_trials(
    compiled: CompiledDomain,
    *,
    model: str,
    profile: Profile,
    base: PreparedBase | None,
    device: str,
    schema_effect_known: bool,
    golden: Sequence[TrainingRow] = (),
    golden_version: str | None = None,
) -> TryCheapJob | None:
    """The trials worth making for this domain; None when the domain wants none or there is nothing to try. `schema_effect_known`: what the
    schema switch buys the base was measured already. `golden`: training rows with golden answers, in the order in which they are to be shown."""
    wanted = compiled.domain.diagnose
    output = compiled.domain.contract.output
    core = compiled.of_split("core")
    if not wanted.try_cheap or not core:
        return None
    seed = compiled.domain.data.splits.seed
    items = sorted((scenario.id for scenario in core), key=lambda name: _rank(seed, name))[: wanted.trial_items]
    room = profile.inference.max_model_len - output.max_tokens if isinstance(profile, ModelProfile) else None
    examples = that_fit(compiled, choose_examples(compiled, golden, wanted.examples, seed=seed), items, room=room)
    can_hold = output.json_schema is not None and (profile.structured_output if isinstance(profile, EndpointProfile) else True)
    switch = can_hold and not schema_effect_known
    if not examples and not switch:
        return None
    return TryCheapJob.model_validate(
        {
            "domain_digest": compiled.digest,
            "model": model,
            "profile": profile,
            "base": base,
            "device": device,
            "examples": tuple(examples),
            "golden": golden_version if any(example.golden for example in examples) else None,
            "switch_schema": switch,
            "items": tuple(items),
        }
    )


def choose_examples(compiled: CompiledDomain, golden: Sequence[TrainingRow], count: int, *, seed: int) -> list[WorkedExample]:
    """Up to `count` training rows to show: those with golden answers first, then others of the pool, with answers that differ from each other
    where the pool has them."""
    chosen = list(golden[:count])
    seen = {json.dumps(row.expected, sort_keys=True) for row in chosen}
    ranked = sorted(compiled.pool, key=lambda row: _rank(seed, row.id))
    for fresh in (True, False):
        for row in ranked:
            answer = json.dumps(row.expected, sort_keys=True)
            if len(chosen) < count and row.id not in {each.id for each in chosen} and (answer not in seen or not fresh):
                chosen.append(row)
                seen.add(answer)
    contract, perfect = compiled.domain.contract, {row.id for row in golden}
    return [WorkedExample(row=row.id, answer=render_target(contract, row.expected), golden=row.id in perfect) for row in chosen]


def that_fit(compiled: CompiledDomain, chosen: Sequence[WorkedExample], items: Sequence[str], *, room: int | None) -> list[WorkedExample]:
    """As many of these examples as the longest question of `items` leaves room for. `room`: tokens that a prompt may have; null for any number."""
    asked = [scenario.input for scenario in compiled.of_split("core") if scenario.id in set(items)]
    left = list(chosen)
    if not asked or room is None:
        return left
    contract = compiled.domain.contract
    longest = max(asked, key=lambda fields: _characters(render_messages(contract, fields)))
    while left and _characters(render_with_examples(contract, as_turns(compiled, left), longest)) / CHARACTERS_PER_TOKEN > room:
        left.pop()
    return left


def as_turns(compiled: CompiledDomain, examples: Sequence[WorkedExample]) -> list[tuple[Mapping[str, Any], str]]:
    """The examples as `render_with_examples` takes them."""
    inputs = {row.id: row.input for row in compiled.pool}
    return [(inputs[example.row], example.answer) for example in examples]


def in_words(examples: Sequence[WorkedExample]) -> str:
    """What the trial with these examples changes."""
    golden = sum(example.golden for example in examples)
    which = "" if not golden else " (golden answers)" if golden == len(examples) else f" ({golden} of them golden answers)"
    return f"{len(examples)} worked example{'s' if len(examples) > 1 else ''} in the prompt{which}"


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(message.content) + 16 for message in messages)  # 16: what a chat template adds to a turn, about


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/try/{name}".encode(), digest_size=16).digest()
