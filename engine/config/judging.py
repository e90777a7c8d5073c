"""`eval` in domain.yaml: how answers are scored, when a challenger replaces the incumbent, and who may add scenarios."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.base.record import Record
from engine.config.checks import Check
from engine.config.values import Identifier, Share


class SafetyNet(Record):
    """A check that overrides the score: an answer that fails it scores 0, whatever else it got right."""

    name: Identifier
    """Shown in results."""
    check: Check
    """The condition."""
    at_least: Share = 1.0
    """The check's value below which the net is breached."""


class NoHarm(Record):
    """What a specialist may not unlearn: a suite of another domain that the base and every challenger about to be accepted are measured on."""

    suite: Identifier = "no_harm"
    """A folder in `domains/`. All its items are used."""
    tolerance: Share = 0.1
    """How much its mean score may fall below the base's."""


class Acceptance(Record):
    """When a challenger replaces the incumbent. Every clause must hold on held-out."""

    metric: Literal["score", "pass_rate"] = "score"
    """What is compared."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the paired interval, which must lie above zero. Later attempts on the same held-out items have to show more, so that all of them together
    accept a challenger that is no better with at most the chance that this leaves."""
    slice_tolerance: Share = 0.1
    """A slice with at least `slice_minimum` items may lose this much before it blocks."""
    slice_minimum: int = Field(default=20, ge=1)
    """Slices with fewer items inform but do not block."""
    safety_tolerance: Share = 0.0
    """How much more often a safety net may be breached."""
    regression_tolerance: Share = 0.15
    """How much the challenger may lose of what the items score that the incumbent passes, beyond what the incumbent's own unsteadiness explains.
    Counted in `metric`: with `pass_rate`, the share of these items that may fail."""
    no_harm: NoHarm | None = None
    """Guards what the domain's own suite does not look at; null guards nothing."""
    floor: Literal["above", "not_below", "ignore"] = "above"
    """`above`: the paired interval against the floor must lie above zero. `not_below`: it must not lie below zero."""


class Expansion(Record):
    """Scenarios that are proposed from failures, and who may accept them into core."""

    accept: Literal["person", "delegated"] = "person"
    """`person`: an agent may stage scenarios and not accept them. `delegated`: an agent may accept and decline too, never touching governed rows."""


class Evaluation(Record):
    """How answers are judged."""

    checks: tuple[Check, ...] = Field(min_length=1)
    """The rubric: the score is the weighted mean of the checks."""
    pass_score: Share = 1.0
    """A scenario passes at this score."""
    safety_nets: tuple[SafetyNet, ...] = ()
    """Checks that override the score."""
    slices: tuple[str, ...] = ()
    """Names in `tags` whose values are reported and guarded as slices."""
    floor: tuple[Literal["majority", "tfidf_logistic", "bm25_nearest", "tagger"], ...] = ("majority", "bm25_nearest", "tfidf_logistic", "tagger")
    """Baselines without a language model; the best of those that fit the output is the floor. All are fitted on the whole training pool."""
    accept: Acceptance = Acceptance()
    early_stop: bool = True
    """End a challenger's measurement as soon as its refusal is certain, and say how many held-out items that saves. Acceptance needs all of them."""
    expansion: Expansion = Expansion()
