"""Records of escalations: what failed, what is known of it, the fix that somebody attached, and the check that must pass before it is closed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from engine.base.record import Record
from engine.diagnose.types import FailureClass
from engine.promote.types import SignedRequest

State = Literal["open", "proposed", "approved", "applied", "verified", "closed", "reopened"]
Action = Literal["propose", "approve", "apply", "verify", "fail", "close", "reopen", "recur"]
Kind = Literal["run", "pattern", "by_hand", "overflow"]
"""`run`: a run that failed for good. `pattern`: a failure pattern that a finished iterate run could not explain or move. `by_hand`: somebody
opened it. `overflow`: the one that counts what came when there were too many."""
Severity = Literal["low", "medium", "high"]
Comparison = Literal["is", "at_least", "at_most", "lacks"]


# ---- what failed ---------------------------------------------------------------------------------------------------------------------


class Failure(Record):
    """What failed, in the facts by which one failure is the same as another."""

    kind: Kind
    cluster: str | None
    what: str
    """The kind of the run that failed, or the kind of the observation that a pattern shares."""
    step: str = ""
    """The step of an iterate run that failed, such as `1.train`; empty where there is none."""
    code: str = ""
    """Of the error; empty for a pattern."""
    failure_class: FailureClass | Literal[""] = ""
    """Of a pattern."""
    words: str = Field(max_length=4000)
    """What the error or the pattern says. Data: it may hold what users and models wrote."""


class Tried(Record):
    """Something that was done about it, and what came of it."""

    what: str
    result: str


class EvidenceFile(Record):
    """A file beneath `evidence/`: bounded, without secrets, and data whatever it says."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    about: str
    sha256: str
    bytes: int = Field(ge=0)


class Expectation(Record):
    """What a part of an answer must be."""

    path: str = Field(min_length=1, max_length=200)
    """Names joined by dots; `*` is every entry of a list: `patterns.*.pattern`."""
    comparison: Comparison = "is"
    """`lacks`: the value is nowhere there. A part that is missing, and a number that is none, never passes."""
    value: Any
    where: dict[str, Any] = {}
    """Of the lists on the way, the entries alone that have these values."""


class ResolutionCheck(Record):
    """What must pass before an escalation is closed: a call, and what its answer must be. Of a call that starts a run, the answer is the run's
    status when it has ended; of one that answers in pages, all of them."""

    tool: str
    arguments: dict[str, Any]
    expected: tuple[Expectation, ...] = Field(min_length=1, max_length=10)


class ToCheck(NamedTuple):
    """A resolution check that is to be made."""

    check: ResolutionCheck
    revision: int
    """Of the escalation that it is made for."""
    key: str
    """Begins the idempotency keys of its runs: made again for the same revision, it finds the same run."""


# ---- the fix -------------------------------------------------------------------------------------------------------------------------


class ConfigurationChange(Record):
    """A setting of clusters.json or of a domain.yaml takes another value."""

    kind: Literal["configuration"] = "configuration"
    file: str = Field(pattern=r"^(clusters\.json|domains/[a-z0-9][a-z0-9._-]{0,95}/domain\.yaml)$")
    setting: str = Field(min_length=1, max_length=300)
    """Names joined by dots: `clusters.travel.model`."""
    after: Any = None
    """Null takes the setting out."""


class PlanChange(Record):
    """A setting of how a domain is trained takes another value: what stands under `train` in its domain.yaml."""

    kind: Literal["plan"] = "plan"
    domain: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$")
    setting: str = Field(min_length=1, max_length=300)
    """Below `train`: `method`."""
    after: Any = None


class DataChange(Record):
    """A file with a domain's rows becomes another."""

    kind: Literal["data"] = "data"
    domain: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$")
    file: str = Field(min_length=1, max_length=200)
    """Below the domain's folder: `data/train.jsonl`."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the file as it is to be."""
    words: str = Field(min_length=1, max_length=500)
    """What is different in it."""


class ScenarioChange(Record):
    """Proposed scenarios are accepted or declined, by whoever may do that."""

    kind: Literal["scenario"] = "scenario"
    domain: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$")
    proposals: tuple[str, ...] = Field(min_length=1, max_length=20)
    decision: Literal["accepted", "declined"]


class TaxonomyRule(Record):
    """A failure that was new gets its class, so that the next one is not. Its case is the failure that it was made from: a rule that does not
    recognise its own case is refused."""

    kind: Literal["taxonomy"] = "taxonomy"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$")
    failure_class: FailureClass
    case: Failure
    """What it recognises: failures with the signature of this one, in whichever cluster they are."""
    answer: str = Field(min_length=1, max_length=500)
    """What to do about it, in a sentence."""


Change = Annotated[ConfigurationChange | PlanChange | DataChange | ScenarioChange | TaxonomyRule, Field(discriminator="kind")]


class Fix(Record):
    """A change that somebody proposes, and whether people have to approve it."""

    change: Change
    governed: bool
    """It touches what people have decided: clusters.json, a domain's contract or evaluation, the taxonomy."""
    digest: str
    """Of the change, to the letter."""
    proposed_by: str
    reason: str
    """Why this should help."""


class FixRequest(SignedRequest):
    """A governed fix that waits for a signature. What is signed is `statement_of(request)` (`engine/promote/approvals/statement.py`)."""

    escalation: str
    revision: int
    """Of the escalation while its fix waits; whoever moved it since has overtaken the request."""
    fix: str
    """Digest of the change."""
    change: dict[str, Any]
    """The change itself, so that it is read where it is signed."""

    @property
    def meaning(self) -> str:
        """What a signature says, in a sentence."""
        return f"I approve that the {self.change.get('kind')} change below is made to resolve escalation {self.escalation}."


# ---- the artefact --------------------------------------------------------------------------------------------------------------------


class Occurrence(Record):
    """One time that it happened."""

    source: str
    """The run in which it showed, or who opened it."""
    at: str
    words: str = ""
    """Of the overflow: what it was."""


class Opening(Record):
    """Everything that is known of a failure when it is escalated."""

    failure: Failure
    title: str = Field(min_length=1, max_length=200)
    severity: Severity
    class_guess: FailureClass
    """The nearest class of the taxonomy."""
    why_unmatched: str
    """Why no rule that mends it has matched."""
    blast_radius: str
    """What it stops, and what goes on."""
    tried: tuple[Tried, ...] = ()
    """What was done about it, oldest first; the last twenty."""
    reproduction: str
    """The command that shows it again."""
    evidence: tuple[EvidenceFile, ...] = ()
    bundle: str | None = None
    """Digest of the directory of these files in the artefact store; null where there are none."""
    allowed_actions: tuple[str, ...]
    """What may be done without asking anybody."""
    question: str
    """What a person is asked."""
    check: ResolutionCheck


class Escalation(Opening):
    """escalation.json: one escalation as it stands."""

    schema_version: Literal[1] = 1
    id: str
    signature: str
    """Of the failure; there is one escalation for each."""
    state: State
    revision: int
    """Counts its transitions; what compare-and-set compares."""
    since: str
    last_seen: str
    occurrences: int = Field(ge=1)
    latest: tuple[Occurrence, ...]
    """The last ten, newest last."""
    fix: Fix | None = None
    """What is proposed, or was applied. One that did not help stands under `tried`."""
    request: FixRequest | None = None
    """What people sign; null where nobody has to."""
    approved_by: tuple[str, ...] = ()
    closed_because: str = ""
