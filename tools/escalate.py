"""Escalations: what nobody foresaw, from the first look to the close.

The resolution check of an escalation is a call of a tool, so it is made here, where tools are called, and judged by the engine. A call that starts
a run is made under a key of the escalation's own: asked again, it finds that run, and its answer is the run's status when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from engine.base.ids import IDENTIFIER_PATTERN
from engine.base.record import Record
from engine.errors import ArgumentInvalid, BadInput, Integrity
from engine.escalate.types import ToCheck
from engine.jobs.types import FINAL_STATES
from engine.views import EscalationPage
from tools.fields import ClusterName, RunId
from tools.promote import Asker
from tools.tool import Tool, call, check_arguments, find_tool

if TYPE_CHECKING:
    from engine.engine import Engine

CHECK_EFFECTS = ("read", "spend")
"""Of a tool that a check may call: looking, and measuring again."""
PAGES = 20
TRIES = 20
"""Runs of one check that were cancelled before a further one is refused."""

EscalationId = Annotated[str, Field(pattern=IDENTIFIER_PATTERN, description="An escalation.", examples=["esc-0a1b2c3d4e5f"])]


class EscalationsArguments(Record):
    """Which to show."""

    escalation: Annotated[EscalationId | None, Field(description="One, with what is known of it.")] = None
    all: Annotated[bool, Field(description="Also closed ones.")] = False
    limit: Annotated[int, Field(ge=1, le=20, description="Newest first.")] = 10


def escalations(engine: Engine, arguments: EscalationsArguments) -> EscalationPage:
    """Escalations, or one."""
    return engine.escalations(arguments.escalation, closed=arguments.all, limit=arguments.limit)


class EscalateArguments(Record):
    """What was noticed, where, and what must pass before it is closed."""

    problem: Annotated[str, Field(min_length=1, max_length=4000, description="Its first line names it.")]
    cluster: Annotated[ClusterName | None, Field(description="Where.")] = None
    run_id: Annotated[RunId | None, Field(description="A run that shows it; asked again, its check.")] = None
    check: Annotated[
        dict[str, Any] | None,
        Field(description="What must pass: {tool, arguments, expected: [{path, comparison: is|at_least|at_most|lacks, value}]}."),
    ] = None
    severity: Annotated[Literal["low", "medium", "high"], Field(description="What it stops.")] = "medium"
    by: Asker = "caller"


def escalate(engine: Engine, arguments: EscalateArguments) -> EscalationPage:
    """Opens one, or adds to the one that is there."""
    if arguments.check is not None:
        refuse_impossible(arguments.check)
    return engine.escalate(
        arguments.problem, arguments.cluster, arguments.run_id, arguments.severity, arguments.check, by=arguments.by
    )


class ResolveEscalationArguments(Record):
    """Which step to take."""

    escalation: EscalationId
    action: Annotated[
        Literal["propose", "apply", "verify", "close", "reopen"],
        Field(description="propose a `change`; apply: it was made; verify: make its check, again when that run has ended."),
    ]
    change: Annotated[
        dict[str, Any] | None,
        Field(description="{kind: configuration, file, setting, after}, or kind plan, data, scenario, taxonomy (docs/escalations.md)."),
    ] = None
    reason: Annotated[str, Field(max_length=500, description="Why, for the log.")] = ""
    by: Asker = "caller"


def resolve_escalation(engine: Engine, arguments: ResolveEscalationArguments) -> EscalationPage:
    """Takes a step; to verify, makes the check first."""
    if arguments.action == "verify":
        return verify(engine, arguments.escalation, arguments.by)
    return engine.resolve_escalation(arguments.escalation, arguments.action, arguments.change, by=arguments.by, reason=arguments.reason)


class ApproveFixArguments(Record):
    """A signature and what it is for."""

    escalation: EscalationId
    signature: Annotated[str, Field(min_length=1, max_length=20_000, description="Armoured SSH signature over the request.")]
    by: Annotated[str, Field(min_length=1, max_length=100, description="Who hands it in; whose it is, it says itself.")] = "caller"


def approve_fix(engine: Engine, arguments: ApproveFixArguments) -> EscalationPage:
    """Takes in a signature."""
    return engine.approve_fix(arguments.escalation, arguments.signature, by=arguments.by)


# ---- making a check ------------------------------------------------------------------------------------------------------------------


def verify(engine: Engine, name: str, by: str) -> EscalationPage:
    """Makes the resolution check of an escalation and has it judged. Where it starts a run that goes on, says so."""
    made = engine.check_to_make(name)
    tool = checking_tool(made.check.tool)
    answer = _answered(lambda: in_full(engine, tool, made.check.arguments) if tool.effect == "read" else _measured(engine, tool, made))
    if "run_id" in answer and answer["state"] not in FINAL_STATES:
        return engine.checking(name, answer["run_id"])
    return engine.judge_check(name, made, answer, by=by)


def _measured(engine: Engine, tool: Tool, made: ToCheck) -> dict[str, Any]:
    """Where the run of a check stands: the one that this check has started before, unless somebody cancelled that. What the call answers, where it
    starts none."""
    for number in range(TRIES):
        answer = call(engine, tool, {**made.check.arguments, "idempotency_key": f"{made.key}/{number}"})
        run_id = answer.get("run_id") or next((step["arguments"]["run_id"] for step in answer["next"] if step["tool"] == "run_status"), None)
        if run_id is None:
            return answer
        status = call(engine, checking_tool("run_status"), {"run_id": run_id})
        if status["state"] != "cancelled":
            return status
    raise ArgumentInvalid(f"{TRIES} runs of this check were cancelled", next_step="Reopen the escalation, then verify it.")


def _answered(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer of a check; an error that speaks of what was asked is one too. That the state does not allow it now, or that a machine failed,
    is none: it passes through, and nothing is judged."""
    try:
        return make()
    except (BadInput, Integrity) as error:
        return {"error": error.as_record()}


