"""Which evaluation item goes into which split: a pure function of the items and the domain's settings.

Items of one source, and near-duplicates, are one group (also through a chain), and a group is never divided. Groups are dealt out in the
order of a hash of their smallest id and the seed, each to the split that lacks most in the group's stratum and over all. So the outcome
does not depend on the order of the rows, and each stratum is spread by the shares as evenly as whole groups allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from engine.base.digests import sha256_hex
from engine.config import Splits
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


def _rank(items: Sequence[Item], group: list[int], seed: int) -> str:
    return sha256_hex(f"{seed}:{min(items[position].id for position in group)}".encode())
