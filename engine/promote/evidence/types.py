"""Records of evidence: what a bundle is made from, what its statement says, and what a check of it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import Field

from engine.base.record import Record
from engine.config import Acceptance, HourlyPrice, Money
from engine.evaluate.types import Canaries, EvaluationSummary, ItemResult, PairedComparison, ScoreIdentity, Split, SplitScore, Stability
from engine.iterate.types import Decision
from engine.promote.types import Approval, Drill, PromotionRequest

Role = Literal["challenger", "incumbent", "base", "floor", "ceiling"]
"""What a subject is in the comparison: the version that is to be promoted, what it replaced, the model that it was trained from, the baseline
without a language model, and the best of teachers, endpoints and larger models."""
Suite = Literal["domain", "no_harm"]


# ---- what a bundle is made from --------------------------------------------------------------------------------------------------------


class MeasuredSubject(NamedTuple):
    """A subject with its whole measurement, as it lies in the store."""

    role: Role
    name: str
    summary: EvaluationSummary
    results: tuple[ItemResult, ...]
    """Core and held-out."""


class GuardResults(NamedTuple):
    """Base and challenger on the no-harm suite."""

    base: tuple[ItemResult, ...]
    challenger: tuple[ItemResult, ...]


class Lineage(Record):
    """What the version was made of: digests, versions and counts, nothing else."""

    adapter: str
    """Digest of the adapter directory; names the version."""
    merged: str | None = None
    fingerprint: str
    """Digest of the fingerprint file."""
    base: str
    """Digest of the base model."""
    model: str
    """The base's name, as the model profile has it."""
    licence: str
    dataset: str
    """Digest of the training rows."""
    rows: int
    """How many they were."""
    plan: str
    """Digest of the training plan."""
    method: str
    domain_digest: str
    """Of the compiled domain: configuration and rows."""
    went_on_from: str | None = None
    """Digest of the adapter that training started from; null for a new one."""


class Rollback(Record):
    """What answers if the version is taken back."""

    to: str
    """A version, or `base`."""
    adapter: str | None
    """Digest of its adapter; null for the base."""
    in_registry: bool
    """Its weights were at hand when the bundle was made."""
    drill: Drill | None = None
    """The cluster's last drill, whichever version served then; null where none was recorded."""


class Operations(Record):
    """What a decision of the version takes, as far as it was measured. Latency and answers a second stand with each subject."""

    device: str
    in_flight: int | None = None
    """Requests that its measurement kept in flight; null where no server was asked over the wire."""
    latency_budget_p95_seconds: float | None = None
    """The domain's; null where it sets none."""
    machine_seconds_per_decision: float | None = None
    """Wall time of the measurement by answers, with so many in flight; null where it was not measured."""
    hourly_price: HourlyPrice | None = None
    """Of the machine, as somebody gave it in clusters.json; null where nobody did."""
    cost_per_decision: float | None = None
    """The two together, in the currency of the price; null where either is."""
    cost_budget_per_decision: Money | None = None
    """The domain's; null where it sets none."""


class ApprovedRequest(Record):
    """A request with the signatures that were given for it, whole."""

    request: PromotionRequest
    approvals: tuple[Approval, ...]


@dataclass(frozen=True)
class BundleInputs:
    """Everything that goes into a bundle, not yet redacted. Read from the store by `gathering.py`."""

    cluster: str
    domain: str
    version: str
    made_at: str
    acceptance: Acceptance
    slices: tuple[str, ...]
    json_output: bool
    seed: int
    attempt: int
    stability: Stability | None
    """The incumbent's."""
    recorded: Decision
    """The ledger's; the bundle is refused unless its items give the same."""
    subjects: tuple[MeasuredSubject, ...]
    """Challenger and incumbent, and what else was measured on the same suite."""
    guard: GuardResults | None
    lineage: Lineage
    rollback: Rollback
    operations: Operations
    generation: int
    """How often the held-out set had been rotated."""
    salt: bytes
    """Fresh for each bundle and kept nowhere, so that nobody finds an item from its hash."""
    private_words: tuple[str, ...] = ()
    """Names of this machine and its user, and folders above the workspace: no label may hold one."""
    approvals: tuple[ApprovedRequest, ...] = ()
    planted: int = 0
    """Canaries of the domain."""

    def subject(self, role: Role) -> MeasuredSubject | None:
        """The subject of that role, if it was measured."""
        return next((subject for subject in self.subjects if subject.role == role), None)


# ---- what is in a bundle ---------------------------------------------------------------------------------------------------------------


