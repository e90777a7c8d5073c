"""A runbook as a record: for what it is, what it needs to know, its steps, and how one knows that it worked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from engine.base.ids import IDENTIFIER_PATTERN
from engine.base.record import Record
from engine.diagnose.types import FailureClass

MOST_ATTEMPTS = 60
"""Of one step: an hour, when each attempt waits most of a minute for a run."""


class Triggers(Record):
    """What sends somebody to a runbook. No two runbooks share one."""

    errors: tuple[str, ...] = ()
    """Error codes, as every surface shows them."""
    classes: tuple[FailureClass, ...] = ()
    """Failure classes of a diagnosis."""
    alerts: tuple[str, ...] = ()
    """What else tells of it: a state or a sentence that a surface shows."""

    @model_validator(mode="after")
    def _some(self) -> Triggers:
        if not (self.errors or self.classes):
            raise ValueError("a runbook is for at least one error code or failure class")
        return self


class Input(Record):
    """Something that whoever follows the runbook has to know."""

    about: str = Field(min_length=1)
    """What it is, and where it stands."""
    example: str = Field(min_length=1)
    required: bool = True
    """A step that names an input which was not given is left out."""


class Expected(Record):
    """What an act should come to."""

    means: str = Field(min_length=1)
    """In words."""
    result: dict[str, Any] = {}
    """Places in the answer (`clusters[cluster=${cluster}].problem`), each with a value, or with what holds of it (`conditions.py`)."""


class Act(Record):
    """One call of a tool, or one command where no tool answers, with what should come of it."""

    call: str = ""
    """A tool."""
    arguments: dict[str, Any] = {}
    """Its arguments; `${name}` is an input, `${2.run_id}` a place in the answer of step 2."""
    command: tuple[str, ...] = ()
    """Words after `modelsmith`."""
    attempts: int = Field(default=1, ge=1, le=MOST_ATTEMPTS)
    """How often it is done at most until it comes to what is expected."""
    expect: Expected

    @model_validator(mode="after")
    def _one(self) -> Act:
        if bool(self.call) == bool(self.command):
            raise ValueError("an act is either the call of a tool or a command")
        if self.command and self.arguments:
            raise ValueError("a command has words, not arguments")
        return self


class Step(Record):
    """One numbered step."""

    number: int
    title: str
    text: str
    """Why and how, for readers."""
    act: Act | None = None
    """What is done; of a step `by` somebody only what they might call."""
    by: Literal["agent", "person"] | None = None
    """Nobody but them does it: `agent` stands for whoever follows the runbook, `person` for a person alone. None: it is carried out by itself."""
    done_when: Act | None = None
    """Of a step `by` somebody: what shows that it is done."""

    @model_validator(mode="after")
    def _doable(self) -> Step:
        if self.by is None and (self.act is None or self.done_when is not None):
            raise ValueError(f"step {self.number} is carried out by itself, so it has an act, and its expectation says when it is done")
        return self


class Runbook(Record):
    """One runbook."""

    id: str = Field(pattern=IDENTIFIER_PATTERN)
    title: str = Field(min_length=1, max_length=90)
    severity: Literal["low", "medium", "high", "critical"]
    """`critical`: nothing may be built on the state as it is. `high`: work stands still. `medium`: one run does. `low`: one request does."""
    summary: str = Field(min_length=1, max_length=400)
    """When to take it, in a sentence or two: what a skill is found by."""
    triggers: Triggers
    inputs: dict[str, Input] = {}
    tools: tuple[str, ...]
    """All that its acts call."""
    preconditions: tuple[str, ...] = Field(min_length=1)
    verification: Act
    """What shows that it worked."""
    never: tuple[str, ...] = Field(min_length=1)
    """What nobody does without a person."""
    background: str
    """What one sees and what it means: the text before the steps."""
    steps: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Runbook:
        if [step.number for step in self.steps] != list(range(1, len(self.steps) + 1)):
            raise ValueError("the steps are not numbered 1, 2, 3, ...")
        called = {act.call for act in self.acts() if act.call}
        if called != set(self.tools):
            raise ValueError(f"`tools` names {', '.join(sorted(self.tools))}, and the steps call {', '.join(sorted(called))}")
        return self

    def acts(self) -> tuple[Act, ...]:
        """Every act of the steps and the verification."""
        of_steps = [act for step in self.steps for act in (step.act, step.done_when) if act is not None]
        return (*of_steps, self.verification)


class Did(Record):
    """What became of a step."""

    number: int
    """0 is the verification."""
    title: str
    outcome: Literal["planned", "done", "left_out", "by_hand", "unexpected"]
    """`by_hand`: it is somebody's to do, and nothing shows that it is done."""
    by: Literal["agent", "person"] | None = None
    tool: str = ""
    arguments: dict[str, Any] = {}
    command: tuple[str, ...] = ()
    said: str = ""
    """What was found, or what is to be done."""


class Execution(Record):
    """What came of carrying out a runbook."""

    runbook: str
    outcome: Literal["planned", "verified", "waits", "unexpected", "not_verified"]
    """`waits`: the last step is somebody's to do; carry it out again afterwards. `unexpected`: a step came to something else than it should."""
    summary: str
    steps: tuple[Did, ...]
