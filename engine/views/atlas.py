"""What the atlas answers."""

from __future__ import annotations

from typing import Any, Literal

from engine.atlas.types import Approach
from engine.base.record import Record
from engine.evaluate.types import Interval
from engine.views import View


class Expected(Record):
    """An estimate, and the interval that nine of ten measurements lay in."""

    value: float
    low: float
    high: float


class ModelLine(Record):
    """A model of the atlas in a list."""

    model: str
    """Its name on the Hugging Face hub."""
    parameters_billion: float | None = None
    active_parameters_billion: float | None = None
    """Multiplied for each token, where that is not all."""
    architecture: str
    context_tokens: int | None = None
    licence: str | None = None
    """The tag of its card: not legal advice."""
    tasks: tuple[str, ...] = ()
    release: str | None = None
    weights_gib: float | None = None
    """In the quantisation that was asked about."""
    cache_mib_per_1k_tokens: float | None = None
    """What a sequence of 1,024 tokens keeps, in 16 bits; a window or a state makes it less for each of longer ones."""
    sequences: int | None = None
    """How many of the length asked about fit beside the weights, where hardware was named; 0: it does not fit."""
    tokens_per_second: Expected | None = None
    """Answer tokens of all requests in flight, where hardware was named that holds them."""
    known_from: str | None = None
    """`measured_setting`, `new_model` or `new_accelerator`: how near its times lie to what was measured (`assumptions`)."""
    confidence: str


class ModelSheet(ModelLine):
    """A model of the atlas beside others."""

    name: str
    family: str
    layers: int | None = None
    hidden_size: int | None = None
    vocabulary: int | None = None
    attention: str
    """What is kept of a context."""
    experts: str | None = None
    languages: tuple[str, ...] = ()
    weights_gib_by_quantisation: dict[str, Expected] = {}
    tpot_ms: Expected | None = None
    """Between two tokens of an answer, where hardware was named."""
    ttft_ms: Expected | None = None
    """To the first token."""
    textbook: dict[str, float] = {}
    """What the formulas say that one finds everywhere: weights with a fifth on top, peaks of bandwidth and arithmetic."""
    lora_peak_gib: Expected | None = None
    """Of training an adapter on one accelerator, the base in 16 bits (the recipe stands in `assumptions`)."""
    qlora_peak_gib: Expected | None = None
    """The same with the base in 4 bits (nf4)."""
    source: str
    sources: dict[str, str] = {}
    note: str = ""


class ModelsPage(View):
    """Models of the atlas."""

    models: tuple[ModelLine, ...] = ()
    total: int
    """How many fit."""
    next_cursor: str | None = None
    compared: tuple[ModelSheet, ...] = ()
    """Those that were named, with all that is known of them."""
    assumptions: tuple[str, ...] = ()
    """What the figures rest on."""


class ImportedModel(View):
    """A model that joined the workspace's atlas."""

    imported: ModelSheet


class Configuration(Record):
    """A model on hardware, in a quantisation: one that does what was asked."""

    configuration: str
    """Its name for `export`."""
    model: str
    accelerator: str
    cards: int
    quantisation: str
    score: float
    terms: dict[str, float]
    """Points of each term."""
    usd_per_hour: float | None = None
    """Of all cards, by the middle one of the on-demand prices known; absent where they are on hand."""
    usd_per_million_tokens: Expected | None = None
    """Of answer tokens, while it is kept as busy as asked."""
    usd_per_request: Expected | None = None
    tpot_ms: Expected
    ttft_ms: Expected
    tokens_per_second: Expected
    memory_gib: Expected
    """That each card must have, of `usable_gib`."""
    usable_gib: float
    licence: str | None = None
    known_from: str
    """How near the times lie to what was measured."""


class PlanPage(View):
    """Configurations that do what was asked, best first."""

    configurations: tuple[Configuration, ...]
    total: int
    """Models for which there is one."""
    reasons: tuple[str, ...] = ()
    """Why the first is first, term by term."""
    would_change: tuple[str, ...] = ()
    """What would come first without one of the constraints."""
    assumptions: tuple[str, ...] = ()
    file_name: str | None = None
    document: str | None = None
    """What was exported."""


class RecordedMeasurement(View):
    """A measurement of one's own, beside what was foretold of it."""

    tpot_ms: float
    """As measured."""
    foretold_before_ms: float | None = None
    foretold_now_ms: float | None = None
    ttft_ms: float | None = None
    first_foretold_before_ms: float | None = None
    first_foretold_now_ms: float | None = None
    measurements: int
    """In atlas.json."""


class TriageOption(Record):
    """A way to better answers: what was measured of it, or what to expect."""

    approach: Approach
    quality: Interval | None = None
    """In the page's metric; absent: not measured."""
    on: Literal["held_out", "core_sample"] | None = None
    gain: Interval | None = None
    """Over the base, in pairs on the same items."""
    latency_p95_seconds: float | None = None
    """95% of the answers took at most this long, as many in flight as the measurement kept."""
    machine_seconds: float | None = None
    """Of a machine for one answer, with as many in flight."""
    cost_per_decision: float | None = None
    """That time at the price that `hosts` in clusters.json gives, in its currency."""
    effort: str = ""
    """What it takes, in words."""
    when: Literal["first", "if_that_fails", "not_here"] | None = None
    """What the framework says of it; with a cluster `not_here` where a run found no way to measure it, else absent."""
    why: str = ""
    evaluation_id: str | None = None


class CurvePoint(Record):
    """A figure by training rows, on core."""

    subject: str
    """`floor:<method>`, or a version."""
    rows: int
    quality: Interval


class DataNeeded(Record):
    """How many training rows the target takes, by the floor's learning curve."""

    target: float
    rows: int
    """There are now."""
    needed: int | None
    low: int | None
    """Nine of ten curves lie between this ..."""
    high: int | None
    """... and this; absent: beyond what can be foretold, eight times what was measured, or never."""
    at_twice: Expected
    """The figure with twice the rows there are."""


class TriagePage(View):
    """Whether to train, and what to try before."""

    verdict: Literal["do_not_train", "measure_first", "label_first", "train"]
    reasons: tuple[str, ...]
    options: tuple[TriageOption, ...]
    """Cheapest first; without a cluster, in the order in which to try them."""
    metric: str | None = None
    target: float | None = None
    currency: str | None = None
    curve: tuple[CurvePoint, ...] = ()
    data_needed: DataNeeded | None = None
    assumptions: tuple[str, ...] = ()


class DecisionNote(Record):
    """What somebody wrote beside a decision."""

    by: str
    at: str
    note: str


class DecisionLine(Record):
    """A question about models, hardware or training that was kept with its answer."""

    decision: str
    question: str
    """The tool that was asked."""
    arguments: dict[str, Any]
    said: str
    """The answer's summary."""
    by: str
    at: str
    notes: tuple[DecisionNote, ...] = ()


class Difference(Record):
    """A place where two answers, or what was asked, differ."""

    place: str
    """Path in the arguments or the answer, such as `configurations.0.score`."""
    before: Any = None
    after: Any = None


class DecisionHistory(View):
    """Decisions that were kept; or one with its answer, and what differs."""

    decisions: tuple[DecisionLine, ...] = ()
    total: int | None = None
    next_cursor: str | None = None
    answer: dict[str, Any] | None = None
    """Of one: what the tool said then."""
    differs_from: str | None = None
    """`now`, or the decision that this one is held against."""
    differences: tuple[Difference, ...] = ()
    more_differences: int = 0
    """Beyond those that are listed."""
