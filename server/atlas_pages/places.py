"""Which pages there are. The command line reads this too, so it imports nothing."""

from __future__ import annotations

from typing import NamedTuple

AT = "/at/"
"""What the address of each page begins with; the daemon's code comes after it."""


class Place(NamedTuple):
    """A page that one goes to."""

    name: str
    """The last part of its address."""
    title: str
    words: str
    """What one finds there."""


PLACES = (
    Place("atlas", "Models", "Open models by size, licence and task: what each takes on a card, how fast it answers, and the source of each value."),
    Place("accelerators", "Accelerators", "Cards and chips with memory, bandwidth and arithmetic, and what they cost where and when."),
    Place("plan", "Plan", "From what a deployment must do to ranked configurations, and to the file that starts one."),
    Place("lab", "Laboratory", "One model on one accelerator, and knobs: memory, latency, cost and training, drawn with their intervals."),
    Place("triage", "Should you train?", "Every way to better answers side by side, as it was measured, and what follows."),
    Place("history", "Decisions", "What was asked and answered, with notes; asked again, and held against each other."),
)


def address(port: int, code: str, name: str = "") -> str:
    """Where a page is; the start page without a name."""
    return f"http://127.0.0.1:{port}{AT}{code}/{name}"
