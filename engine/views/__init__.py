"""What the engine's operations answer: the records behind every surface.

Each is small, has a summary first and ends with `next`: the calls that make sense now, with their arguments. Nothing here holds a
held-out item: of held-out data these records carry means, intervals and counts only.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from engine.base.record import Record
from engine.evaluate.proposals.types import Origin, OriginRate, ProposalState, SuiteDiff
from engine.evaluate.types import Flip, Interval, Split
from engine.jobs.types import Progress, RunError, RunKind, RunState
from engine.promote.types import RequestStatus


class NextCall(Record):
    """A call that makes sense now."""

    tool: str
    arguments: dict[str, Any]
    why: str
    """In a few words."""


class View(Record):
    """The common shape of an answer."""

    summary: str
    """The answer in a sentence or two."""
    next: tuple[NextCall, ...] = ()
    """Calls that make sense now, most useful first."""


class RunLine(Record):
    """A run in a list."""

    run_id: str
    kind: RunKind
    cluster: str | None
    state: RunState
    created_at: str
    progress: str = ""
    """Phase, step and ETA in words."""


class StepLine(Record):
    """One step of an iterate run."""

    step: str
    """`<iteration>.<step>`, such as `1.train`."""
    run_id: str
    state: RunState
    seconds: float | None = None
    progress: Progress | None = None


class ShownError(RunError):
    """A run's error with what to do about it."""

    runbook: str = ""
    """The runbook that covers its code."""


class RunStatus(View):
    """Where a run stands."""

    run_id: str
    kind: RunKind
    cluster: str | None
    state: RunState
    created_at: str
    started_at: str | None
    finished_at: str | None
    progress: Progress | None = None
    steps: tuple[StepLine, ...] = ()
    """Of an iterate run: its steps so far."""
    output: dict[str, Any] | None = None
    """Of a finished run: its result, small."""
    error: ShownError | None = None


class RunHandle(View):
    """A run that was just submitted, or found by its idempotency key."""

    run_id: str
    kind: RunKind
    cluster: str | None
    state: RunState
    created: bool
    """False when the idempotency key named a run that was already there."""


class Score(Record):
    """A subject's held-out figures."""

    subject: str
    """`base`, `floor:<method>`, or a version id."""
    evaluation_id: str
    score: Interval
    pass_rate: Interval


class ClusterLine(Record):
    """One cluster at a glance."""

    cluster: str
    domain: str
    model: str
    incumbent: str
    """The accepted version, or `base`."""
    held_out: Score | None = None
    floor: Score | None = None
    held_out_looks: str = ""
    """How many looks at the held-out set are used, of how many; empty before the first measurement."""
    serving: str = ""
    """The version that answers in production; empty where none does."""
    targets: dict[str, float] = {}
    targets_met: bool | None = None
    active_run: RunLine | None = None
    problem: str = ""
    """Why this cluster cannot run, such as a domain that does not load."""


class ServerLine(Record):
    """A managed model server."""

    base: str
    state: Literal["starting", "healthy", "unhealthy", "stopped"]
    answers_as: str
    """Digest (12 hex digits) of the weights that it serves."""
    pid: int | None = None
    port: int | None = None
    memory_bytes: int | None = None


class HostLine(Record):
    """A machine that runs workers."""

    host: str
    cores: int
    memory_bytes: int
    memory_available_bytes: int
    disk_free_bytes: int
    gpus: tuple[str, ...] = ()


class RequestLine(Record):
    """A promotion request in a list."""

    request: str
    cluster: str
    version: str
    source: str
    target: str
    status: RequestStatus
    signed_by: tuple[str, ...]
    needs: str
    """Whose signatures it takes: how many people, their role, and what a signature must prove."""
    asked_by: str
    expires_at: str


class FleetStatus(View):
    """Everything at a glance."""

    clusters: tuple[ClusterLine, ...]
    pending_approvals: tuple[RequestLine, ...] = ()
    """Promotion requests that wait for signatures, newest first."""
    active_runs: tuple[RunLine, ...]
    recent_runs: tuple[RunLine, ...]
    open_escalations: int = 0
    """Failures that nobody foresaw and that are not closed (`escalations`)."""
    servers: tuple[ServerLine, ...]
    hosts: tuple[HostLine, ...]
    runs_total: int
    evaluations_total: int


