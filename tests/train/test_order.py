"""The order of rows: every row in each epoch, similar lengths together, the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.train.order import training_order

lengths_of_rows = st.lists(st.integers(5, 300), min_size=1, max_size=120)


@given(lengths=lengths_of_rows, batch=st.integers(1, 16), epochs=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_row_is_read_once_in_each_epoch(lengths: list[int], batch: int, epochs: int, seed: int) -> None:
    order = training_order(lengths, batch_size=batch, epochs=epochs, seed=seed)
    assert Counter(order) == Counter(dict.fromkeys(range(len(lengths)), epochs))
    assert order == training_order(lengths, batch_size=batch, epochs=epochs, seed=seed)


@given(lengths=lengths_of_rows, epochs=st.floats(0.1, 3.5))
def test_a_fraction_of_an_epoch_is_a_fraction_of_its_rows(lengths: list[int], epochs: float) -> None:
    order = training_order(lengths, batch_size=8, epochs=epochs, seed=1)
    assert len(order) == max(1, round(len(lengths) * epochs))
    assert max(Counter(order).values()) - (min(Counter(order).values()) if len(set(order)) == len(lengths) else 0) <= 2


def test_grouping_by_length_saves_most_of_the_padding_and_mixes_batches_anew_each_epoch() -> None:
    dice = random.Random(1)
    lengths = [dice.randint(40, 300) for _ in range(800)]
    order = training_order(lengths, batch_size=8, epochs=2, seed=4)

    def padding(rows: list[int]) -> int:
        batches = [rows[at : at + 8] for at in range(0, len(rows), 8)]
        return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in batches)

    shuffled = list(range(800))
    dice.shuffle(shuffled)
    assert padding(order[:800]) < 0.15 * padding(shuffled)
    first, second = ({frozenset(order[at : at + 8]) for at in range(start, start + 800, 8)} for start in (0, 800))
    assert len(first & second) < 10


def test_the_first_step_holds_the_longest_row() -> None:
    lengths = [10] * 63 + [500]
    assert 63 in training_order(lengths, batch_size=8, epochs=3, seed=9)[:8]
