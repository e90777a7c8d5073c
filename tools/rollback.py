"""Rolling back: the version that served before answers again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from engine.base.ids import IDENTIFIER_PATTERN
from engine.base.record import Record
from engine.views import RollbackPage
from tools.fields import ClusterName
from tools.promote import Asker
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


class RollbackArguments(Record):
    """Which cluster goes back to what."""

    cluster: ClusterName
    to: Annotated[str | None, Field(pattern=IDENTIFIER_PATTERN, description="Absent takes the last that served.")] = None
    drill: Annotated[bool, Field(description="Flip, flip back, report the seconds.")] = False
    reason: Annotated[str, Field(max_length=500, description="Why, for the log.")] = ""
    by: Asker = "caller"


def rollback(engine: Engine, arguments: RollbackArguments) -> RollbackPage:
    """Lets a version answer again that people have let serve before."""
    return engine.rollback(arguments.cluster, arguments.to, drill=arguments.drill, by=arguments.by, reason=arguments.reason)


ROLLBACK = Tool(
    name="rollback",
    title="Roll back",
    description=(
        "The version that served before answers again: proved by fingerprint first, without a failed request or a signature; what it takes out "
        "needs one to come back."
    ),
    effect="write",
    arguments=RollbackArguments,
    result=RollbackPage,
    run=rollback,
    idempotent=False,
    destructive=True,
    starts_servers=True,
    positional=("cluster",),
)
