"""The physics lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.atlas.knobs import LabKnobs
from engine.views.lab import LabPage
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


def physics_lab(engine: Engine, arguments: LabKnobs) -> LabPage:
    """What follows for one model on one accelerator."""
    return engine.physics_lab(arguments)


PHYSICS_LAB = Tool(
    name="physics_lab",
    title="Try a model on an accelerator",
    description=(
        "Memory part by part, latency and throughput from 1 to 512 requests in flight, cost from ten thousand to hundreds of millions of requests a "
        "month, and memory and hours of training, of one model on one accelerator, each with the interval that measurements give it."
    ),
    effect="read",
    arguments=LabKnobs,
    result=LabPage,
    run=physics_lab,
    idempotent=True,
    positional=("model", "accelerator"),
    listed=False,
)
"""Not listed for agents: `plan_deployment` answers what they ask; this is for people who turn knobs."""
