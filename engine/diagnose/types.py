"""Failure patterns, their classes and remedies: what diagnosis returns, and what a cheap remedy bought when it was tried.

The classes themselves, with rule, remedies and words, are data in `engine/diagnose/taxonomy.py`. Plans are typed by what they would change.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.base.record import Record
from engine.evaluate.types import PairedComparison

FailureClass = Literal[
    "format",
    "truncation",
    "refusal",
    "over_refusal",
    "label_confusion",
    "missing_field",
    "invented_field",
    "misread_field",
    "grounding",
    "safety_breach",
    "instability",
    "suspected_wrong_gold",
    "unlearnable",
    "persistent",
    "infrastructure",
    "unknown",
]

Remedy = Literal[
    "retry",
    "constrain_decoding",
    "raise_limit",
    "few_shot",
    "inspect",
    "relabel_request",
    "targeted_sft",
    "dpo",
    "grpo",
    "scenario_proposal",
    "escalate",
]
"""From the cheapest to the dearest; each class lists its own in this order."""


# ---- what a remedy would change ------------------------------------------------------------------------------------------------------


class ChangeSetting(Record):
    """One setting of domain.yaml takes another value."""

    kind: Literal["setting"] = "setting"
    setting: str
    """Dotted path in domain.yaml."""
    before: Any
    after: Any


class ShowExamples(Record):
    """Training rows stand in the prompt as worked examples."""

    kind: Literal["examples"] = "examples"
    count: int
    rows: tuple[str, ...] = ()
    """Ids of the training rows that were shown when it was tried; empty when it was not."""


class TrainOn(Record):
    """A training run aimed at patterns, with replay of everything else."""

    kind: Literal["train"] = "train"
    method: Literal["sft", "dpo", "grpo"]
    patterns: tuple[str, ...]
    replay_share: float


class RelabelItem(Record):
    """One label that a person should look at again. Core and training items only."""

    item: str
    """Scenario id, or training row id."""
    where: Literal["core", "training"]
    expected: Any = None
    """What is written now."""
    suggested: Any = None
    """What the evidence points to; null when it points nowhere."""
    why: str


class RelabelRequest(Record):
    """Labels for a person to look at again, strongest evidence first."""

    kind: Literal["relabel"] = "relabel"
    items: tuple[RelabelItem, ...]


class ScenarioProposal(Record):
    """A request for more scenarios like those that do not move. Drafting and accepting them is not done here."""

    kind: Literal["scenarios"] = "scenarios"
    pattern: str
    like: tuple[str, ...]
    """Core scenarios to vary."""
    wanted: int = Field(ge=1)
    why: str


class LookAt(Record):
    """Something that is looked at, asked again or handed on; nothing is changed."""

    kind: Literal["look"] = "look"
    items: tuple[str, ...]
    """Scenario ids, worst first."""


Change = Annotated[ChangeSetting | ShowExamples | TrainOn | RelabelRequest | ScenarioProposal | LookAt, Field(discriminator="kind")]


class PassedOver(Record):
    """A cheaper remedy that was not taken."""

    remedy: Remedy
    why: str


class RemedyPlan(Record):
    """What to do about a pattern: the cheapest remedy that is left."""

    remedy: Remedy
    words: str
    """What would be changed, in a sentence."""
    change: Change
    passed_over: tuple[PassedOver, ...] = ()
    """Cheaper remedies, and why each is not the one: it does not apply, or it was measured and did not help."""
    afterwards: tuple[Remedy, ...] = ()
    """What is left when this one does not help, cheapest first."""


class ExpectedGain(Record):
    """What a remedy may win, as far as this cluster's own past says."""

    at_most: float = Field(ge=0.0, le=1.0)
    """Share of the graded core items: all of this pattern's."""
    expected: float | None = None
    """`at_most` times the fix rate; null without enough of a past."""
    low: float | None = None
    high: float | None = None
    fixed: int = 0
    """Items of this class that the remedy has fixed before,"""
    tried: int = 0
    """of so many that it was aimed at. An item counts once for each round."""
    words: str


class FailurePattern(Record):
    """A group of failed scenarios with one cause and one remedy. Each failed scenario belongs to exactly one pattern."""

    pattern: str
    """Its id: the observation that the group shares, `<kind>:other` for a kind's rare ones, or `<kind>:like <scenario>` for similar inputs."""
    kind: str
    """The observation's kind, such as `wrong_label`; the class, where facts across measurements decided."""
    detail: str = ""
    """The observation's detail, such as `card_arrival->card_linking`; empty for the group of rare ones."""
    name: str
    """In words."""
    items: int = Field(ge=1)
    share: float = Field(ge=0.0, le=1.0)
    """Of the graded items."""
    failure_class: FailureClass = "unknown"
    underlying: FailureClass | None = None
    """Of a persistent pattern: the class that its observation names."""
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of its items for which everything observed points to this class; of a class found across measurements, the mean share of the
    evidence that agrees."""
    trend: tuple[int, ...] = ()
    """Items per round that failed like this, oldest first: before the first round, then of each round's challenger."""
    remedy: Remedy
    remedy_in_words: str
    plan: RemedyPlan | None = None
    gain: ExpectedGain | None = None
    scenario_ids: tuple[str, ...]
    """The failed scenarios, worst score first."""


class Diagnosis(Record):
    """What went wrong in one measurement of the core split."""

    graded: int
    failed: int
    lost: int
    """Items without an answer because of infrastructure; neither passed nor failed."""
    patterns: tuple[FailurePattern, ...]
    """Largest first."""


# ---- cheap remedies that were tried ------------------------------------------------------------------------------------------------------


class FixCount(Record):
    """How many failing items of one class a change fixed."""

    failure_class: FailureClass
    fixed: int
    tried: int


class CheapTrial(Record):
    """A remedy that needs no training, measured on a sample of core before anything is trained."""

    remedy: Literal["few_shot", "constrain_decoding"]
    words: str
    """What was changed."""
    structured: bool
    """Whether decoding was held to the schema with the remedy."""
    examples: tuple[str, ...] = ()
    """Training rows that were shown in the prompt."""
    golden: str | None = None
    """Version of the golden answers among them; null where all show their labels."""
    comparison: PairedComparison
    """On core, paired. Before: without the remedy; after: with it. The domain's own setting is one of the two."""
    schema_valid: float | None = None
    """Share of the answers with the remedy that satisfy the schema."""
    fixed: tuple[FixCount, ...] = ()
    seconds: float
    generated: int
    """Answers made for it; the others came from the cache."""


# ---- the ledger over time ----------------------------------------------------------------------------------------------------------------


class Trend(Record):
    """One pattern over the rounds of a cluster."""

    pattern: str
    name: str
    failure_class: FailureClass
    items: tuple[int, ...]
    """Before the first round, then of each round's challenger, whether or not it was accepted."""
    aimed_rounds: int
    """Rounds whose training set was aimed at it."""
    verdict: Literal["fixed", "came_back", "never_moved", "less", "more", "new"]
