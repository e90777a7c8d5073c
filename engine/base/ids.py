"""Names that go into paths, rows and URLs: what they may look like, and how new ones are made."""

from __future__ import annotations

import re
import secrets

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


def new_run_id(kind: str, now: str) -> str:
    """An id such as `iterate-1121-a1b2c3`: kind, month and day, six random hex digits. `now` is an ISO time."""
    return f"{kind}-{now[5:7]}{now[8:10]}-{secrets.token_hex(3)}"
