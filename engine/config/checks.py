"""`eval.checks` in domain.yaml: what of an answer is compared with what, each check with a value from 0 to 1 (`engine/evaluate/checks.py`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.base.record import Record


class CheckBase(Record):
    name: str = ""
    """Shown in results; the kind when empty."""
    weight: float = Field(default=1.0, ge=0)
    """Share in the score, before normalising."""
    path: str = ""
    """Dotted path into the answer and into the expected answer; empty for the whole."""


class ExactCheck(CheckBase):
    """1 when the answer equals the expected value (JSON equality; text is trimmed)."""

    kind: Literal["exact"] = "exact"
    ignore_case: bool = False
    """Compare without regard to case."""


class ChoiceCheck(CheckBase):
    """1 when the answer is the expected one of a closed list; an answer outside the list is an invented label."""

    kind: Literal["choice"] = "choice"
    choices: tuple[str, ...] | None = None
    """The list; null takes the enum at this path of the output schema."""


class JsonSchemaCheck(CheckBase):
    """1 when the answer parses and satisfies the output schema."""

    kind: Literal["json_schema"] = "json_schema"


class JsonFieldsCheck(CheckBase):
    """Weighted share of the listed fields that equal the expected ones."""

    kind: Literal["json_fields"] = "json_fields"
    fields: dict[str, float]
    """Dotted paths and their weights."""
    ignore_case: bool = True
    """Compare without regard to case."""


class SetF1Check(CheckBase):
    """F1 between two lists taken as sets, or two objects taken as sets of (key, value) pairs. Both empty is 1."""

    kind: Literal["set_f1"] = "set_f1"
    ignore_case: bool = True
    """Compare without regard to case."""


class SpanF1Check(CheckBase):
    """Token-overlap F1 between two texts (the SQuAD measure), or its mean over the keys of two objects of texts."""

    kind: Literal["span_f1"] = "span_f1"


class RegexCheck(CheckBase):
    """1 when the pattern is found in the answer's text at `path`."""

    kind: Literal["regex"] = "regex"
    pattern: str
    """A regular expression in Python's syntax; it may be found anywhere in the text."""


class ContainsCheck(CheckBase):
    """Share of the texts that occur in the answer; with none listed, the expected text must occur."""

    kind: Literal["contains"] = "contains"
    texts: tuple[str, ...] = ()
    """What must occur."""
    ignore_case: bool = True
    """Compare without regard to case."""


class NotContainsCheck(CheckBase):
    """1 when none of the texts occurs in the answer."""

    kind: Literal["not_contains"] = "not_contains"
    texts: tuple[str, ...]
    """What must not occur."""
    ignore_case: bool = True
    """Compare without regard to case."""


class NumericCheck(CheckBase):
    """1 when the number at `path` is within tolerance of the expected one."""

    kind: Literal["numeric"] = "numeric"
    absolute: float = Field(default=0.0, ge=0)
    """Largest absolute difference."""
    relative: float = Field(default=0.0, ge=0)
    """Largest difference as a share of the expected number; the larger of the two tolerances holds."""


class ConductCheck(CheckBase):
    """The expected text says how to behave: 1 for `decline` when the answer declines, for `answer` when it does not, and for anything else
    (texts separated by `|`) when one of the texts occurs in the answer."""

    kind: Literal["conduct"] = "conduct"


class GroundedCheck(CheckBase):
    """Share of the answer's text values at `path` that occur in the input, so that nothing is invented."""

    kind: Literal["grounded"] = "grounded"


Check = Annotated[
    ExactCheck
    | ChoiceCheck
    | JsonSchemaCheck
    | JsonFieldsCheck
    | SetF1Check
    | SpanF1Check
    | RegexCheck
    | ContainsCheck
    | NotContainsCheck
    | NumericCheck
    | ConductCheck
    | GroundedCheck,
    Field(discriminator="kind"),
]
