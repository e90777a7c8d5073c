"""Names that go into paths, rows and URLs: what they may look like."""

from __future__ import annotations

import re

from engine.errors import PathRefused

IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}")
IDENTIFIER_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,95}$"


def check_identifier(value: str, what: str) -> str:
    """`value` if it is safe in a path, a row and a URL; otherwise PathRefused, naming `what`."""
    if not IDENTIFIER.fullmatch(value) or ".." in value:
        raise PathRefused(
            f"{what} {value[:120]!r} is not a valid name",
            next_step="Use lower-case letters, digits, '.', '_' and '-', starting with a letter or digit, at most 96 characters.",
            what=what,
        )
    return value
