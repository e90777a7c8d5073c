"""What training is told and what it returns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.base.record import Record
from engine.config import Lora, Share


class WatchLimits(Record):
    """When a GRPO run is stopped: how far its figures may move from where they began. Means over `window` steps are compared."""

    window: int = Field(ge=1)
    """Steps in the first window, in the last one, and at least between a finding and the checkpoint that is kept."""
    reward_rise: float
    """The reward counts as risen above its start by this much; only then can it have been hacked."""
    outside_fall: float
    """What the reward does not count (form, checks of weight 0) may fall by this much while the reward rises."""
    hacked_length: float
    """The length may grow to this multiple, or shrink to its inverse, while the reward rises."""
    hacked_distinct: Share
    """Different answers, as a share of those at the start, below which a risen reward is hacked."""
    zero_spread: Share
    """Share of groups whose answers all score alike, from which on nothing is learnt."""
    solved: Share
    """A mean reward from which on groups without spread are no collapse."""
    collapsed_distinct: Share
    """Different answers, as a share of those at the start, below which the policy has collapsed, whatever the reward does."""
    collapsed_length: float
    """Multiple of the starting length, or its inverse, at which answers have exploded or vanished."""
    reward_fall: float
    """The reward may fall below its start by this much."""
    kl: float
    """Largest mean divergence from the reference in nats a token; counts only where it is measured."""


class GrpoPlan(Record):
    """What group-relative policy optimisation adds to a plan (Shao et al. 2024)."""

    generations: int = Field(ge=2)
    """Answers to each prompt; a reward counts relative to its group."""
    prompts_per_step: int = Field(ge=1)
    max_new_tokens: int = Field(ge=1)
    """As in evaluation: a longer answer is cut and graded as it stands."""
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    beta: float = Field(ge=0)
    """Weight of the divergence from the reference; 0 holds no reference and measures none."""
    steps: int = Field(ge=1)
    clip: float = Field(gt=0)
    """The probability ratio is clipped to 1 - clip .. 1 + clip."""
    scale_rewards: Literal["group", "none"]
    """Whether a group's advantages are divided by its spread."""
    loss: Literal["dapo", "dr_grpo", "grpo"]
    """How tokens are weighted (TRL's names)."""
    preflight_prompts: int = Field(ge=0)
    """Prompts that the pre-flight samples; 0 goes without one."""
    preflight_samples: int = Field(ge=2)
    """Answers to each of them."""
    preflight_spread: Share
    """Share of prompts with spread below which the answer is 'SFT first'."""
    watch: WatchLimits


class DpoPlan(Record):
    """What direct preference optimisation adds to a plan (Rafailov et al. 2023)."""

    beta: float = Field(gt=0)
    """How closely the policy stays with the reference."""
    pairs_per_step: int = Field(ge=1)
    loss: Literal["sigmoid", "ipo", "hinge"]
    steps: int = Field(ge=1)


class TrainPlan(Record):
    """A training run, fully decided. Its digest names it; equal plan, data, start and seed give equal weights on one machine."""

    method: Literal["sft", "grpo", "dpo"] = "sft"
    warm_start: bool = False
    """Go on from the incumbent's adapter instead of a new one."""
    lora: Lora
    dtype: Literal["bfloat16", "float32"]
    base_quantization: Literal["none", "nf4"]
    learning_rate: float
    epochs: float
    batch_size: int
    micro_batch_size: int
    max_length: int
    warmup_share: float
    scheduler: Literal["cosine", "linear", "constant", "wsd"]
    """How the rate falls after the warm-up. `wsd` (warm-up, stable, decay): it stays, and falls in the last DECAY_SHARE of the steps; the adapter
    from before that is kept besides, for a later training to go on from."""
    weight_decay: float
    max_grad_norm: float
    gradient_checkpointing: bool
    checkpoint_every_steps: int
    seed: int
    merge: bool
    """Also write merged weights, because this profile serves them on this machine."""
    grpo: GrpoPlan | None = None
    dpo: DpoPlan | None = None
    reasons: tuple[str, ...] = ()
    """Why each value that differs from the profile's does."""


class PromptSample(Record):
    """What the pre-flight saw of one prompt."""

    id: str
    rewards: tuple[float, ...]
    """Of each sampled answer, by the domain's rubric."""


class Preflight(Record):
    """Whether there is anything to learn from rewards: answers sampled from where training starts."""

    prompts: int
    """Sampled."""
    samples: int
    """Answers to each."""
    solvable: Share
    """Share of prompts with at least one answer that has some reward."""
    with_spread: Share
    """Share of prompts whose answers score differently: only these teach anything."""
    reward: float
    """Mean over all answers."""
    variance: float
    """Mean over prompts of the variance within a prompt."""
    hopeless: int
    """Prompts dropped because every answer scores 0."""
    solved: int
    """Prompts dropped because every answer scores 1."""
    cut: Share
    """Share of answers that did not end within the limit."""
    advice: Literal["go", "sft_first"]
    reason: str
    """The advice in a sentence, with its figures."""


class StepFigures(Record):
    """What one GRPO step showed."""

    step: int
    reward: float
    """Mean over the step's answers."""
    spread: float
    """Standard deviation of the rewards over the step's answers."""
    zero_spread: Share
    """Share of groups whose answers all score alike."""
    length: float
    """Mean tokens of an answer."""
    cut: Share
    """Share of answers that did not end within the limit."""
    distinct: float
    """Different answers to different prompts, over the different answers that their references have; 1 is as diverse as the references."""
    outside: Share
    """What the reward does not count: mean of form (parsed, valid, no refusal, not cut) and of the checks of weight 0."""
    kl: float | None = None
    """Mean divergence from the reference, nats a token; null where the plan's beta is 0."""


