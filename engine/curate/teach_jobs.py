"""What a teaching worker is told and what it returns."""

from __future__ import annotations

from typing import Literal

from engine.base.record import Record
from engine.config import Device, Profile, Teacher
from engine.evaluate.types import Interval
from engine.generate.types import PreparedBase

ORACLE = "oracle"
"""The teacher that is the training rows' own labels."""


class FloorBar(Record):
    """What a teacher is measured against: the floor of the same domain, on core."""

    evaluation_id: str
    subject: str
    suite: str
    grading: str
    score: Interval
    pass_rate: Interval


class TeachJob(Record):
    """One teacher to ask for answers to training prompts."""

    domain: str
    """Folder in `domains/`; read only when the digest below is not compiled yet."""
    domain_digest: str
    teacher: Teacher
    profile: Profile | None
    """Of the model that teaches, as it was when the run was accepted; null for the oracle."""
    base: PreparedBase | None
    """The prepared base of a local teacher; null for the others, and for one that this run has to prepare first."""
    floor: FloorBar | None
    """Null where no baseline fits the domain's output."""
    no_floor: str = ""
    """Why there is no floor although there could be one, in a sentence; the teacher is then reported and not used."""
    seed: int
    device: Device


class LeftOut(Record):
    """Answers that are not taught, by why."""

    form: int = 0
    """Cut, empty, or not what the output schema allows; or a breach of a safety net."""
    disagrees: int = 0
    """In form, but the rubric fails them against the label, and the label is trusted."""
    lost: int = 0
    """No answer, by a fault of the infrastructure."""


class TeachOutput(Record):
    """What a teaching run leaves behind. `usable` false: nothing is taught from it, and `reason` says why."""

    teacher: str
    trust: Literal["labels", "teacher", "both"]
    generator: str
    """What answered: engine and model; for the oracle, the pool."""
    structured: Literal["schema", "words", "none"]
    """How the form was asked for: as a schema that the engine or endpoint takes, in words in the prompt, or not at all."""
    pool: int
    """Training rows that could be asked for."""
    asked: int
    generated: int
    cached: int
    tokens: int
    """Prompt and answer tokens of all answers; those from the cache count as what they took once."""
    stopped: str
    """What ended the asking before the pool did, in a sentence; empty when every row was asked for."""
    score: Interval
    """Of its answers against the labels, by the domain's rubric."""
    agreement: Interval
    """Share of its answers that pass the rubric against the label."""
    in_form: float | None
    """Share of its answers that satisfy the output schema; null for text outputs."""
    floor: FloorBar | None
    usable: bool
    reason: str
    rows: int
    """Answers that are taught: lines of the dataset; 0 when the teacher is not usable."""
    left_out: LeftOut
    dataset: str | None
    """SHA-256 of the rows."""
    compared: int
    """Evaluation items that the leakage guard compared every prompt with."""
    domain: str
    """Digest of the compiled domain."""
    domain_name: str
    suite: str
    grading: str
