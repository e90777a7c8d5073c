"""The loop's records: its job, its decision, its ledger and its output."""

from __future__ import annotations

from typing import Any, Literal

from engine.base.record import Record
from engine.config import Budget, Device
from engine.curate.types import KnownTeacher
from engine.diagnose.types import CheapTrial
from engine.evaluate.types import AnchorScore, HeldOutState, Interval, PairedComparison, StoppedEarly
from engine.train.types import Schedule, TrainPlan


class IterateJob(Record):
    """An iterate run, resolved: what it works on and what it may spend."""

    domain: str
    domain_digest: str
    model: str
    profile: dict[str, Any]
    """The model profile as it was at submission."""
    targets: dict[str, float]
    budget: Budget
    seed: int
    device: Device
    incumbent: str
    """Version id, or `base`."""
    incumbent_because: str = ""
    """Why that is the incumbent, where no round has made it that: what was taken back, in a sentence. Empty where one has."""
    rehearse_digest: str | None = None
    """Of the domain whose rows are rehearsed; null where the domain names none."""
    no_harm_digest: str | None = None
    """Of the suite that guards what the domain's own does not look at; null where the domain names none."""
    teachers: tuple[KnownTeacher, ...] = ()
    """Whose answers may be taught, in the order in which they are tried; none where the labels are taught."""
    drafters: tuple[KnownTeacher, ...] = ()
    """Who may reword training rows into drafts of scenarios, in this order, where a teaching run has found them usable."""


class Clause(Record):
    """One condition of acceptance, with its figure and its limit."""

    name: Literal["improvement", "floor", "slices", "safety_nets", "regressions", "no_harm", "canaries", "complete", "early_stop", "rolled_back"]
    passed: bool
    sentence: str
    """What was found, with figures."""
    figure: float | None = None
    """What is held against the limit; null where nothing was compared, and in rounds older than this field."""
    limit: float | None = None


class Decision(Record):
    """Accept the challenger or roll back to the incumbent, and why."""

    verdict: Literal["accept", "roll_back"]
    clauses: tuple[Clause, ...]
    against_incumbent: PairedComparison
    """On held-out; where its measurement stopped early, on the items that were asked."""
    against_floor: PairedComparison | None
    """Likewise."""
    detectable: str
    """The smallest difference that this suite could have shown, in a sentence."""
    attempt: int = 1
    """Which challenger of this cluster was judged on this held-out set, from 1; the later, the more it has to show."""
    regressions: tuple[str, ...] = ()
    """Core scenarios that passed before and fail now; at most fifty. (Of held-out only their number is said.)"""


class PatternCount(Record):
    """A failure pattern in the ledger."""

    pattern: str
    name: str
    items: int
    share: float


class Iteration(Record):
    """One row of the ledger: everything that a round did and found."""

    iteration: int
    incumbent: str
    challenger: str
    incumbent_evaluation: str
    challenger_evaluation: str
    floor_evaluation: str | None
    patterns: tuple[PatternCount, ...]
    """Of the incumbent, largest first; at most ten."""
    fixed: tuple[PatternCount, ...]
    """Patterns of the incumbent with their change: how many fewer items the challenger fails for this reason."""
    rows: int
    """Training rows."""
    aimed: dict[str, int] = {}
    """Training rows aimed at each pattern; a pattern that every row is about counts all of them."""
    tried: tuple[CheapTrial, ...] = ()
    """Cheap remedies that were measured on the base before this round trained, and what each bought."""
    suite: str = ""
    """Digest of the suite that both were measured on."""
    once_golden: tuple[str, ...] = ()
    """Core scenarios that an accepted version once answered without a fault and the challenger fails; at most fifty."""
    plan: TrainPlan
    decision: Decision
    stopped_early: StoppedEarly | None = None
    """Where the challenger's measurement ended when its refusal was certain: how many held-out items that saved."""
    seconds: dict[str, float]
    """Wall time of each step, by its name without the iteration."""
    schedule: Schedule | None = None
    """The settings that followed from the ledger, as carried out. This and the three below are what the next schedule reads."""
    core_gain: float | None = None
    """Change of the core mean in the domain's metric."""
    first_loss: float | None = None
    final_loss: float | None = None


class FinalScore(Record):
    """A subject's held-out figures, for the summary."""

    subject: str
    evaluation_id: str
    score: Interval
    pass_rate: Interval
    schema_valid: float | None = None


class RefusedScore(Record):
    """The best of challengers that have no held-out score, because the measurement of each ended when its refusal was certain."""

    subject: str
    evaluation_id: str
    core: Interval
    """Its core figure in the domain's metric. Rounds learn from core, so it says less than a held-out one and decides nothing."""
    core_before: Interval
    """The incumbent's that it was judged against."""
    asked: int
    """Held-out items that were asked. It ended because of how those went, so their mean would be no fair score, and is not said."""
    of: int
    because: str
    """What could not be met any more, in words."""


class IterateOutput(Record):
    """What an iterate run leaves behind."""

    cluster: str
    outcome: Literal["targets_met", "budget_spent", "stalled", "held_out_spent"]
    targets: dict[str, float]
    targets_met: bool
    """True as well when there are no targets and at least one challenger was accepted."""
    base: FinalScore | None
    floor: FinalScore | None
    final: FinalScore
    """The version that answers now."""
    best_challenger: FinalScore | None
    """When nothing was accepted: the challenger that came closest, among those that were measured in full."""
    best_refused: RefusedScore | None = None
    """When nothing was accepted and no challenger was measured in full: the best of them on core, and why nothing more is known."""
    accepted: tuple[str, ...]
    """Versions accepted in this run."""
    against_base: PairedComparison | None
    against_floor: PairedComparison | None
    structured_effect: PairedComparison | None = None
    """What decoding under the schema bought the final version, paired on core."""
    held_out_use: HeldOutState | None = None
    """How often the held-out set has been looked at, and how often it may be."""
    anchor: tuple[AnchorScore, ...] = ()
    """After a rotation: the same items before and after it."""
    iterations: tuple[Iteration, ...]
    seconds: dict[str, float]
    """Wall time of each phase, summed over iterations; `total` is the run's."""
    notes: tuple[str, ...]
    """What to know and what to try next, in sentences."""