class Finding(Record):
    """Why the watchdog stopped a training."""

    kind: Literal["reward_hacking", "collapse"]
    signal: Literal["outside", "length", "distinct", "zero_spread", "reward", "kl"]
    step: int
    """At which it was seen."""
    since: int
    """First step of the window that shows it; a checkpoint from before is sound."""
    start: float
    now: float
    limit: float
    sentence: str


class TrainOutput(Record):
    """What a finished training run leaves behind."""

    adapter: str
    """Digest of the adapter directory; names the version."""
    adapter_dir: str
    """Relative to the run directory."""
    merged_dir: str | None
    """Relative to the run directory."""
    fingerprint: str
    """Path of the fingerprint file, relative to the run directory."""
    steps: int
    first_loss: float
    final_loss: float
    tokens: int
    """Tokens seen, padding not counted."""
    train_seconds: float
    """Of the steps alone, summed over attempts that count."""
    resumed_from_step: int
    """0 when it ran in one go."""
    losses: str
    """Path of the loss curve (JSON: one loss a step), relative to the run directory."""
    row_losses: str | None = None
    """Path of what is left of each row's loss at the end (JSON: nats a token, by row), relative to the run directory; SFT only."""
    stable_dir: str | None = None
    """The adapter as it was before the rate fell, relative to the run directory; with the scheduler `wsd` only."""
    base: str
    """Digest of the base model."""
    dataset: str
    """Digest of the rows."""
    warm_start: str | None = None
    """Digest of the adapter that training went on from."""
    plan: TrainPlan
    """As it was carried out."""
    rewards: str | None = None
    """Path of the rewards curve (JSON: a StepFigures a step), relative to the run directory; GRPO only."""
    preflight: Preflight | None = None
    """GRPO only."""
    finding: Finding | None = None
    """Why the watchdog stopped the training early; null when it ran to its end."""
    kept_step: int | None = None
    """After a finding: the step of the checkpoint that was saved as the result."""


# ---- the schedule ----------------------------------------------------------------------------------------------------------------------

Method = Literal["sft", "grpo", "dpo"]


class Trial(Record):
    """A recorded round as the search sees it."""

    rate: float
    """Learning rate in octaves (log2) above the one that its method starts from."""
    passes: float
    """Epochs in octaves above what the step budget gives for the rows."""
    value: float
    """How far the challenger stood above the first incumbent of the ledger, on held-out; adds up over paired differences."""
    error: float
    """Standard error of `value` that this round's own comparison adds."""


class Search(Record):
    """What the search worker is asked: the ledger as trials, and which settings are free within which bounds (octaves)."""

    trials: tuple[Trial, ...]
    vary: tuple[Literal["rate", "passes"], ...] = Field(min_length=1)
    low: float
    high: float
    seed: int


class Suggestion(Record):
    """What the search worker answers, in octaves; a setting that was not free is 0."""

    rate: float
    passes: float
    trials: int
    """Different settings that it rests on."""


class Schedule(Record):
    """The settings of a round that follow from the ledger, before the rows are drawn."""

    method: Method = "sft"
    learning_rate: float
    rank: int
    epochs: float
    max_rows: int
    """Upper bound of the training set."""
    replay_share: float
    warm_start: bool = False
    warm_rate: float = 1.0
    """Share of the method's rate that is taken because of a warm start."""
    rows: int
    """Different rows that it reckons with: the pool, at most `max_rows`."""
    grounds: str = ""
    """Digest of the profile's settings and the domain's overrides; only a round on the same grounds hands its values on."""
    reasons: tuple[str, ...] = ()
    """Why each value that differs from the profile's or from the last round's does."""
    search: Search | None = None
    """Rules had nothing to say: ask this, then schedule again with the answer. Null when the schedule is final."""


class PastRound(Record):
    """A recorded round, or a training that diverged, as far as the next schedule needs it."""

    run_id: str
    iteration: int
    suite: str = ""
    """Digest of the suite that it was judged on; its own comparison is paired, so rounds on different suites still add up."""
    incumbent: str
    challenger: str | None
    """Null where training diverged."""
    outcome: Literal["accepted", "rolled_back", "diverged"]
    schedule: Schedule
    """As it was carried out."""
    before: float = 0.0
    """Held-out mean of the incumbent, in the domain's metric."""
    after: float = 0.0
    low: float = 0.0
    """Interval of the paired difference."""
    high: float = 0.0
    detectable: float = 1.0
    """The smallest true difference that the comparison could have shown."""
    items: int = 0
    """Held-out items compared."""
    better: int = 0
    worse: int = 0
    """Items whose value fell."""
    slices_lost: bool = False
    """A guarded slice lost more than its tolerance."""
    core_gain: float | None = None
    """Change of the core mean; null in rounds that did not record it."""
    first_loss: float | None = None
    final_loss: float | None = None


class Facts(Record):
    """What stands when a round begins."""

    pool_rows: int
    """Rows of the training pool."""
    incumbent: str
    """Version id, or `base`."""
    incumbent_lora: Lora | None = None
    """Its adapter's shape; null for the base, and for a version that was trained on another base."""
    mean: float
    """The incumbent's held-out mean in the domain's metric."""
    partial_credit: bool
    """The metric gives values between 0 and 1, so that answers to one prompt can be ranked."""
    failing_share: float
    """Of the incumbent's graded core items."""
    largest_rank: int | None = None
    """What the model server takes; null where versions answer as merged weights."""
    seed: int
