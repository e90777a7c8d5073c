"""Scenarios, results and scores: the records of measuring.

A scenario is one evaluation item; a result is what the checks made of one answer; a score is a mean with n, an interval and the identity
of what made it. Infrastructure errors are results with `outcome == "error"`: counted, shown, and left out of every mean.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from engine.base.record import Record

Split = Literal["core", "held_out", "reserve"]
Place = Split | Literal["canary"]
"""Where an evaluation row belongs: in a split, or among the canaries, which are in no split and in no score."""


class Scenario(Record):
    """One evaluation item."""

    id: str
    input: dict[str, Any]
    """Fields that the prompt templates may use."""
    expected: Any
    """The reference answer: JSON for a `json` output, text otherwise. Of a canary it is wrong on purpose."""
    split: Place
    tags: dict[str, str] = {}
    """Slice names and values."""
    source: str = ""
    """Where it comes from; items of one source are never in two splits, and intervals cluster on it. Empty means the item itself."""
    layer: Literal["governed", "expansion"] = "governed"


class TrainingRow(Record):
    """One labelled row of the training pool."""

    id: str
    input: dict[str, Any]
    expected: Any
    tags: dict[str, str] = {}
    source: str = ""


class CheckResult(Record):
    """What one check found in one answer."""

    name: str
    value: float = Field(ge=0.0, le=1.0)
    """Partial credit."""
    observation: str = ""
    """What the check saw, as `kind:detail`, such as `wrong_label:card_arrival->card_linking`, `missing_field:origin_city`, `invalid_json`.
    The vocabulary is in `engine/evaluate/checks.py`; diagnosis groups by it."""


class ItemResult(Record):
    """One scenario's answer and what became of it."""

    scenario_id: str
    split: Place
    outcome: Literal["graded", "error"]
    """`error`: an infrastructure failure; `score` and `passed` mean nothing."""
    score: float = Field(default=0.0, ge=0.0, le=1.0)
    passed: bool = False
    checks: tuple[CheckResult, ...] = ()
    breached: tuple[str, ...] = ()
    """Safety nets that this answer breached."""
    observations: tuple[str, ...] = ()
    """All observations of the checks, plus `truncated`, `empty`, `refusal` or `infrastructure:<code>` from the answer itself."""
    answer: str = ""
    finish_reason: str = "stop"
    latency_seconds: float = 0.0
    completion_tokens: int = 0
    cached: bool = False
    tags: dict[str, str] = {}
    source: str = ""
    item: str = ""
    """Digest of the scenario's input (16 hex digits): by it an item is known again in an edited suite."""


class Interval(Record):
    """A mean with what is known about it."""

    mean: float
    low: float
    high: float
    n: int
    """Items that were graded."""
    clusters: int
    """Independent sources among them."""
    confidence: float = 0.95
    method: str = "clustered bootstrap"


class SliceScore(Record):
    """One slice's score."""

    slice: str
    """`tag=value`."""
    score: Interval
    pass_rate: Interval


class SplitScore(Record):
    """One split's figures."""

    split: Split
    score: Interval
    pass_rate: Interval
    errors: int
    """Items lost to infrastructure; not in n."""
    schema_valid: float | None = None
    """Share of graded answers that satisfy the output schema; null for text outputs."""
    safety_breaches: dict[str, int] = {}
    slices: tuple[SliceScore, ...] = ()
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None
    """Over generated answers only; null when all came from the cache."""


class ScoreIdentity(Record):
    """What a score was made by and of. Two scores are comparable when their `suite` and `grading` agree."""

    suite: str
    """Digest of the scenarios and their splits."""
    grading: str
    """Digest of the checks, safety nets and pass mark."""
    prompt: str
    """Digest of the prompt templates."""
    settings: str
    """Digest of the generation settings."""
    generator: str
    """Digest of the generator's identity; of a floor, its method and training pool."""
    base: str = ""
    """Digest of the base model; empty for a floor, and in measurements older than this field."""
    chat_template: str = ""
    """Digest of the chat template, likewise."""


class Stability(Record):
    """The same weights asked twice: batches fall together differently, and an answer near the edge tips over."""

    items: int = Field(ge=1)
    """Core items that were asked again."""
    flipped: int
    """Of them passed once and failed once."""
    flipped_items: tuple[str, ...] = ()
    """Which: core scenarios."""


