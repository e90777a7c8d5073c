"""The order in which a training run reads its rows, decided before the first step.

All epochs are laid out as one list, so that a resumed run goes on in the middle of it without any state of a random generator, and a
fraction of an epoch needs no special case. Rows of similar length stand together, because a batch is padded to its longest row; which ones
meet still changes from epoch to epoch. Pure.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.train.plan import rounded_rows

_MOST_BATCHES_SORTED = 50
_FEWEST_GROUPS = 4


def training_order(lengths: Sequence[int], *, batch_size: int, epochs: float, seed: int) -> list[int]:
    """Indices into `lengths`; each run of `batch_size` of them is one optimiser step. Every row occurs once in each whole epoch."""
    wanted = rounded_rows(len(lengths), epochs)
    order: list[int] = []
    carried: list[int] = []
    epoch = 0
    while len(order) + len(carried) < wanted:
        batches, carried = _epoch(lengths, carried, batch_size, random.Random(f"{seed}/{epoch}"))  # noqa: S311 - an order, not a secret
        order.extend(index for batch in batches for index in batch)
        epoch += 1
    return (order + carried)[:wanted]


def _epoch(lengths: Sequence[int], carried: Sequence[int], batch_size: int, dice: random.Random) -> tuple[list[list[int]], list[int]]:
    """One epoch's batches, and the rows left over for the next. The first batch of all holds the longest rows: a lack of memory shows at once."""
    rows = list(range(len(lengths)))
    dice.shuffle(rows)
    rows = [*carried, *rows]
    whole = len(rows) - len(rows) % batch_size
    rows, left = rows[:whole], rows[whole:]
    sorted_span = batch_size * max(1, min(whole // (batch_size * _FEWEST_GROUPS), _MOST_BATCHES_SORTED))
    batches: list[list[int]] = []
    for start in range(0, whole, sorted_span):
        group = sorted(rows[start : start + sorted_span], key=lambda index: -lengths[index])
        batches.extend(group[at : at + batch_size] for at in range(0, len(group), batch_size))
    dice.shuffle(batches)
    if batches:
        longest = max(range(len(batches)), key=lambda at: max(lengths[index] for index in batches[at]))
        batches[0], batches[longest] = batches[longest], batches[0]
    return batches, left
