"""Time, as the rest of the engine is given it: UTC, ISO 8601 with milliseconds and a final Z.

Pure code takes a time as an argument. Only code at the edge calls `utc_now`.
"""

from __future__ import annotations

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


def hours_after(moment: str, hours: float) -> str:
    """The time so many hours after `moment`, both in the project's spelling."""
    return iso(datetime.fromisoformat(moment) + timedelta(hours=hours))
