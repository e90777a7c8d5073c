"""Tells a worker that is stalled from one that is slow: no progress told and no processor time used, for longer than its kind ever needs. Pure.

A worker that waits (for a server, a GPU, a lock) looks around several times a second and so uses a little time; one that was stopped or hangs in a
system call uses none. What is counted is time in which somebody looked: a gap between two looks counts for no more than `LONGEST_LOOK_SECONDS`, so
that a machine that slept, or a daemon that was held up, condemns nobody.
"""

from __future__ import annotations

from typing import NamedTuple

LONGEST_LOOK_SECONDS = 5.0


class Look(NamedTuple):
    """What was seen of a worker."""

    at: float
    """On a monotonic clock."""
    progress_bytes: int
    """Length of its spool."""
    processor_ticks: int
    """Of its whole session."""


class Idleness(NamedTuple):
    """The latest look, and for how many seconds nothing had changed by then."""

    look: Look
    seconds: float = 0.0

    def after(self, look: Look) -> Idleness:
        """The same a look later."""
        if (look.progress_bytes, look.processor_ticks) != (self.look.progress_bytes, self.look.processor_ticks):
            return Idleness(look)
        return Idleness(look, self.seconds + min(max(0.0, look.at - self.look.at), LONGEST_LOOK_SECONDS))
