"""What is known of a version that answers, and of a change of it."""

from __future__ import annotations

from typing import NamedTuple

from engine.generate.types import FingerprintReport


class Proof(NamedTuple):
    """That a version answers, found just now."""

    report: FingerprintReport
    warm: bool
    """Its server ran already."""


class Flip(NamedTuple):
    """One change of the version that serves."""

    before: str
    after: str
    proof: Proof | None
    """Null where nothing of the cluster is served on this machine."""
    seconds: float
    """From the wish to the change; with the start of the server where it was cold."""
    flip_seconds: float
    """Of the command alone."""
