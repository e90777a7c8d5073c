"""When two failures are the same: a digest of what failed, where and how, without what differs from one time to the next. Pure.

Numbers, ids, digests, addresses and paths are taken out of the words; the names of labels, fields, checks and errors stay, because by them
failures differ. The id of a failure pattern stays as it is (its numbers may be labels), but for the scenario that a group is called after. The
step of an iterate run loses its round. The run in which it happened, the time and the machine have no part in it.
"""

from __future__ import annotations

import re

from engine.base.digests import digest_of
from engine.escalate.types import Failure

LONGEST = 300
"""Characters of the words that tell failures apart; what follows is tails of logs and lists."""
ID_CHARACTERS = 12

_LIKE = re.compile(r"(?<=:like )\S+")
"""The scenario that a group of similar inputs is called after (`engine/diagnose/taxonomy.py`)."""
_BLANKED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\w+://[^\s'\"]+"), "<url>"),
    (re.compile(r"(?<![\w.])(?:~|\.{1,2})?(?:/[\w.@+-]+)+/?"), "<path>"),
    (re.compile(r"\b[\w.-]+(?:/[\w.@+-]+)+\b"), "<path>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b[a-z_]+-\d{4}-[0-9a-f]{4,}\b"), "<id>"),
    (re.compile(r"\bv-[0-9a-f]{6,}\b"), "<id>"),
    (re.compile(r"\b0x[0-9a-f]+\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b"), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "#"),
    (re.compile(r"\s+"), " "),
)
"""In this order; the blank of an earlier one is left alone by the later ones."""


def signature_of(failure: Failure) -> str:
    """The digest by which a failure is known again."""
    return digest_of([failure.cluster or "", *identity_of(failure)])


def identity_of(failure: Failure) -> list[str]:
    """What a failure is, wherever it happened: what a rule of the taxonomy recognises."""
    step = failure.step.partition(".")[2] or failure.step
    words = _LIKE.sub("<id>", failure.words) if failure.kind == "pattern" else normalised(failure.words)
    return [failure.kind, failure.what, step, failure.code, failure.failure_class, words]


def normalised(words: str) -> str:
    """The words without what differs from one time to the next. Said again of what it gave, it gives the same."""
    text = words[: 8 * LONGEST].lower().strip()
    for pattern, blank in _BLANKED:
        text = pattern.sub(blank, text)
    return text[:LONGEST].rstrip()


def escalation_id(signature: str) -> str:
    """The name of the one escalation that a signature has."""
    return f"esc-{signature[:ID_CHARACTERS]}"
