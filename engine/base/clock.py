"""Time, as the rest of the engine is given it: UTC, ISO 8601 with milliseconds and a final Z.

Pure code takes a time as an argument. Only code at the edge calls `utc_now`. A time says when, never how long: the wall clock is set, by people and
by the network, so what decides by a duration measures it with `Stopwatch` or `since_boot`, and what happened first is told by order in the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], str]


def utc_now() -> str:
    """Now, as `2026-11-21T04:10:00.123Z`."""
    return iso(datetime.now(UTC))


def iso(moment: datetime) -> str:
    """An aware datetime in the project's one spelling."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from `earlier` to `later`, both in the project's spelling."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def since_boot() -> float:
    """Seconds since the machine started, its sleep included. The same for every process, until the next start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Stopwatch:
    """How long ago things began that are recorded with a time. A wall clock that is set meanwhile changes nothing; one that was set before this
    process first asked can add to it, and never takes away."""

    def __init__(self, clock: Clock, steady: Callable[[], float] = since_boot) -> None:
        self._clock = clock
        self._steady = steady
        self._began: dict[str, float] = {}

    def seconds(self, name: str, began_at: str) -> float:
        """Seconds since `name` began, which was recorded as `began_at`."""
        now = self._steady()
        if name not in self._began:
            self._began[name] = now - max(0.0, seconds_between(began_at, self._clock()))
        return now - self._began[name]


def hours_after(moment: str, hours: float) -> str:
    """The time so many hours after `moment`, both in the project's spelling."""
    return iso(datetime.fromisoformat(moment) + timedelta(hours=hours))
