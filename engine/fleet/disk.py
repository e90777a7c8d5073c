"""How much disk work needs, by an estimate made before it begins. Pure.

Estimates err on the large side where they must err: a run that is refused says what it would need, one that fills the disk takes others with it.
"""

from __future__ import annotations

from engine.base.record import Record
from engine.config import ModelProfile, Profile
from engine.errors import ResourceExhausted

RESERVE_BYTES = 256 << 20
"""What answers, logs and the store grow by in a run, generously."""
WEIGHT_BYTES = 2
"""A parameter of prepared and of merged weights."""
ADAPTER_COPIES = 8
"""Adapters' worth of files in a training: two checkpoints with weights and two moments each, the result, and the one from before the rate fell."""
MIB = 2**20


class DiskNeed(Record):
    """One thing that takes room."""

    what: str
    bytes: int


def adapter_bytes(profile: ModelProfile) -> int:
    """An adapter in 32 bits. A layer of width h has about 12 h^2 parameters and adapted matrices with 18 h rows and columns; the width follows from
    the size, as models of the usual shape have about h / 64 layers. Half of it again covers those of another shape: SmolLM2-135M with rank 16 is
    reckoned at 22 MB, and has 20 MB."""
    parameters = profile.parameters_billion * 1e9
    width = (parameters * 64 / 12) ** (1 / 3)
    return int(parameters * 1.5 * profile.lora.rank / width * 1.5 * 4)


def needs_of_iterate(profile: Profile, *, rounds: int, prepared: bool, merges: bool) -> tuple[DiskNeed, ...]:
    """What an iterate run of so many rounds leaves on the disk, and needs on the way. `prepared`: its base is there already. `merges`: each version
    is kept as merged weights too."""
    if not isinstance(profile, ModelProfile):
        return ()
    weights = int(profile.parameters_billion * 1e9 * WEIGHT_BYTES)
    base = DiskNeed(what="prepared base", bytes=0 if prepared else weights)
    merged = DiskNeed(what=f"merged weights of {rounds} versions", bytes=weights * rounds if merges else 0)
    adapters = DiskNeed(what=f"adapters and checkpoints of {rounds} rounds", bytes=adapter_bytes(profile) * (ADAPTER_COPIES + 2 * (rounds - 1)))
    reserve = DiskNeed(what="store, answers and logs", bytes=RESERVE_BYTES)
    return tuple(need for need in (base, merged, adapters, reserve) if need.bytes)


def refuse_without_room(needs: tuple[DiskNeed, ...], free_bytes: int, place: str) -> None:
    """Raises ResourceExhausted where the disk at `place` does not hold all of it."""
    needed = sum(need.bytes for need in needs)
    if needed <= free_bytes:
        return
    parts = ", ".join(f"{need.what} {need.bytes / MIB:.0f} MiB" for need in needs)
    raise ResourceExhausted(
        f"the disk that holds {place} has {free_bytes / MIB:.0f} MiB free, and this run is estimated to need {needed / MIB:.0f} MiB: {parts}",
        next_step="Free disk space, or ask for fewer rounds (max_iterations).",
        resource="disk",
        needed_bytes=needed,
        free_bytes=free_bytes,
        needs={need.what: need.bytes for need in needs},
    )