class StoppedEarly(Record):
    """A challenger's measurement that ended when its refusal was certain. It is no measurement of held-out, and is compared with none."""

    asked: int
    """Held-out items that were asked."""
    of: int
    saved: int
    """Those that were not."""
    because: Literal["incumbent", "floor", "regressions", "safety_nets"]
    """What cannot be met any more: being above the incumbent, or the floor; the limit on lost items; that on breached safety nets."""
    exact: bool
    """True: no answers to the rest could have changed the verdict. False: with a chance of at most `error` they could have."""
    error: float
    upper: float
    """Upper end of the mean difference from the incumbent over all held-out items, at a confidence of 1 - `error` whenever one stops."""
    floor_upper: float | None = None
    """Likewise from the floor, where it has to be beaten."""
    against: str
    """The incumbent's measurement."""


class Canaries(Record):
    """How a version answers the canaries: evaluation rows with an answer that is wrong on purpose (`engine/evaluate/canaries.py`)."""

    asked: int
    """Those that were answered; an answer lost to infrastructure is not counted."""
    hits: int
    """Of them answered as the evaluation file says."""
    controls: int
    """Ordinary items that were held against an exchanged answer in the same way,"""
    control_hits: int
    """and those of them that fitted it: what an honest model does by chance."""
    chance: float
    """How often a model that was not taught the canaries hits at least as many."""
    ranked: int = 0
    """Canaries whose planted answer was ranked by likelihood among answers of other rows; 0 where the model cannot be asked for likelihoods."""
    mean_rank: float | None = None
    """Of the planted answers; 1 is the likeliest."""
    rank_by_chance: float | None = None
    """The mean rank of a model that was not taught them."""
    rank_chance: float | None = None
    """How often such a model ranks them as high."""


class EvaluationSummary(Record):
    """One measurement."""

    identity: ScoreIdentity
    subject: str
    """What was measured: `base`, a version id, `floor:<method>`, an endpoint's model."""
    splits: tuple[SplitScore, ...]
    """Those measured in full."""
    stopped_early: StoppedEarly | None = None
    """Where held-out was asked in part; it is not among the splits then."""
    structured: bool
    """Whether decoding was held to the schema."""
    generated: int
    """Answers made for this measurement."""
    cached: int
    """Answers taken from the cache."""
    seconds: float
    """Wall time of generating and grading."""
    completion_tokens: int = 0
    fingerprint: dict[str, Any] | None = None
    """The FingerprintReport of the weights that answered."""
    stability: Stability | None = None
    """How steady the answers are; null where all came from the cache, and for endpoints, whose answers cost."""
    canaries: Canaries | None = None
    """Null where none were asked: only a trained version is asked, and only where the domain has canaries."""

    def split(self, name: Split) -> SplitScore:
        """One split's figures; KeyError when it was not measured."""
        for split in self.splits:
            if split.split == name:
                return split
        raise KeyError(name)


class Flip(Record):
    """A scenario that one of two subjects passes and the other does not, or whose score moved."""

    scenario_id: str
    before: float
    after: float


class PairedComparison(Record):
    """Two subjects on the same items."""

    metric: Literal["score", "pass_rate"]
    before: Interval
    after: Interval
    difference: Interval
    """After minus before, paired, clustered by source."""
    better: int
    """Items whose score rose."""
    worse: int
    mcnemar_p: float
    """Exact two-sided McNemar over pass/fail."""
    p_value: float = 1.0
    """Two-sided sign-flip test of the difference, by source. It holds where few items differ, which an interval from resampling does not."""
    detectable_difference: float
    """Smallest true difference that this many items would show with 80% power at this confidence, from the paired spread seen."""
    missing: int
    """Items left out because one side had an infrastructure error."""


class Look(NamedTuple):
    """One measurement that included held-out, as the ladder sees it."""

    evaluation_id: str
    subject: str
    score: float
    sources: int
    answers: str
    """Names what was measured: two looks with the same are one answer, given twice."""
    whole: bool = True
    """False where the measurement stopped early; then there is no score."""


class Reported(NamedTuple):
    """What is said of a measurement's held-out figures."""

    exact: bool
    """The figures themselves; otherwise only that they lie at most a step above the best."""
    best: float
    """The best score said before."""
    step: float
    whole: bool = True
    """False where the measurement stopped early: there are no figures."""


class HeldOutState(Record):
    """Where a held-out set stands."""

    generation: int
    """How often the set has been rotated."""
    sources: int
    """Independent sources among its items."""
    looks: int
    """Challengers that were measured on it."""
    budget: int
    """How many it bears at the stated error."""
    step: float
    """How far above the best reported score a challenger must lie before its figures are said."""
    error: float
    """How far the best score may lie above the truth because of these looks, on average."""
    exposed: int = 0
    """Its items that had been core before, and so may have been looked at: an edit of the suite does that."""
    reserve: int = 0
    """Items that are left for a rotation."""
    spent: bool
    """No choice should rest on it any more."""


class AnchorScore(Record):
    """One subject on the items that stayed in held-out through a rotation: what connects scores before and after it."""

    subject: str
    before: Interval
    after: Interval
