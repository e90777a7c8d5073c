"""Records of scenario proposals: what is drafted, what became of it, and how a suite changed by it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.base.record import Record

Transformation = Literal["recombined", "typos", "casing", "punctuation"]
"""How a draft was made without a model."""
TRANSFORMATIONS: tuple[Transformation, ...] = ("recombined", "typos", "casing", "punctuation")
TEACHER = "teacher:"
"""Begins the origin of what a teacher reworded. Captured inputs would be an origin of their own; there are none yet."""
Origin = Annotated[str, Field(pattern=r"^(recombined|typos|casing|punctuation|teacher:.+)$")]
NOISE: frozenset[Origin] = frozenset({"typos", "casing", "punctuation"})
"""Origins that keep the expected answer. Such a draft is near the scenario that it varies, on purpose; it shares that scenario's source, so that
no interval takes the two for independent items."""

ProposalState = Literal["staged", "accepted", "declined"]


class Draft(Record):
    """A scenario that may join a suite: a variant of a failed core scenario, or of a training row about the same failures."""

    id: str
    """Of the content, so that the same draft is the same proposal."""
    origin: Origin
    parent: str
    """The core scenario that it varies; of a teacher's draft, the training row."""
    pattern: str
    """The failure pattern that it was drafted for."""
    input: dict[str, Any]
    expected: Any
    tags: dict[str, str] = {}
    source: str
    """The parent's source, or the parent itself: what statistics cluster on."""


class Dropped(Record):
    """Drafts that were not staged. Of the items that are kept back only this number is ever said."""

    invalid: int = 0
    """The expected answer breaks the output schema, or the prompt does not render."""
    duplicates: int = 0
    """The same, or nearly, as a scenario, a training row, an earlier draft or a better one."""
    kept_back: int = 0
    """Near an item that is not shown."""
    label_changed: int = 0
    """The teacher that reworded it answers otherwise than the label, or could not be asked any more."""
    left_over: int = 0
    """Sound, but more than were asked for."""


class Proposal(Record):
    """A draft and what became of it."""

    draft: Draft
    domain: str
    cluster: str
    evaluation_id: str
    """The measurement whose failures it varies."""
    state: ProposalState
    staged_at: str
    decided_at: str | None = None
    decided_by: str | None = None
    """As given: who a person is can be claimed, not proved, until there are signatures."""
    reason: str = ""


class OriginRate(Record):
    """What became of the drafts of one origin."""

    origin: Origin
    staged: int
    """Still waiting."""
    accepted: int
    declined: int
    rate: float | None = None
    """Accepted among the decided; null before the first decision."""


class ExpansionRow(Record):
    """A line of `domains/<name>/data/expansion.jsonl`: an accepted scenario and where it comes from."""

    id: str = Field(pattern=r"^x-[0-9a-f]{16}$")
    input: dict[str, Any]
    expected: Any
    tags: dict[str, str] = {}
    source: str
    origin: str
    parent: str
    pattern: str
    cluster: str
    evaluation_id: str
    accepted_at: str
    accepted_by: str
    reason: str


class SuiteDiff(Record):
    """What changed between two versions of a domain's suite."""

    before: str
    """Suite digest."""
    after: str
    added: tuple[str, ...] = ()
    """Expansion scenarios of core that joined,"""
    removed: tuple[str, ...] = ()
    """and that left."""
    governed_changed: bool
    """Whether anything else differs: a governed scenario, how they are split, or a canary."""
