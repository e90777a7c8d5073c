"""Tells a remedy that helps from one that is applied again and again to the same failure. Pure.

A failure is known by its signature: where it happened and what it said, without what differs from one time to the next. A remedy has failed once
more when the same signature came back after it; what it mended in between makes the count begin anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.jobs.alike import normalised, step_kind
from engine.jobs.types import RunError

TRIES = 3
"""How often a remedy is applied to one failure: once may be chance, twice a busy machine."""


class Tried(NamedTuple):
    """A remedy that was applied, and what came of it."""

    signature: str
    """Of the failure that it was applied to, or that came back."""
    remedy: str
    mended: bool


def signature(error: RunError) -> str:
    """What stays the same when the same thing goes wrong again."""
    known = error.details.get("signature")
    if isinstance(known, str):
        return known
    return f"{step_kind(str(error.details.get('step', '')))}: {error.code}: {normalised(error.message)}"


def in_vain(tried: Iterable[Tried], signature: str, remedy: str) -> int:
    """How often, at the end of what was tried (oldest first), the remedy has not mended this failure."""
    times = 0
    for one in tried:
        if one.remedy == remedy:
            times = 0 if one.mended else times + 1 if one.signature == signature else 0
    return times
