"""What a drafting worker is told and what it returns."""

from __future__ import annotations

from pydantic import Field

from engine.base.record import Record
from engine.config import Device, Profile, Teacher
from engine.evaluate.proposals.types import Dropped
from engine.generate.types import PreparedBase


class DraftJob(Record):
    """Training rows that a usable teacher rewords into drafts of new scenarios."""

    domain_digest: str
    """Of the compiled domain."""
    teacher: Teacher
    profile: Profile
    """Of the model that rewords, as it was when the run was accepted."""
    base: PreparedBase | None
    """The prepared base of a local teacher; null for the others, and for one that this run has to prepare first."""
    rows: tuple[str, ...] = Field(min_length=1)
    """Training rows to reword."""
    pattern: str
    """The failure pattern that they are about."""
    evaluation_id: str
    """The measurement whose failures these are."""
    earlier: tuple[str, ...]
    """What was drafted for this domain before, as text: a draft's keys keep their order."""
    count: int = Field(ge=1)
    """Drafts at most."""
    seed: int
    device: Device


class DraftOutput(Record):
    """What a drafting run leaves behind; its drafts are staged in the command that finishes it."""

    teacher: str
    generator: str
    """What answered: engine and model."""
    domain: str
    """Name of the domain."""
    pattern: str
    evaluation_id: str
    rows: int
    """Training rows that the teacher was given to reword."""
    drafts: tuple[str, ...]
    """Sound drafts as text, most unlike first."""
    dropped: Dropped
    generated: int
    cached: int
    tokens: int
    """Prompt and answer tokens of all answers; those from the cache count as what they took once."""
    compared: int
    """Evaluation items that every row and every draft was compared with."""
