"""What is wrong in a file that somebody wrote: the problem as a record, and all of a file's problems as one refusal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from engine.errors import BadInput, ConfigInvalid, DomainInvalid

LISTED_PROBLEMS = 5

FileKind = Literal["clusters", "domain", "atlas"]


class Problem(NamedTuple):
    """One thing that is wrong in a file."""

    path: str
    found: str
    expected: str

    def sentence(self) -> str:
        return f"{self.path or 'the file'}: found {self.found}; expected {self.expected}"


def refuse(kind: FileKind, label: str, problems: list[Problem]) -> None:
    """Raises the refusal of a file in which something is wrong."""
    if problems:
        raise refusal(kind, label, problems)


def refusal(kind: FileKind, label: str, problems: list[Problem]) -> BadInput:
    """ConfigInvalid or DomainInvalid with the first few problems in sentences; `label` names the file."""
    listed = problems[:LISTED_PROBLEMS]
    more = f"; and {len(problems) - len(listed)} more" if len(problems) > len(listed) else ""
    error = DomainInvalid if kind == "domain" else ConfigInvalid
    schema = f"docs/schema/{kind}.schema.json"
    return error(
        f"{label}: " + "; ".join(problem.sentence() for problem in listed) + more,
        next_step=f"Correct {label} at {listed[0].path or 'the place named'}; every field is described in {schema}.",
        file=label,
        problems=[problem._asdict() for problem in listed],
        problems_total=len(problems),
    )


def show(value: Any) -> str:
    """A value as JSON, short."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def names_in_words(names: Iterable[Any]) -> str:
    """What there is to choose from, in order, cut where it grows long."""
    listed = sorted(str(name) for name in names)
    return ", ".join(listed[:12]) + (f", ... {len(listed)} in all" if len(listed) > 12 else "") if listed else "there are none"
