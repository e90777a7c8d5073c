"""Failure patterns: what diagnosis returns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.base.record import Record

Remedy = Literal["constrain_decoding", "raise_limit", "targeted_training", "retry", "inspect"]


class FailurePattern(Record):
    """A group of failed scenarios with one cause and one remedy. Each failed scenario belongs to exactly one pattern."""

    pattern: str
    """Its id: the observation that the group shares, or `<kind>:other` for a kind's rare ones."""
    kind: str
    """The observation's kind, such as `wrong_label`."""
    detail: str = ""
    """The observation's detail, such as `card_arrival->card_linking`; empty for the group of rare ones."""
    name: str
    """In words."""
    items: int = Field(ge=1)
    share: float = Field(ge=0.0, le=1.0)
    """Of the graded items."""
    remedy: Remedy
    remedy_in_words: str
    scenario_ids: tuple[str, ...]
    """The failed scenarios, worst score first."""


class Diagnosis(Record):
    """What went wrong in one measurement of the core split."""

    graded: int
    failed: int
    lost: int
    """Items without an answer because of infrastructure; neither passed nor failed."""
    patterns: tuple[FailurePattern, ...]
    """Largest first."""
