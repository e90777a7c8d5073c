"""How much disk a run needs, before it begins."""

from __future__ import annotations

import pytest

from engine.config import ModelProfile, ScriptedProfile
from engine.errors import ResourceExhausted
from engine.fleet.disk import MIB, adapter_bytes, needs_of_iterate, refuse_without_room


def test_the_estimate_names_what_takes_room_and_covers_the_embedded_model(real_profile: ModelProfile) -> None:
    needs = {need.what: need.bytes for need in needs_of_iterate(real_profile, rounds=2, prepared=False, merges=True)}
    assert list(needs) == ["prepared base", "merged weights of 2 versions", "adapters and checkpoints of 2 rounds", "store, answers and logs"]
    assert needs["merged weights of 2 versions"] == 2 * needs["prepared base"] == 2 * 270_000_000
    rank = real_profile.lora.rank
    assert 4.9e6 * 4 * rank / 16 < adapter_bytes(real_profile) < 2 * 4.9e6 * 4 * rank / 16  # 4.9 million parameters at rank 16
    assert len(needs_of_iterate(real_profile, rounds=2, prepared=True, merges=False)) == 2
    assert needs_of_iterate(ScriptedProfile(), rounds=9, prepared=True, merges=False) == ()


def test_a_disk_too_small_is_refused_with_what_is_needed_and_what_is_there(real_profile: ModelProfile) -> None:
    needs = needs_of_iterate(real_profile, rounds=1, prepared=True, merges=True)
    needed = sum(need.bytes for need in needs)
    refuse_without_room(needs, needed, "the workspace")
    with pytest.raises(ResourceExhausted, match=r"has 100 MiB free, and this run is estimated to need \d+ MiB: merged weights of 1 versions 257") as caught:
        refuse_without_room(needs, 100 * MIB, "the workspace")
    assert caught.value.details["resource"] == "disk"
    assert (caught.value.details["needed_bytes"], caught.value.details["free_bytes"]) == (needed, 100 * MIB)
