"""The watchdog: what heals by itself, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.base.record import Record
from engine.views import WatchPage
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


class WatchdogArguments(Record):
    """No arguments."""


def watchdog(engine: Engine, arguments: WatchdogArguments) -> WatchPage:
    """Every check as it stands."""
    return engine.watchdog()


WATCHDOG = Tool(
    name="watchdog",
    title="Watchdog",
    description=(
        "What heals by itself: workers, memory, disk, model servers, weights and runs, each with its state, since when, what was found, what was "
        "done last and what came of it."
    ),
    effect="read",
    arguments=WatchdogArguments,
    result=WatchPage,
    run=watchdog,
    idempotent=True,
    listed=False,
)
