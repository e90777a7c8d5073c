"""Splits: nothing related is torn apart, and nothing depends on the order of the rows."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.config import Splits
from engine.evaluate.similarity import NearPair
from engine.evaluate.splits import Item, assign_splits

items = st.lists(st.tuples(st.sampled_from(["", "d1", "d2", "d3"]), st.sampled_from("ab")), max_size=40).map(
    lambda drawn: [Item(f"i{number:03d}", source, stratum) for number, (source, stratum) in enumerate(drawn)]
)


@given(items, st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=20), st.randoms(use_true_random=False))
def test_related_items_share_a_split_whatever_the_order(rows, links, shuffler):
    near = [NearPair(a, b, 0.9) for a, b in links if a < b < len(rows)]
    found = dict(zip([row.id for row in rows], assign_splits(rows, near, Splits()), strict=True))
    for pair in near:
        assert found[rows[pair.left].id] == found[rows[pair.right].id]
    for source in {row.source for row in rows} - {""}:
        assert len({found[row.id] for row in rows if row.source == source}) == 1
    order = list(range(len(rows)))
    shuffler.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    moved = [NearPair(place[pair.left], place[pair.right], 0.9) for pair in near]
    again = assign_splits([rows[number] for number in order], moved, Splits())
    assert {rows[number].id: split for number, split in zip(order, again, strict=True)} == found


def test_the_shares_are_kept_over_all_and_in_each_stratum():
    generator = random.Random(1)
    rows = [Item(f"i{number}", "", generator.choice("abcd")) for number in range(400)]
    found = assign_splits(rows, [], Splits(core=0.4, held_out=0.4, reserve=0.2))
    assert Counter(found) == {"core": 160, "held_out": 160, "reserve": 80}
    for stratum in "abcd":
        count = Counter(split for row, split in zip(rows, found, strict=True) if row.stratum == stratum)
        assert abs(count["core"] - count["held_out"]) <= 4


def test_strata_of_one_item_are_spread_by_the_shares_as_well():
    rows = [Item(f"i{number}", "", number) for number in range(100)]
    assert Counter(assign_splits(rows, [], Splits())) == {"core": 40, "held_out": 40, "reserve": 20}


def test_a_split_without_a_share_gets_nothing():
    rows = [Item(f"i{number}", "", 0) for number in range(30)]
    assert set(assign_splits(rows, [], Splits(core=0.5, held_out=0.5, reserve=0.0))) == {"core", "held_out"}


def test_another_seed_gives_other_splits():
    rows = [Item(f"i{number}", "", 0) for number in range(30)]
    assert assign_splits(rows, [], Splits(seed=1)) != assign_splits(rows, [], Splits(seed=2))
