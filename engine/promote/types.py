"""Frozen records of the promotion control plane."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from engine.base.record import Record
from engine.config import Acceptance, HourlyPrice, Serving, SignatureLevel
from engine.evaluate.types import EvaluationSummary, ScoreIdentity
from engine.iterate.types import Iteration

State = str
"""A key of a chain's states, such as `eval-accepted`."""
Level = SignatureLevel
"""What a signature proves: `ssh` that a key file was used, the other two that a person touched a device (and, with user verification, entered
its PIN). Weakest first; see `approvals/levels.py`."""
Mover = Literal["loop", "agent", "human", "rollback"]
"""Who may take a transition: the loop alone (it judges a version, or another one takes its place), anybody (an agent included), people by
signature, or a rollback, which anybody may ask for and which brings back what people signed for before."""
RequestStatus = Literal["waiting", "used", "replaced", "expired", "overtaken"]
"""What a request is worth: `overtaken` when its version has moved since, or another one serves than the one whose place it was to take."""
CheckName = Literal[
    "floor",
    "incumbent",
    "held_out",
    "schema_valid",
    "no_harm",
    "safety_nets",
    "latency",
    "cost",
    "freshness",
    "export_parity",
]


class Transition(Record):
    """One edge of a chain."""

    source: State
    target: State
    by: Mover
    checks: tuple[CheckName, ...] = ()
    approvals: int = Field(default=0, ge=0, le=5)
    """Different people who must sign; more than 0 exactly where `by` is `human`."""
    level: Level = "ssh"
    """The weakest signature that counts."""
    role: str = "approver"
    """The role that each of them must have."""


class Chain(Record):
    """A table of states and transitions. What is not in it is refused."""

    name: str
    states: tuple[State, ...]
    first: State
    serving: State
    """The state of the version that answers."""
    transitions: tuple[Transition, ...]


FormName = Literal["adapter", "merged", "int8"]
"""What a version is exported as: the adapter alone, the base with it added in, and that in 8-bit integers."""


class ParityFigure(Record):
    """One way in which an export was held against what was evaluated."""

    name: Literal["answers", "lost", "score", "logprobs"]
    """`answers`: the share of core items answered the same to the letter. `lost`: items without an answer. `score`: how far the mean moved, either
    way. `logprobs`: the mean absolute difference in nats over the version's fingerprint."""
    holds: bool
    figure: float | None
    """Null where it was not measured."""
    limit: float
    sentence: str


class FormParity(Record):
    """A form of an export, loaded as it will be served and asked the suite's core items again."""

    form: FormName
    loaded_in: str
    """The engine that answered, and how it held the weights."""
    items: int
    """Core items with an answer in the measurement that it is held against."""
    figures: tuple[ParityFigure, ...] = Field(min_length=1)
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether every figure holds."""
        return all(figure.holds for figure in self.figures)


class Exported(Record):
    """An export of a version that was replayed."""

    run_id: str
    evaluation_id: str
    """The measurement that it was held against."""
    prompt: str
    """Digest of templates and output contract of that measurement."""
    sources: str
    """Digest of everything that it was made from and with."""
    forms: tuple[FormParity, ...]
    absent: tuple[str, ...]
    """Forms and files that the package lacks, and why, in sentences."""
    package: str | None
    """Digest of the package in the artifact store; null where a form did not agree, for then there is none."""


class Grounds(Record):
    """What a gate is judged on: what the store says of a version, and the domain as it is now."""

    cluster: str
    version: str
    judged: Iteration
    """The newest round that accepted the version."""
    judged_in: str
    """Run of that round."""
    judged_as: ScoreIdentity
    """What the version's measurement in that round was made by and of."""
    evaluation_id: str
    """The newest standard measurement of the version."""
    measured: EvaluationSummary
    measured_at: str
    latency_p95_seconds: float | None
    """On held-out, of its newest measurement whose answers did not all come from the cache; null where there is none."""
    seconds_per_decision: float | None
    """Of the machine, by its newest measurement that says it; null where there is none."""
    hourly_price: HourlyPrice | None
    """Of the cluster's machine; null where nobody gave one."""
    grading: str
    """Digest of the rubric as it is now."""
    prompt: str
    """Digest of templates and output contract as they are now."""
    schema_asked: bool
    """Whether answers must satisfy a schema."""
    acceptance: Acceptance
    serving: Serving
    evidence_days: float
    """How old a measurement may be."""
    exported: Exported | None = None
    """The newest export of the version."""


