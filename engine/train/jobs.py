"""What a training worker is told."""

from __future__ import annotations

from engine.base.record import Record
from engine.config import Device, Profile
from engine.generate.types import PreparedBase
from engine.train.types import TrainPlan


class TrainJob(Record):
    """One training run, resolved."""

    model: str
    """The profile's name in clusters.json."""
    profile: Profile
    """As it was at submission."""
    base: PreparedBase
    """What the adapter is trained on."""
    dataset: str
    """Absolute path of the curated rows (JSON lines); the store's artifact."""
    dataset_digest: str
    """SHA-256 of that file; checked before a step is taken."""
    domain_digest: str | None = None
    """Of the compiled domain whose rubric is the reward and whose pool holds the rows' references; GRPO only."""
    plan: TrainPlan
    warm_start: str | None = None
    """Directory of the adapter that training goes on from (safetensors); null starts anew."""
    warm_start_digest: str | None = None
    """Of that directory; compared before it is read."""
    device: Device = "cpu"
    """Where the weights are held."""
    score_rows: bool = False
    """Afterwards, ask how likely the trained model finds each row; SFT only."""


class RepairJob(Record):
    """Merged weights to be made again."""

    base: PreparedBase
    adapter: str
    """Absolute path of the adapter's directory."""
    adapter_digest: str
    merged_digest: str
    """What must come out."""
