"""Promotion: moving a version towards production, looking at what waits for signatures, and handing a signature in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from engine.base.ids import IDENTIFIER_PATTERN
from engine.base.record import Record
from engine.views import ApprovalsPage, PromotionPage
from tools.fields import ClusterName
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine

RequestId = Annotated[str, Field(pattern=IDENTIFIER_PATTERN, description="A promotion request.", examples=["promote-1121-a1b2c3d4"])]
Asker = Annotated[str, Field(min_length=1, max_length=100, description="Who asks, for the log.")]


class PromoteArguments(Record):
    """Which version goes where."""

    cluster: ClusterName
    version: Annotated[str | None, Field(pattern=IDENTIFIER_PATTERN, description="Absent takes the accepted one.")] = None
    to: Annotated[str | None, Field(pattern=IDENTIFIER_PATTERN, description="A state; absent takes the next.", examples=["shadow"])] = None
    reason: Annotated[str, Field(max_length=500, description="Why, for the log.")] = ""
    by: Asker = "caller"


def promote(engine: Engine, arguments: PromoteArguments) -> PromotionPage:
    """Moves a version, or makes the request that people sign."""
    return engine.promote(arguments.cluster, arguments.version, arguments.to, by=arguments.by, reason=arguments.reason)


class ApprovalsArguments(Record):
    """Which requests to show."""

    cluster: Annotated[ClusterName | None, Field(description="Of one cluster.")] = None
    request: Annotated[RequestId | None, Field(description="One in full, with what is signed.")] = None
    all: Annotated[bool, Field(description="Also those that are over.")] = False
    limit: Annotated[int, Field(ge=1, le=20, description="Newest first.")] = 5


def approvals(engine: Engine, arguments: ApprovalsArguments) -> ApprovalsPage:
    """Requests with what became of them, or one in full."""
    return engine.approvals(arguments.cluster, arguments.request, waiting=not arguments.all, limit=arguments.limit)


class ApprovePromotionArguments(Record):
    """A signature and what it is for."""

    request: RequestId
    signature: Annotated[str, Field(min_length=1, max_length=20_000, description="Armoured SSH signature, or a passkey's assertion as JSON.")]
    by: Annotated[str, Field(min_length=1, max_length=100, description="Who hands it in; whose it is, it says itself.")] = "caller"


def approve_promotion(engine: Engine, arguments: ApprovePromotionArguments) -> PromotionPage:
    """Takes in a signature."""
    return engine.approve_promotion(arguments.request, arguments.signature, by=arguments.by)


PROMOTE = Tool(
    name="promote",
    title="Promote a version",
    description="Moves a version along its cluster's chain, or back. A closed gate answers what would open it; what people sign is asked for.",
    effect="write",
    arguments=PromoteArguments,
    result=PromotionPage,
    run=promote,
    idempotent=False,
    destructive=True,
    positional=("cluster", "version"),
)

APPROVALS = Tool(
    name="approvals",
    title="Promotion requests",
    description="Promotion requests and who signed them; one in full with how to sign.",
    effect="read",
    arguments=ApprovalsArguments,
    result=ApprovalsPage,
    run=approvals,
    idempotent=True,
)

APPROVE_PROMOTION = Tool(
    name="approve_promotion",
    title="Hand in an approval",
    description=(
        "Takes in a person's signature on a promotion request; with the last that is needed, the version moves. It is verified against the approver "
        "list, so who hands it in makes no difference. One that does not count is refused, and the attempt is logged."
    ),
    effect="human",
    arguments=ApprovePromotionArguments,
    result=PromotionPage,
    run=approve_promotion,
    idempotent=False,
    starts_servers=True,
    positional=("request",),
)
