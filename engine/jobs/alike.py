"""What stays the same when the same thing goes wrong again: words without numbers, ids, addresses and paths, a step without its round. Pure."""

from __future__ import annotations

import re

LONGEST = 300
"""Characters of the words that tell failures apart; what follows is tails of logs and lists."""

_ROUND = re.compile(r"^\d+\.")
_REPEAT = re.compile(r"(_again|_mend|_smaller_\d+|_\d+)+$")
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


def normalised(words: str) -> str:
    """The words without what differs from one time to the next. Said again of what it gave, it gives the same."""
    text = words[: 8 * LONGEST].lower().strip()
    for pattern, blank in _BLANKED:
        text = pattern.sub(blank, text)
    return text[:LONGEST].rstrip()


def step_kind(step: str) -> str:
    """A step's name without its round, and without how often it was tried."""
    return _REPEAT.sub("", _ROUND.sub("", step))
