"""Long lists a page at a time: where a cursor stands, what the page holds, and the cursor of the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from engine.errors import ArgumentInvalid

T = TypeVar("T")


class Page(NamedTuple):
    """Which stretch of a list is asked for."""

    start: int
    limit: int

    def of(self, lines: Sequence[T]) -> tuple[T, ...]:
        """The lines of this page."""
        return tuple(lines[self.start : self.start + self.limit])

    def next_cursor(self, total: int) -> str | None:
        """The cursor of the page after this one; None when a list of `total` lines ends here."""
        return str(self.start + self.limit) if total > self.start + self.limit else None


def page_at(cursor: str | None, limit: int) -> Page:
    """The page that a cursor stands for; the first without one. Raises ArgumentInvalid."""
    if cursor is None:
        return Page(0, limit)
    if not cursor.isdecimal() or len(cursor) > 9:
        raise ArgumentInvalid(f"{cursor[:40]!r} is not a cursor", next_step="Pass the next_cursor of an earlier page, or leave it out.")
    return Page(int(cursor), limit)
