"""What training is told and what it returns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.base.record import Record
from engine.config import Lora


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
    scheduler: Literal["cosine", "linear", "constant"]
    weight_decay: float
    max_grad_norm: float
    gradient_checkpointing: bool
    checkpoint_every_steps: int
    seed: int
    merge: bool
    """Also write merged weights, because this profile serves them on this machine."""
    reasons: tuple[str, ...] = ()
    """Why each value that differs from the profile's does."""


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
    base: str
    """Digest of the base model."""
    dataset: str
    """Digest of the rows."""
    warm_start: str | None = None
    """Digest of the adapter that training went on from."""
    plan: TrainPlan
    """As it was carried out."""


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
