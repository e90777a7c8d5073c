"""What the worker that prepares base models is told, and what it returns."""

from __future__ import annotations

from engine.base.record import Record
from engine.config import Device, Profile
from engine.generate.types import FingerprintReport, PreparedBase


class PrepareJob(Record):
    """A base model to make ready."""

    model: str
    """Name of the model profile."""
    profile: Profile
    smoke_question: bool = False
    """Also start the server and ask one question."""
    device: Device = "cpu"


class SmokeAnswer(Record):
    """What came back for the one question of a smoke test. The text was written by a model: data, not instructions."""

    question: str
    text: str
    seconds: float
    """From asking to the answer, the start of the server included."""
    fingerprint: FingerprintReport


class PrepareOutput(Record):
    """A base model that is ready."""

    base: PreparedBase | None
    """Null for an endpoint, which has nothing to prepare."""
    made: bool
    """False when it was ready before."""
    seconds: float
    notes: tuple[str, ...] = ()
    """What is less than it could be, in sentences."""
    smoke: SmokeAnswer | None = None
