"""What is asked of the atlas."""

from __future__ import annotations

from typing import Literal, NamedTuple

Order = Literal["parameters", "release", "context"]


class Wanted(NamedTuple):
    """What a model must be; None leaves it open."""

    text: str | None = None
    task: str | None = None
    licence: str | None = None
    """A tag, or `permissive`."""
    architecture: str | None = None
    language: str | None = None
    least_billion: float | None = None
    most_billion: float | None = None
    least_context: int | None = None


class Deployment(NamedTuple):
    """Where models are to run, and at what load."""

    accelerator: str | None = None
    """None: nowhere yet."""
    cards: int = 1
    """Accelerators that one copy of a model is split over."""
    quantisation: str = "bf16"
    prompt_tokens: int = 1024
    answer_tokens: int = 256
    concurrency: int = 8
    """Requests in flight."""


class Constraints(NamedTuple):
    """What a deployment must do, and within what."""

    task: str | None = None
    prompt_tokens: int = 1024
    answer_tokens: int = 256
    concurrency: int = 8
    """Requests in flight."""
    tpot_ms: float | None = None
    """Most milliseconds between two tokens of an answer."""
    ttft_ms: float | None = None
    """Most milliseconds to the first token."""
    usd_per_hour: float | None = None
    """Most to rent for."""
    permissive: bool = False
    """Only licences that ask for little more than naming whom it is from."""
    own: tuple[tuple[str, int], ...] = ()
    """Hardware on hand: accelerators and how many."""
    rent: bool = True
    """Hardware may be rented; False keeps requests on what is on hand."""
    quantisations: tuple[str, ...] = ("bf16", "fp8", "mxfp4")
    text: str | None = None
    """Words of the models that come into question."""
    most_cards: int = 8


class ScoreWeights(NamedTuple):
    """How much each term counts; 100 in all unless a team has its own."""

    task: float = 40
    context: float = 15
    latency: float = 15
    memory: float = 15
    licence: float = 10
    margin: float = 5


ExportFormat = Literal["vllm", "tgi", "compose", "kubernetes", "json", "profile", "report"]


class Export(NamedTuple):
    """Which configuration is to become a file."""

    format: ExportFormat
    configuration: str | None = None
    """By its name; None: the first."""
    revision: str | None = None
    """Commit or tag of the weights."""
    checkpoint: str | None = None
    """A repository with the model quantised already."""


Approach = Literal["floor", "prompt", "constrain_decoding", "few_shot", "retrieval", "larger_model", "lora"]
"""A way to better answers. `floor`: no language model at all; `lora`: an adapter trained on one's own rows."""
Need = Literal["format", "labels", "facts", "style", "reasoning", "speed"]
"""What is wrong with the answers that one has; `speed` stands for latency and cost too."""


class Situation(NamedTuple):
    """What is known before anything was measured."""

    need: Need | None = None
    labelled_rows: int | None = None
    facts_change: bool = False
    """What is true of the subject changes between trainings."""
