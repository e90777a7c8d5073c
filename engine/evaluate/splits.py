"""Which evaluation item goes into which split: a pure function of the items and the domain's settings.

Items of one source, and near-duplicates, are one group (also through a chain), and a group is never divided. Groups are dealt out in the
order of a hash of their smallest id and the seed, each to the split that lacks most in the group's stratum and over all. So the outcome
does not depend on the order of the rows, and each stratum is spread by the shares as evenly as whole groups allow.

A rotation follows from the same settings and its number alone: reserve becomes held-out, held-out becomes core, and an anchor stays. Core
stays core for ever: its items have been looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from engine.base.digests import sha256_hex
from engine.config import Splits
from engine.errors import StateConflict
from engine.evaluate.holdout import ANCHOR_SHARE, LEAST_RESERVE
from engine.evaluate.similarity import NearPair
from engine.evaluate.types import Split

SPLIT_NAMES: tuple[Split, ...] = ("core", "held_out", "reserve")


class Item(NamedTuple):
    """What matters of an evaluation item here."""

    id: str
    source: str
    stratum: Hashable


def group_items(sources: Sequence[str], near: Iterable[NearPair]) -> list[list[int]]:
    """The positions of the items that belong together: of one source (an empty one is none), or linked by near-duplicates."""
    parent = list(range(len(sources)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    first_of_source: dict[str, int] = {}
    for position, source in enumerate(sources):
        if source:
            parent[root(position)] = root(first_of_source.setdefault(source, position))
    for pair in near:
        parent[root(pair.left)] = root(pair.right)
    groups: dict[int, list[int]] = {}
    for position in range(len(sources)):
        groups.setdefault(root(position), []).append(position)
    return list(groups.values())


def assign_splits(items: Sequence[Item], near: Iterable[NearPair], splits: Splits) -> list[Split]:
    """The split of each item."""
    shares: dict[Split, float] = {name: getattr(splits, name) for name in SPLIT_NAMES if getattr(splits, name) > 0}
    groups = sorted(group_items([item.source for item in items], near), key=lambda group: _rank(items, group, splits.seed))
    overall: Counter[Split] = Counter()
    by_stratum: dict[Hashable, Counter[Split]] = {}
    assigned: dict[int, Split] = {}
    for group in groups:
        first = min(group, key=lambda position: items[position].id)
        within = by_stratum.setdefault(items[first].stratum, Counter())

        def lacking(name: Split, within: Counter[Split] = within, size: int = len(group)) -> float:
            return sum(shares[name] * (counts.total() + size) - counts[name] for counts in (within, overall))

        chosen = max(shares, key=lacking)
        within[chosen] += len(group)
        overall[chosen] += len(group)
        assigned.update(dict.fromkeys(group, chosen))
    return [assigned[position] for position in range(len(items))]


def _rank(items: Sequence[Item], group: list[int], seed: int | str) -> str:
    return sha256_hex(f"{seed}:{min(items[position].id for position in group)}".encode())


class Dealt(NamedTuple):
    """The splits of a generation."""

    splits: list[Split]
    anchor: tuple[int, ...]
    """Positions of the held-out items that were held-out before the last rotation."""


def rotate(items: Sequence[Item], near: Iterable[NearPair], assigned: Sequence[Split], splits: Splits, generation: int) -> Dealt:
    """The splits after so many rotations. StateConflict when the reserve does not last that long.

    Each rotation keeps a quarter of the held-out items as anchor and fills the rest from the reserve; where that has less, the anchor shrinks
    to a third of what is new, so that what leaked of it weighs little. Whole groups move. What would be too little for another rotation comes
    along. The anchor is drawn by hash, from items that were no anchor yet where there are enough.
    """
    groups = group_items([item.source for item in items], near)
    now: list[Split] = list(assigned)
    anchor: list[int] = []
    for number in range(1, generation + 1):
        order = sorted(groups, key=lambda group, number=number: _rank(items, group, f"{splits.seed}:{number}"))  # type: ignore[misc]
        reserve, worn = ([group for group in order if now[group[0]] == name] for name in ("reserve", "held_out"))
        if not reserve:
            raise StateConflict(
                f"the reserve does not last for rotation {number} of the held-out set",
                next_step="Add evaluation rows that nobody has looked at; they are dealt to the splits by their shares.",
                generation=generation,
            )
        size = sum(map(len, worn))
        wanted = (1 - ANCHOR_SHARE) * size
        fresh = reserve if sum(map(len, reserve)) - wanted < LEAST_RESERVE else _first(reserve, wanted)
        old = set(anchor)
        keep = _first(sorted(worn, key=lambda group: group[0] in old), min(ANCHOR_SHARE * size, sum(map(len, fresh)) / 3), over=False)
        anchor = sorted(position for group in keep for position in group)
        for group in worn:
            for position in group:
                now[position] = "core"
        for position in (*anchor, *(position for group in fresh for position in group)):
            now[position] = "held_out"
    return Dealt(now, tuple(anchor))


def _first(groups: Sequence[list[int]], size: float, *, over: bool = True) -> list[list[int]]:
    """The first groups that hold `size` items together; `over` lets the last one go beyond it."""
    taken: list[list[int]] = []
    count = 0
    for group in groups:
        if count >= size:
            break
        if over or count + len(group) <= size:
            taken.append(group)
            count += len(group)
    return taken
