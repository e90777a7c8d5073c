"""A version as a package that can be handed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from engine.base.clock import utc_now
from engine.base.ids import IDENTIFIER_PATTERN
from engine.base.record import Record
from engine.views import RunHandle
from tools.fields import ClusterName, IdempotencyKey
from tools.runs import handle
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


class ExportArguments(Record):
    """Which version."""

    cluster: ClusterName
    version: Annotated[str | None, Field(pattern=IDENTIFIER_PATTERN, description="Absent takes the accepted one.")] = None
    idempotency_key: IdempotencyKey = None


def export(engine: Engine, arguments: ExportArguments) -> RunHandle:
    """Submits the export."""
    asked_at = utc_now()
    return handle(engine.export(arguments.cluster, arguments.version, arguments.idempotency_key), asked_at)


EXPORT = Tool(
    name="export",
    title="Export a version",
    description=(
        "Makes a signed package of an accepted version: adapter, merged weights, a quantised form where the profile asks for one, model card, "
        "serving files, evidence. Each form is loaded as it is served and asked core again; where one answers otherwise than was evaluated, there "
        "is no package."
    ),
    effect="spend",
    arguments=ExportArguments,
    result=RunHandle,
    run=export,
    idempotent=False,
    positional=("cluster",),
    listed=False,
)
"""Not listed for agents: `promote` starts it where a gate wants it."""