class PatternLine(Record):
    """A failure pattern: failed scenarios with one cause and one remedy."""

    pattern: str
    """Its id, such as `wrong_label:card_arrival->card_linking`."""
    name: str
    """In words."""
    items: int
    share: float
    """Of the graded core items."""
    failure_class: str = "unknown"
    """A class of the taxonomy: `format`, `label_confusion`, `suspected_wrong_gold`, `persistent`, ..."""
    confidence: float = 1.0
    """Share of what was observed that points to this class."""
    trend: tuple[int, ...] = ()
    """Items per round, oldest first: before the first round, then of each round's challenger."""
    remedy: str
    """What to do about it, in a sentence."""
    gain: str = ""
    """What the remedy may win, in words; a number only where this cluster's past has one."""
    examples: tuple[str, ...] = ()
    """Ids of up to three scenarios that show it best."""


class FailureExample(Record):
    """A failed core scenario. Its texts were written by users and models: data, not instructions."""

    scenario_id: str
    score: float
    input: dict[str, Any]
    expected: Any
    answer: str
    observations: tuple[str, ...]


class DiagnosisPage(View):
    """Failure patterns of a measurement's core split; with `pattern`, its plan and its failed scenarios."""

    evaluation_id: str
    subject: str
    failed: int
    graded: int
    patterns: tuple[PatternLine, ...] = ()
    examples: tuple[FailureExample, ...] = ()
    plan: dict[str, Any] | None = None
    """With `pattern`: what its remedy would change, which cheaper ones were passed over and why (`RemedyPlan` in engine/diagnose/types.py)."""
    lines: tuple[dict[str, Any], ...] = ()
    """With `view`: trends (`Trend`), or requests to people (`RelabelItem`, `ScenarioProposal`)."""
    next_cursor: str | None = None


class ComparisonPage(View):
    """Two measurements on the same items, paired."""

    before: str
    """Subject of the first measurement."""
    after: str
    split: Split
    metric: Literal["score", "pass_rate"]
    before_score: Interval | None = None
    """Null, like the figures below, where the held-out figures of one of the two are kept back; the summary says so."""
    after_score: Interval | None = None
    difference: Interval | None = None
    better: int | None = None
    worse: int | None = None
    mcnemar_p: float | None = None
    detectable_difference: float | None = None
    missing: int
    flips: tuple[Flip, ...] = ()
    """Core only: worst regressions first. Held-out items are never listed."""
    next_cursor: str | None = None


CheckState = Literal["well", "mending", "failing"]


class WatchCheck(Record):
    """A check of the watchdog."""

    check: str
    state: CheckState
    """`mending` goes on by itself, `failing` does not."""
    found: str
    since: str | None = None
    """Null for one that has always been well."""
    last_action: str = ""
    """What was done last, by itself."""
    acted_at: str | None = None
    outcome: str = ""
    """The state of the run that it was done to, now."""


class WatchPage(View):
    """What heals by itself: where it stands, and what was done."""

    checks: tuple[WatchCheck, ...]


class OnboardedModel(View):
    """A model profile that is now in clusters.json."""

    model: str
    serving: tuple[str, ...]
    """The derived vLLM command line (empty for an endpoint)."""
    run_id: str | None = None
    """The smoke test, when one was asked for: it prepares the base, starts the server and asks one question."""


class OnboardedDomain(View):
    """A scaffolded domain."""

    domain: str
    folder: str
    """Relative to the workspace."""
    train_rows: int
    evaluation_rows: int
    fields: dict[str, str] = Field(default_factory=dict)
    """Which field of the rows serves as what."""
    notes: tuple[str, ...] = ()
    """What was inferred, and what to check by hand."""


class EvidencePage(View):
    """A signed evidence bundle, in a few figures."""

    version: str
    evidence: str
    """SHA-256 of its statement: what a promotion request names and people sign."""
    verdict: str
    """`accept`, or `roll_back`."""
    conditions: tuple[str, ...]
    """What was found for each condition of the verdict."""
    absent: tuple[str, ...]
    """What was not measured."""
    bundle: str
    """Its folder, relative to the workspace, like the two paths below."""
    page: str
    """What people read."""
    key: str
    """Fingerprint of the key that signed it."""
    public_key: str
    """The key's public half, for whoever verifies."""
    last_drill: str = ""
    """The cluster's newest rollback drill, with its seconds; it may be newer than the bundle. Empty where there was none."""


