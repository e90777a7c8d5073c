"""The loop: measure, diagnose, train, measure again, accept or roll back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from engine.base.clock import utc_now
from engine.base.record import Record
from engine.views import RunHandle
from tools.fields import ClusterName, IdempotencyKey
from tools.runs import handle
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


class IterateArguments(Record):
    """Which cluster, and how many rounds at most."""

    cluster: ClusterName
    max_iterations: Annotated[int | None, Field(ge=0, le=100, description="Training rounds at most (0: only measure); absent: the budget's.")] = None
    idempotency_key: IdempotencyKey = None


def iterate(engine: Engine, arguments: IterateArguments) -> RunHandle:
    """Submits an iterate run and answers its id at once."""
    asked_at = utc_now()
    return handle(engine.iterate(arguments.cluster, arguments.max_iterations, key=arguments.idempotency_key), asked_at)


ITERATE = Tool(
    name="iterate",
    title="Specialise a cluster",
    description=(
        "Starts a cluster's whole loop: measure, diagnose, train, measure again, accept or roll back, until targets, budget or stall. Answers at "
        "once with a run id. One active run a cluster."
    ),
    effect="spend",
    arguments=IterateArguments,
    result=RunHandle,
    run=iterate,
    idempotent=False,
    positional=("cluster",),
)
