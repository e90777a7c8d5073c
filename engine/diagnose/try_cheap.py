"""Which cheap remedies to try, on which items, with which examples. Pure; `engine/diagnose/worker.py` measures them.

Two remedies cost no training: worked examples in the prompt, and decoding under the schema or without it. Both are measured on one and the
same sample of core against the domain's own way of asking, whose answers are in the cache. Order comes from hashes of the domain's seed, so
that the sample and the examples are the same in each run, whatever the order of the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from engine.config import EndpointProfile, ModelProfile, Profile
from engine.diagnose.jobs import TryCheapJob
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.prompts import render_messages, render_with_examples
from engine.evaluate.types import TrainingRow
from engine.generate.types import Message, PreparedBase

CHARACTERS_PER_TOKEN = 2.5
"""Taken for a prompt that must not outgrow the model's context: English has about four, so this errs on the safe side."""


def plan_trials(
    compiled: CompiledDomain, *, model: str, profile: Profile, base: PreparedBase | None, device: str, schema_effect_known: bool
) -> TryCheapJob | None:
    """The trials worth making for this domain; None when the domain wants none or there is nothing to try. `schema_effect_known`: what the
    schema switch buys the base was measured already."""
    wanted = compiled.domain.diagnose
    output = compiled.domain.contract.output
    core = compiled.of_split("core")
    if not wanted.try_cheap or not core:
        return None
    seed = compiled.domain.data.splits.seed
    items = sorted((scenario.id for scenario in core), key=lambda name: _rank(seed, name))[: wanted.trial_items]
    room = profile.inference.max_model_len - output.max_tokens if isinstance(profile, ModelProfile) else None
    examples = choose_examples(compiled, items, wanted.examples, seed=seed, room=room)
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
            "examples": tuple(row.id for row in examples),
            "switch_schema": switch,
            "items": tuple(items),
        }
    )


def choose_examples(compiled: CompiledDomain, items: Sequence[str], count: int, *, seed: int, room: int | None) -> list[TrainingRow]:
    """Up to `count` training rows to show, with answers that differ from each other where the pool has them. `room`: tokens that a prompt may
    have; as many rows as the longest question of `items` leaves room for."""
    chosen: list[TrainingRow] = []
    seen: set[str] = set()
    ranked = sorted(compiled.pool, key=lambda row: _rank(seed, row.id))
    for fresh in (True, False):
        for row in ranked:
            answer = json.dumps(row.expected, sort_keys=True)
            if len(chosen) < count and row not in chosen and (answer not in seen or not fresh):
                chosen.append(row)
                seen.add(answer)
    contract = compiled.domain.contract
    asked = [scenario.input for scenario in compiled.of_split("core") if scenario.id in set(items)]
    if not asked or room is None:
        return chosen
    longest = max(asked, key=lambda fields: _characters(render_messages(contract, fields)))
    while chosen:
        prompt = render_with_examples(contract, [(row.input, row.expected) for row in chosen], longest)
        if _characters(prompt) / CHARACTERS_PER_TOKEN <= room:
            break
        chosen = chosen[:-1]
    return chosen


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(message.content) + 16 for message in messages)  # 16: what a chat template adds to a turn, about


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/try/{name}".encode(), digest_size=16).digest()
