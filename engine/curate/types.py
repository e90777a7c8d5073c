"""What curation is aimed at, and what it chose."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.base.record import Record
from engine.config import Profile, Teacher


class TargetPattern(Record):
    """A failure pattern as curation needs it: what a training row must have to be about it. With nothing named it is about every row."""

    pattern: str
    """Its id, as in the diagnosis."""
    kind: str
    """The observation's kind, such as `wrong_label`."""
    labels: tuple[str, ...] = ()
    """The row's expected answer holds one of these texts as a value: both sides of a confusion pair."""
    fields: tuple[str, ...] = ()
    """The row's expected answer has one of these fields (or, for an invented field, has not)."""
    weight: float = Field(gt=0.0)
    """Share of the failures; decides the pattern's share of the aimed rows."""


class KnownTeacher(Record):
    """A teacher of the domain with its model profile as it was when a run was accepted."""

    teacher: Teacher
    profile: Profile | None
    """Null for the oracle."""


class TaughtRows(Record):
    """The answers of a usable teacher, as curation takes them."""

    teacher: str
    trust: Literal["labels", "teacher", "both"]
    """Who is right where teacher and label disagree, as in the domain's `teachers`."""
    dataset: str
    """Absolute path of the teaching run's rows; the store's artifact."""
    dataset_digest: str
    """SHA-256 of that file."""


class GoldenSource(Record):
    """A teaching run's graded answers; some of them are golden."""

    results: str
    """Absolute path of the results; the store's artifact."""
    digest: str
    """SHA-256 of that file."""


class GoldenSources(Record):
    """The golden answers of a domain under a rubric to training prompts, as a worker is told of them."""

    version: str
    """Names the set as it was when the run was submitted."""
    sources: tuple[GoldenSource, ...]
    """Oldest first."""


class Selection(Record):
    """Which rows train, in order, and why."""

    rows: tuple[str, ...]
    """Row ids; an id that stands here twice is trained on twice in each epoch."""
    aimed: int
    """Places in `rows` that were given to failure patterns."""
    replay: int
    """The other places, drawn evenly from the pool."""
    per_pattern: dict[str, int]
    """Rows given to each pattern."""
    reasons: tuple[str, ...]
    """How it came to this, in sentences."""


class PairCounts(Record):
    """What became of the answers to training prompts."""

    prompts: int
    """Rows that were asked."""
    passed: int
    """Answers that pass."""
    failed: int
    lost: int
    """Answers lost to infrastructure."""
    left_out: int
    """Failed answers that make no pair: empty, cut at the limit, or the same as another."""
    pairs: int
    golden_chosen: int
    """Pairs whose preferred side is a teacher's golden answer,"""
    own_chosen: int
    """and the incumbent's own full-score answer; the reference stands in the others."""
