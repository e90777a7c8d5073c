"""Scenario proposals: drafted from failures and staged, then accepted or declined by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from engine.base.record import Record
from engine.views import DecisionPage, ProposalPage
from tools.fields import ClusterName
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


class ProposeScenarioArguments(Record):
    """For which failures, and how many."""

    cluster: ClusterName
    pattern: Annotated[str | None, Field(max_length=300, description="From diagnose; absent takes the largest persistent one.")] = None
    count: Annotated[int, Field(ge=0, le=20, description="Drafts at most; 0 lists what is staged.")] = 8
    idempotency_key: Annotated[str | None, Field(max_length=128, description="Sent again, it stages nothing more.")] = None


def propose_scenario(engine: Engine, arguments: ProposeScenarioArguments) -> ProposalPage:
    """Drafts and stages scenarios, or lists the staged ones."""
    if arguments.count == 0:
        return engine.list_proposals(arguments.cluster)
    return engine.propose_scenario(arguments.cluster, arguments.pattern, arguments.count, key=arguments.idempotency_key)


class DecideScenarioArguments(Record):
    """Which proposals, what becomes of them, and who says so."""

    cluster: ClusterName
    proposals: Annotated[tuple[str, ...], Field(min_length=1, max_length=20, description="Ids.")]
    decision: Annotated[Literal["accept", "decline"], Field(description="May be turned round later.")]
    by: Annotated[str, Field(min_length=1, max_length=100, description="Who decides.")]
    reason: Annotated[str, Field(max_length=500, description="Why.")] = ""


def decide_scenario(engine: Engine, arguments: DecideScenarioArguments) -> DecisionPage:
    """Accepts or declines proposals."""
    return engine.decide_scenario(arguments.cluster, arguments.proposals, arguments.decision, by=arguments.by, reason=arguments.reason)


PROPOSE_SCENARIO = Tool(
    name="propose_scenario",
    title="Propose scenarios",
    description=(
        "Drafts variants of a failure pattern's core scenarios and stages those that are valid, new and unlike each other; they join core when a "
        "person accepts. A usable teacher drafts half, in a run that `next` names."
    ),
    effect="spend",
    arguments=ProposeScenarioArguments,
    result=ProposalPage,
    run=propose_scenario,
    idempotent=False,
    positional=("cluster",),
)

DECIDE_SCENARIO = Tool(
    name="decide_scenario",
    title="Accept or decline scenarios",
    description=(
        "A person accepts proposed scenarios into core or declines them; an agent only where the domain delegates it (else approval_needed)."
    ),
    effect="human",
    arguments=DecideScenarioArguments,
    result=DecisionPage,
    run=decide_scenario,
    idempotent=True,
    positional=("cluster",),
)
