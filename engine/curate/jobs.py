"""What a curation worker is told and what it returns."""

from __future__ import annotations

from pydantic import Field

from engine.base.record import Record
from engine.config import Share
from engine.curate.types import TargetPattern, TaughtRows


class CurateJob(Record):
    """One training set to make."""

    domain_digest: str
    """Of the compiled domain: its pool, suite, contract and near-duplicate threshold."""
    patterns: tuple[TargetPattern, ...]
    """What the set is aimed at; none for an even draw."""
    max_rows: int = Field(ge=8)
    replay_share: Share
    seed: int
    taught: TaughtRows | None = None
    """A teacher's answers, taught in the place of labels; null teaches the labels."""
    notes: tuple[str, ...] = ()
    """What is to be said of the choice between them, in sentences; joins the reasons."""


class CurateOutput(Record):
    """What a curation run leaves behind."""

    rows: int
    """Lines of the dataset; a repeated row counts each time."""
    distinct_rows: int
    aimed: int
    replay: int
    per_pattern: dict[str, int]
    reasons: tuple[str, ...]
    compared: int
    """Evaluation items that the leakage guard compared every row with."""
    dataset: str
    """SHA-256 of the rows."""
    domain: str
    """Digest of the compiled domain."""
    suite: str
    """Digest of the suite that the rows are kept apart from."""
    taught: int = 0
    """Distinct rows that carry a teacher's answer."""
    answers: str | None = None
    """Digest of the teacher's answers."""