def in_full(engine: Engine, tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A tool's answer with all its pages: lists are joined, everything else is as the first page has it."""
    answer = call(engine, tool, arguments)
    page = answer
    for _ in range(PAGES):
        if "next_cursor" not in page:
            return answer
        page = call(engine, tool, {**arguments, "cursor": page["next_cursor"]})
        answer = {name: [*value, *page.get(name, [])] if isinstance(value, list) else value for name, value in answer.items()}
    raise ArgumentInvalid(f"{tool.name} has more than {PAGES} pages of answers", next_step="Open an escalation with a narrower check.")


def refuse_impossible(check: Mapping[str, Any]) -> None:
    """Raises ArgumentInvalid for a check whose call could never be made."""
    tool = checking_tool(str(check.get("tool", "")))
    check_arguments(tool, check.get("arguments") or {})


def checking_tool(name: str) -> Tool:
    """The tool of that name, if a check may call it."""
    from tools import TOOLS  # the table holds this file's tools too

    tool = find_tool(TOOLS, name)
    if tool.effect not in CHECK_EFFECTS or tool.name == RESOLVE_ESCALATION.name:
        raise ArgumentInvalid(f"{name} does more than look and measure; a check does not", next_step="Name a tool whose effect is read or spend.")
    return tool


ESCALATIONS = Tool(
    name="escalations",
    title="Escalations",
    description="Failures that no rule mends and that are not closed; one with its report, evidence, question and resolution check.",
    effect="read",
    arguments=EscalationsArguments,
    result=EscalationPage,
    run=escalations,
    idempotent=True,
    listed=False,
    positional=("escalation",),
)

ESCALATE = Tool(
    name="escalate",
    title="Escalate",
    description="Opens an escalation for what no rule knows. Runs that fail for good are escalated by themselves.",
    effect="write",
    arguments=EscalateArguments,
    result=EscalationPage,
    run=escalate,
    idempotent=False,
    positional=("problem",),
)

RESOLVE_ESCALATION = Tool(
    name="resolve_escalation",
    title="Resolve an escalation",
    description=(
        "Takes an escalation on. A change of clusters.json, contract, evaluation or taxonomy waits for a person's signature before it is applied."
    ),
    effect="write",
    arguments=ResolveEscalationArguments,
    result=EscalationPage,
    run=resolve_escalation,
    idempotent=False,
    positional=("escalation", "action"),
)

APPROVE_FIX = Tool(
    name="approve_fix",
    title="Hand in an approval of a fix",
    description=(
        "Takes in a person's signature on the fix of an escalation. It is verified against the approver list, so who hands it in makes no "
        "difference. One that does not count is refused, and the attempt is logged."
    ),
    effect="human",
    arguments=ApproveFixArguments,
    result=EscalationPage,
    run=approve_fix,
    idempotent=False,
    positional=("escalation",),
)
