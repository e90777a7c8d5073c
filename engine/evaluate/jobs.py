"""What the workers of measuring are told and what they return."""

from __future__ import annotations

from pydantic import Field

from engine.base.record import Record
from engine.config import Device, Profile
from engine.evaluate.types import EvaluationSummary, Interval, PairedComparison, Split, Stability
from engine.generate.types import PreparedBase, Weights


class CompileJob(Record):
    """A domain to compile."""

    domain: str
    """Folder in `domains/`."""
    domain_digest: str
    """What `domain_digest` said when the run was accepted; a folder that changed since is refused."""
    generation: int = 0
    """How often the held-out set has been rotated."""


class CompileOutput(Record):
    """What was compiled."""

    domain_digest: str
    suite: str
    """Digest of the scenarios and their splits."""
    scenarios: dict[Split, int]
    """Items by split."""
    pool: int
    """Rows of the training pool."""
    generation: int = 0


class FloorJob(Record):
    """Baselines to fit and measure."""

    domain_digest: str
    splits: tuple[Split, ...] = ("core", "held_out")


class FloorLine(Record):
    """One baseline that was tried."""

    method: str
    fits: bool
    """False when this output or pool is nothing for the method; then there are no figures."""
    scores: dict[Split, Interval] = {}
    pass_rates: dict[Split, Interval] = {}
    seconds: float = 0.0
    """Fitting and answering."""


class CurvePoint(Record):
    """What a method reaches on core with so many training rows."""

    rows: int
    score: Interval
    pass_rate: Interval


class FloorOutput(Record):
    """The floor, and everything that was tried."""

    chosen: str | None
    """The method with the best mean on core; null when none fits. Held-out has no say in it."""
    summary: EvaluationSummary | None
    """Of the chosen method."""
    methods: tuple[FloorLine, ...]
    domain_digest: str
    generation: int = 0
    curve: tuple[CurvePoint, ...] = ()
    """The chosen method on parts of the training pool, fewest rows first; empty where nothing fits, and in runs older than this field."""


class StoredResults(Record):
    """The results of a finished measurement, as a file that a worker may read."""

    evaluation: str
    path: str
    """Absolute path of the store's artefact."""
    digest: str
    """SHA-256 of that file."""


class EarlyStop(Record):
    """What a challenger will be judged against; with it a measurement may end when its refusal is certain (`early_stop.py`)."""

    incumbent: StoredResults
    floor: StoredResults | None = None
    """Null where the challenger need not be shown to be above it."""
    confidence: float
    """At which this attempt is judged."""
    stability: Stability | None = None
    """The incumbent's."""
    relied_on: bool = True
    """False where the incumbent is shown to be below the floor: then lost items do not count."""


class EvaluateJob(Record):
    """One subject to measure."""

    domain: str
    """Folder in `domains/`; read only when the digest below is not compiled yet."""
    domain_digest: str
    generation: int = 0
    """Of the held-out set; the digest names it too."""
    model: str
    """Name of the profile."""
    profile: Profile
    """The profile as it was when the run was accepted."""
    base: PreparedBase | None
    """The prepared base; null for an endpoint, the scripted double, and a base that this run has to prepare first."""
    weights: Weights | None
    """The version's weights; null measures the base."""
    subject: str
    """`base` or a version id."""
    splits: tuple[Split, ...] = Field(default=("core", "held_out"), min_length=1)
    structured: bool
    """Hold decoding to the output schema."""
    measure_structured: bool
    """Also answer core with the switch the other way, to show what it buys."""
    device: Device
    targets: dict[str, float] = {}
    """Held-out means that the output says are reached or not."""
    early_stop: EarlyStop | None = None
    """Null measures every item."""


class StructuredEffect(Record):
    """What holding decoding to the schema buys, on core."""

    comparison: PairedComparison
    """Before: free decoding; after: held to the schema."""
    schema_valid_free: float | None
    """Share of free answers that satisfy the schema."""
    schema_valid_structured: float | None
    seconds: float = 0.0
    """Wall time of answering core the other way."""


class EvaluateOutput(Record):
    """One measurement."""

    summary: EvaluationSummary
    structured_effect: StructuredEffect | None = None
    domain_digest: str
    generation: int = 0
    """How often the held-out set had been rotated."""
    standard: bool = True
    """Measured as the loop measures: core and held-out in full, with the domain's own schema switch. Others are not taken for a subject's latest."""
    targets_met: bool | None = None
    """Whether held-out reaches the cluster's targets; null where there are none."""