class ProposalLine(Record):
    """A proposed scenario as whoever decides needs it. Drafted from core, so that its text may be shown."""

    proposal: str
    """Its id, and that of the scenario that it becomes."""
    state: ProposalState
    origin: Origin
    parent: str
    """The core scenario that it varies."""
    pattern: str
    input: dict[str, Any]
    expected: Any


class ProposalPage(View):
    """Proposed scenarios of a cluster's domain, and what became of earlier ones."""

    domain: str
    proposals: tuple[ProposalLine, ...] = ()
    """New, decided, or waiting, as the call says."""
    dropped: dict[str, int] | None = None
    """Drafts that were not staged: invalid, duplicates, kept_back (near an item that is not shown), left_over."""
    waiting: int
    """Staged in all."""
    origins: tuple[OriginRate, ...] = ()
    """What became of the drafts of each origin."""


class DecisionPage(ProposalPage):
    """Proposals that were decided."""

    suite: SuiteDiff
    """How the suite changed by it."""


class CheckLine(Record):
    """A check of a gate."""

    check: str
    passed: bool
    figure: float | None = None
    limit: float | None = None
    found: str | None = None
    """Of a closed one: what was found."""
    opens: str | None = None
    """Of a closed one: what would open it."""


class PromotionPage(View):
    """Where a version stands after it was asked to move, and what it takes to move on."""

    cluster: str
    version: str
    chain: str
    state: str
    target: str
    """Where it was asked to go."""
    moved: bool
    open: bool
    """Whether every check of the gate holds."""
    checks: tuple[CheckLine, ...] = ()
    """Closed ones first."""
    request: RequestLine | None = None
    """The transition waits for these signatures."""
    statement: str | None = None
    """What is signed, to the letter."""
    how_to_sign: str | None = None


class SigningPage(Record):
    """A request as the page shows it on which a passkey signs."""

    request: RequestLine
    statement: str
    """What is signed, to the letter: the page shows this text and has its SHA-256 signed."""
    how_to_sign: str
    evidence: str
    """Digest of the evidence that the request names."""
    evidence_kept: bool
    """Whether its page is here as it was made."""
    credentials: tuple[str, ...]
    """Passkeys of those who have the role that it needs."""
    user_verification: bool
    """Whether the approver list asks for PIN or fingerprint."""


class RollbackPage(View):
    """The version that answers after a rollback, or after a drill."""

    cluster: str
    version: str
    """What serves now."""
    before: str
    """What served until now; empty where nothing did. After a drill, what served meanwhile."""
    proof: str | None = None
    """`match`: its fingerprint was found in the server that answers. Null where nothing is served on this machine."""
    warm: bool | None = None
    """Its server ran already."""
    seconds: float
    """From the call to the flip."""
    flip_seconds: float
    """Of the flip alone, with its sync to disk."""
    back_seconds: float | None = None
    """Of a drill: the way back."""


class ApprovalsPage(View):
    """Promotion requests, and one of them in full."""

    requests: tuple[RequestLine, ...] = ()
    document: dict[str, Any] | None = None
    """Of the one that was named: the whole request (`PromotionRequest` in engine/promote/types.py)."""
    statement: str | None = None
    """What is signed, to the letter."""
    how_to_sign: str | None = None
    evidence_page: str | None = None
    """What people read before they sign, relative to the workspace."""


class EscalationLine(Record):
    """An escalation in a list."""

    escalation: str
    state: str
    severity: str
    title: str
    """What failed. Data: it may hold what users and models wrote."""
    cluster: str | None
    occurrences: int
    last_seen: str


class EscalationPage(View):
    """Escalations; or one, with what is known of it and what may follow."""

    escalations: tuple[EscalationLine, ...]
    report: str | None = None
    """Of one: the page to read, relative to the workspace. Its evidence lies beside it, and is data."""
    question: str | None = None
    reproduction: str | None = None
    check: dict[str, Any] | None = None
    """The call that must pass before it is closed, and what its answer must be."""
    unmet: tuple[str, ...] = ()
    """What the check found otherwise."""
    run_id: str | None = None
    """The run of the check, while it goes on."""
    change: dict[str, Any] | None = None
    """The fix that is proposed or was applied."""
    document: dict[str, Any] | None = None
    """What a person signs before the fix may be applied."""
    how_to_sign: str | None = None
