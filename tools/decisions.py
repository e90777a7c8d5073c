"""The decision history: what was asked of the atlas, what it answered, and what people noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from engine.base.record import Record
from engine.errors import ArgumentInvalid, ModelsmithError
from engine.views.atlas import DecisionHistory
from tools.atlas import PLAN_DEPLOYMENT, SEARCH_MODELS, TRIAGE_TUNING
from tools.fields import Cursor, PageLimit
from tools.tool import Tool, call, check_arguments, find_tool

if TYPE_CHECKING:
    from engine.engine import Engine

KEPT = (PLAN_DEPLOYMENT, TRIAGE_TUNING, SEARCH_MODELS)
"""Tools whose answers are decisions: they read, so that they can be asked again."""
DecisionId = Annotated[str, Field(pattern=r"^d-[0-9a-f]{12}$", description="A decision that was kept.", examples=["d-0123456789ab"])]


class RecordDecisionArguments(Record):
    """A question to ask and keep; or a note to a decision that is kept already."""

    question: Annotated[
        Literal["plan_deployment", "triage_tuning", "search_models"] | None, Field(description="The tool to ask; its answer is kept.")
    ] = None
    arguments: Annotated[dict[str, Any], Field(description="What that tool is asked.", examples=[{"cluster": "travel"}])] = {}
    decision: Annotated[DecisionId | None, Field(description="Instead of a question: the decision that the note is for.")] = None
    note: Annotated[str, Field(max_length=2000, description="What was decided, and why.")] = ""
    by: Annotated[str, Field(min_length=1, max_length=100, description="Who keeps it.")]


def record_decision(engine: Engine, arguments: RecordDecisionArguments) -> DecisionHistory:
    """Asks and keeps the answer, or adds a note."""
    if (arguments.question is None) == (arguments.decision is None):
        raise ArgumentInvalid("record_decision takes either a question or a decision", next_step="Give `question` with its arguments, or `decision`.")
    if arguments.decision is not None:
        if not arguments.note:
            raise ArgumentInvalid("there is nothing to add to the decision", next_step="Give a `note`.")
        return engine.note_decision(arguments.decision, note=arguments.note, by=arguments.by)
    tool = find_tool(KEPT, str(arguments.question))
    asked = check_arguments(tool, arguments.arguments).model_dump(mode="json", exclude_unset=True)
    return engine.record_decision(tool.name, asked, call(engine, tool, asked), note=arguments.note, by=arguments.by)


class DecisionHistoryArguments(Record):
    """Which decision, and what to hold it against."""

    decision: Annotated[DecisionId | None, Field(description="One in full, asked again; absent lists them.")] = None
    against: Annotated[DecisionId | None, Field(description="Another one to hold it against, instead of asking again.")] = None
    cursor: Cursor = None
    limit: PageLimit = 10


def decision_history(engine: Engine, arguments: DecisionHistoryArguments) -> DecisionHistory:
    """Decisions that were kept, or one of them and what differs."""
    if arguments.decision is None:
        if arguments.against is not None:
            raise ArgumentInvalid("`against` names one decision, and the other is missing", next_step="Name it with `decision`.")
        return engine.decision_history(arguments.cursor, arguments.limit)
    now = None if arguments.against is not None else _asked_again(engine, arguments.decision)
    return engine.shown_decision(arguments.decision, now, arguments.against)


def _asked_again(engine: Engine, decision: str) -> dict[str, Any] | None:
    """What the question is answered now; None where it cannot be asked any more, as of a cluster that is gone."""
    kept = engine.decision(decision)
    try:
        return call(engine, find_tool(KEPT, kept.question), kept.arguments)
    except ModelsmithError:
        return None


RECORD_DECISION = Tool(
    name="record_decision",
    title="Keep a decision",
    description=(
        "Asks plan_deployment, triage_tuning or search_models and keeps the question with its answer, export included, and a note; or adds a note to "
        "one that is kept. Kept again with the same answer it is the same decision."
    ),
    effect="write",
    arguments=RecordDecisionArguments,
    result=DecisionHistory,
    run=record_decision,
    idempotent=False,
    positional=("question",),
    listed=False,
)
"""Not listed for agents, nor is the next: people keep books."""

DECISION_HISTORY = Tool(
    name="decision_history",
    title="Decision history",
    description=(
        "Questions about models, hardware and training that were kept with their answers and notes; one of them is asked again, and what differs now "
        "is said, or it is held against another."
    ),
    effect="read",
    arguments=DecisionHistoryArguments,
    result=DecisionHistory,
    run=decision_history,
    idempotent=True,
    positional=("decision",),
    listed=False,
)