class AnswerRow(Record):
    """What became of one subject's answer."""

    score: float = Field(ge=0.0, le=1.0)
    passed: bool
    valid: bool
    """It had the form that the output schema asks for."""
    breached: tuple[str, ...] = ()
    """Safety nets."""


class ItemRow(Record):
    """One line of items.jsonl: an item without anything that says which it is."""

    item: str
    """Salted hash of its id."""
    suite: Suite
    split: Split
    source: str
    """Salted hash: items of one source are one piece of evidence. Empty where the item is its own."""
    slices: dict[str, str]
    """Of the guarded slices alone."""
    answers: dict[Role, AnswerRow | None]
    """Null where the answer was lost to infrastructure."""


class Rules(Record):
    """What the verdict follows from, besides the items."""

    acceptance: Acceptance
    slices: tuple[str, ...]
    json_output: bool
    """Whether answers have a form to be held against."""
    seed: int
    attempt: int
    stability: Stability | None
    planted: int
    """Canaries that the domain has: a version that was trained on must have been asked all of them."""
    canaries: Canaries | None
    """What the challenger made of them, in counts; null where it was not asked."""


class SubjectFigures(Record):
    """One subject's means with their intervals."""

    role: Role
    splits: tuple[SplitScore, ...]


class Movement(Record):
    """The challenger against another subject, paired on held-out."""

    role: Role
    """The other one: before. The challenger is after."""
    comparison: PairedComparison


class SliceChange(Record):
    """A guarded slice of held-out: incumbent and challenger on the items that both answered."""

    slice: str
    """`tag=value`."""
    items: int
    before: float
    after: float
    won: int
    """Items that fail before and pass after."""
    lost: int


class Regressions(Record):
    """Items that changed sides between incumbent and challenger."""

    split: Split
    won: int
    lost: int


class Derived(Record):
    """All that follows from items and rules: what anybody who holds both finds again."""

    measured: tuple[SubjectFigures, ...]
    movement: tuple[Movement, ...]
    slices: tuple[SliceChange, ...]
    regressions: tuple[Regressions, ...]
    decision: Decision


class SubjectRecord(Record):
    """What was measured, and how: the benchmark's own record."""

    role: Role
    name: str
    identity: ScoreIdentity
    structured: bool
    fingerprint: str
    """`match` where the weights that answered were proved, `unproved` where the endpoint cannot, empty where nothing was generated."""
    generated: int
    cached: int
    completion_tokens: int
    latency_p50_seconds: float | None
    """Over generated answers to held-out; null where all came from the cache."""
    latency_p95_seconds: float | None
    answers_per_second: float | None
    """Of the measurement as a whole, loading left out: what the machine sustained; null where the cache gave many of the answers, and of a floor."""
    tokens_per_second: float | None
    """Generated tokens, likewise."""


class MadeWith(Record):
    """The code that made the bundle."""

    modelsmith: str
    code: str
    """Digest of the engine's sources."""
    numpy: str
    """Its version: the resampling draws on its generator."""
    page: str
    """Digest of the page's template."""


class EvidencePredicate(Record):
    """The predicate of the in-toto statement: what a reviewer judges, and an approver signs the digest of."""

    schema_version: Literal[1] = 1
    cluster: str
    domain: str
    version: str
    made_at: str
    made_with: MadeWith
    generation: int
    """How often the held-out set had been rotated."""
    subjects: tuple[SubjectRecord, ...]
    rules: Rules
    found: Derived
    operations: Operations
    lineage: Lineage
    rollback: Rollback
    absent: tuple[str, ...]
    """What a reader may look for and was not measured, in sentences."""


# ---- what a check found ----------------------------------------------------------------------------------------------------------------


class Difference(Record):
    """A figure or sentence that does not follow from the items, or an approval that does not from its signature."""

    place: str
    """Path in the statement."""
    stated: str
    found: str


class Verification(Record):
    """What a check of a bundle found. A bundle that was altered or cannot be read has none: it is refused."""

    verified: bool
    evidence: str
    """SHA-256 of the statement."""
    key: str
    """Fingerprint of the public key that it was checked against."""
    cluster: str
    version: str
    adapter: str
    verdict: str
    """As stated: `accept` or `roll_back`."""
    items: int
    held: tuple[str, ...]
    """What was checked and holds, in sentences."""
    differences: tuple[Difference, ...]
    """What does not follow from the items; the first twenty."""
    unchecked: tuple[str, ...]
    """What was taken as signed, and what nobody looked at, in sentences."""
