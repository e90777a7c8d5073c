"""What was made of objects, kept while it is asked for of the very same ones: hashing a whole catalogue takes longer than most answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")
MOST_KEPT = 8


class KeptByIdentity(Generic[Made]):
    """The MOST_KEPT latest; their sources are held with them, so that no other object takes their place in memory."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], tuple[tuple[object, ...], Made]] = {}

    def made(self, sources: tuple[object, ...], make: Callable[[], Made]) -> Made:
        """What was made of these objects before, or is made now."""
        key = tuple(map(id, sources))
        kept = self._kept.get(key)
        if kept is None:
            while len(self._kept) >= MOST_KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            kept = self._kept[key] = (sources, make())
        return kept[1]
