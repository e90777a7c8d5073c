"""What the physics lab answers."""

from __future__ import annotations

from engine.base.record import Record
from engine.views import View


class Figured(Record):
    """A value, and its interval where measurements give one."""

    value: float
    low: float | None = None
    high: float | None = None


class CardMemory(Record):
    """The memory of one accelerator at the load asked about, in GiB."""

    parts: dict[str, Figured]
    """`weights`, `caches` and `overhead`; one that no source tells is missing."""
    needed: Figured | None = None
    usable: float | None = None
    """What the server may take."""
    whole: float | None = None
    """What the accelerator has."""
    sequences: int | None = None
    """Whole sequences that fit."""
    held: bool
    fits: bool
    """It is held even where memory comes out as large as the interval allows."""


class LoadLine(Record):
    """So many requests in flight; times and rates are absent where they are not held."""

    concurrency: int
    tpot_ms: Figured | None = None
    ttft_ms: Figured | None = None
    tokens_per_second: Figured | None = None
    fits: bool


class MonthLine(Record):
    """What a month of so many requests takes."""

    requests: int
    machines: Figured
    usd: Figured | None = None
    usd_per_million_tokens: Figured | None = None
    usd_per_request: Figured | None = None


class TrainingLine(Record):
    """Training by one method on one accelerator."""

    method: str
    peak_gib: Figured | None = None
    fits: bool
    hours: Figured | None = None
    usd: Figured | None = None


class LabPage(View):
    """All that follows for one model on one accelerator."""

    model: str
    accelerator: str
    accelerators: int
    """That one copy of the model takes."""
    usd_per_hour: float | None = None
    """Of one accelerator; absent: no price is known, and no cost is computed."""
    memory: CardMemory
    loads: tuple[LoadLine, ...]
    reached: int
    """The most requests in flight that are held within the limits on latency."""
    reached_surely: int
    """By the slow end of the intervals."""
    months: tuple[MonthLine, ...]
    """At the load asked about; none where it is not held."""
    usd_per_million_tokens: Figured | None = None
    usd_per_request: Figured | None = None
    training: tuple[TrainingLine, ...]
    known_from: str
    """How near the times lie to what was measured."""
    textbook: dict[str, float]
    assumptions: tuple[str, ...]
