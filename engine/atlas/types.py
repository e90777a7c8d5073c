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