class Check(Record):
    """A named gate with its figure."""

    name: CheckName
    passed: bool
    figure: float | None = None
    """What was measured; null where nothing was."""
    limit: float | None = None
    sentence: str
    """What was found, with figures."""
    opens: str = ""
    """What would open it; empty when it is open."""


class SignedRequest(Record):
    """What people are asked to sign, as far as it decides whose signature counts."""

    id: str
    policy: str
    """Digest of the rules and of the approver list's head as they stood."""
    approvers_head: str = ""
    """Head of the approver list as it stood. Empty where there was no list: then nobody can approve."""
    nonce: str
    expires_at: str
    proposed_by: str
    """Actor: a surface or a run."""
    created_at: str
    approvals: int
    level: Level
    role: str
    separate_duties: bool = True
    """Whoever asked does not count among those who approve."""

    @property
    def meaning(self) -> str:
        """What a signature says, in a sentence."""
        raise NotImplementedError


class PromotionRequest(SignedRequest):
    """A transition that waits for signatures. What is signed is `statement_of(request)` (`approvals/statement.py`)."""

    cluster: str
    version: str
    adapter: str
    """Digest of the version's adapter."""
    chain: str
    source: State
    target: State
    evidence: str
    """SHA-256 of the evidence statement."""
    revision: int = 0
    """Of the version's state; whoever moved the version since has overtaken the request."""
    replaces: str = ""
    """The version that served when this was asked, where the transition puts another in its place; empty where none did."""

    @property
    def meaning(self) -> str:
        """What a signature says, in a sentence."""
        return f"I approve that version {self.version} of cluster {self.cluster} goes from {self.source} to {self.target}."


class Approval(Record):
    """A signature that was verified, kept whole so that anyone can verify it again."""

    request: str
    approver: str
    """Name in the approver list."""
    role: str
    level: Level
    key: str
    """Fingerprint of the public key: `SHA256:...` as ssh-keygen prints it."""
    signature: str
    """Armoured SSH signature, or the WebAuthn assertion as JSON."""
    approvers_head: str = ""
    """Head of the approver list that it was verified against; a list that has lost it since was cut or replaced."""
    received_at: str


class StoredRequest(Record):
    """A request with what became of it."""

    request: PromotionRequest
    outcome: Literal["used", "replaced"] | None
    """`used`: its transition was taken. `replaced`: another request for the same transition stands instead. Null while neither has happened."""
    approvals: tuple[Approval, ...]
    """In the order in which they came."""


class VersionState(Record):
    """Where a version of a cluster stands."""

    cluster: str
    version: str
    chain: str
    """That it is on; empty while only the loop has judged it, for every chain begins so."""
    state: State
    revision: int
    """Counts the transitions taken; what compare-and-set compares."""


class Drill(Record):
    """A rollback that was tried and taken back at once: how long it takes when it is needed."""

    serving: str
    """The version that served before it and after it."""
    to: str
    """The version that answered meanwhile."""
    seconds: float = Field(ge=0)
    """From the call until `to` answered; with the start of its server where it was cold."""
    back_seconds: float = Field(ge=0)
    """From there until `serving` answered again."""
    warm: bool
    """The server of `to` ran already."""
    proved: bool
    """Both were proved by fingerprint to answer; false where nothing is served on this machine."""
    drilled_at: str


class Gate(Record):
    """What stands between a version and its next state."""

    transition: Transition
    checks: tuple[Check, ...]

    @property
    def open(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)


class Passkeys(NamedTuple):
    """What a page asks a browser for."""

    credentials: tuple[str, ...]
    user_verification: bool
    """Whether PIN or fingerprint must be given."""


class Evidence(Record):
    """What a transition is judged on, as stored: the statement's digest and where the bundle lies."""

    digest: str
    artifact: str
    """Digest of the bundle directory in the artifact store."""
    summary: dict[str, Any] = {}
