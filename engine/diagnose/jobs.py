"""What the worker that tries cheap remedies is told and what it returns."""

from __future__ import annotations

from pydantic import Field

from engine.base.record import Record
from engine.config import Device, Profile
from engine.diagnose.types import CheapTrial
from engine.generate.types import PreparedBase


class WorkedExample(Record):
    """A training row as it is shown in the prompt."""

    row: str
    answer: str
    """The text that is shown as the answer to it: of a golden answer, or of the label."""
    golden: bool


class TryCheapJob(Record):
    """Remedies to measure on the base, on a sample of core, before anything is trained."""

    domain_digest: str
    """Of the compiled domain."""
    model: str
    """Name of the profile."""
    profile: Profile
    base: PreparedBase | None
    """Null for the scripted double, which makes its own."""
    device: Device
    examples: tuple[WorkedExample, ...]
    """What to show; empty leaves that trial out."""
    golden: str | None = None
    """Version of the golden answers among the examples; null where none is."""
    switch_schema: bool
    """Also decode with the schema switch the other way than the domain has it."""
    items: tuple[str, ...] = Field(min_length=1)
    """Core scenarios to ask."""


class TryCheapOutput(Record):
    """What was tried."""

    trials: tuple[CheapTrial, ...]
    domain_digest: str
