"""The fleet at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.base.record import Record
from engine.views import FleetStatus
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


class FleetStatusArguments(Record):
    """No arguments."""


def fleet_status(engine: Engine, arguments: FleetStatusArguments) -> FleetStatus:
    """Every cluster with its scores and targets, what runs now, model servers and machines."""
    return engine.fleet_status()


FLEET_STATUS = Tool(
    name="fleet_status",
    title="Fleet status",
    description=(
        "Everything at a glance: clusters with accepted version, held-out score, floor, targets; runs; what waits for people; escalations; model "
        "servers; machines. The place to start."
    ),
    effect="read",
    arguments=FleetStatusArguments,
    result=FleetStatus,
    run=fleet_status,
    idempotent=True,
)
