"""What the pages about the atlas show beside the answers of tools: hardware, what there is to choose from, and exercises."""

from __future__ import annotations

from engine.base.record import Record
from engine.config import Accelerator
from engine.views import View


class AcceleratorLine(Record):
    """An accelerator of the atlas."""

    accelerator: str
    """Its name."""
    entry: Accelerator
    """All that is known of it, with the source."""
    usd_per_hour: float | None = None
    """The middle one of its on-demand prices, which plans reckon with."""
    own: bool
    """It stands in the workspace's atlas.json."""


class AcceleratorsPage(View):
    """All accelerators of the atlas."""

    accelerators: tuple[AcceleratorLine, ...]


class AtlasChoices(Record):
    """What occurs in the atlas, for whoever fills in a form."""

    task: tuple[str, ...]
    licence: tuple[str, ...]
    """Tags of model cards."""
    language: tuple[str, ...]
    model: tuple[str, ...]
    accelerator: tuple[str, ...]
    quantisation: tuple[str, ...]


class ExerciseLine(Record):
    """An exercise, and what came of it."""

    name: str
    question: str
    unit: str
    choices: tuple[str, ...]
    """Empty: a number is asked for."""
    given: str | None = None
    """What the reader answered."""
    right: bool | None = None
    """None: nothing was answered yet."""
    because: str | None = None
    """Why, as soon as something was answered."""
