"""What the worker that tries cheap remedies is told and what it returns."""

from __future__ import annotations

from pydantic import Field

from engine.base.record import Record
from engine.config import Device, Profile
from engine.diagnose.types import CheapTrial
from engine.generate.types import PreparedBase


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
    examples: tuple[str, ...]
    """Ids of the training rows to show; empty leaves that trial out."""
    switch_schema: bool
    """Also decode with the schema switch the other way than the domain has it."""
    items: tuple[str, ...] = Field(min_length=1)
    """Core scenarios to ask."""


class TryCheapOutput(Record):
    """What was tried."""

    trials: tuple[CheapTrial, ...]
    domain_digest: str
