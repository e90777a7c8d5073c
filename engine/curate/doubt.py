"""Training rows whose labels are doubtful: the ones that a trained model still finds unlikely when it has learnt the rest. Pure.

A model learns what many rows agree on before it learns by heart what single rows claim (Arpit et al., "A Closer Look at Memorization in Deep
Networks", 2017), so after a few passes the losses of rightly and wrongly labelled rows are two heaps. A mixture of two normal distributions
over the log of the loss tells them apart without a threshold that somebody has to know (Li et al., "DivideMix", 2020). With 20% of labels exchanged
at random, on SmolLM2-135M and measured by `bench/learning.py`, it finds most of them; the figures stand in `docs/learning.md`.

Rows that are merely hard look like wrong ones. So nothing is doubted by a model that has learnt too little, or where the unlikely heap is too
large to be mistakes; a doubted row is set aside and listed for a person, never changed and never lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

FEWEST_ROWS = 60
"""Below, two heaps cannot be told from one."""
SURE = 0.95
"""Posterior of the unlikely heap from which a row is doubted."""
LEARNT = 0.25
"""Nats a token: a model to which half of its rows are less likely than this has not learnt the rest, and is no judge. After half a pass over
1,000 rows with 77 labels it would doubt 16% of right ones."""
LIKELY_ENOUGH, TYPICAL = 0.3, 2.5
"""A row below so many nats a token, or so many times the median, is not doubted wherever the heaps lie: it is hard, not wrong."""
UNLIKELY, A_HEAP = 0.5, 0.05
"""Where less than this share of the rows is above UNLIKELY nats a token, they are no heap of mistakes, and only they are doubted: a share of 2 to 3%
is what right labels leave (`support` and `travel`), one of 7 to 16% what 20% of exchanged ones do. On `support` with right labels, 3% of the rows are
doubted with this after a pass, and 8% without."""
MOST_DOUBTED = 0.4
"""With more than this share doubted the unlikely heap is no heap of mistakes."""


class Doubt(NamedTuple):
    """A row that is set aside."""

    row: str
    loss: float
    """Nats a token, after training."""
    posterior: float
    """Of its belonging to the unlikely heap."""


def doubtful(losses: Mapping[str, float]) -> list[Doubt]:
    """The doubtful ones among the rows of one training, least likely first. `losses`: nats a token after training, by row."""
    rows = sorted(losses)
    if len(rows) < FEWEST_ROWS or (typical := median(losses.values())) > LEARNT:
        return []
    likely_enough = max(_likely_enough(losses), TYPICAL * typical)
    posteriors = unlikely_heap([losses[row] for row in rows])
    found = [
        Doubt(row, losses[row], posterior)
        for row, posterior in zip(rows, posteriors, strict=True)
        if posterior >= SURE and losses[row] > likely_enough
    ]
    return sorted(found, key=lambda doubt: (-doubt.loss, doubt.row)) if len(found) <= MOST_DOUBTED * len(rows) else []


def _likely_enough(losses: Mapping[str, float]) -> float:
    """Nats a token below which a row is not doubted, by how many are far above."""
    unlikely = sum(loss > UNLIKELY for loss in losses.values())
    return LIKELY_ENOUGH if unlikely >= A_HEAP * len(losses) else UNLIKELY


def unlikely_heap(losses: Sequence[float]) -> list[float]:
    """For each loss the posterior of belonging to the heap of larger ones. Both heaps are given one width: with widths of their own the heap of
    smaller losses can grow so wide that it claims the largest ones too (seen on `support`: none of 1,014 rows was doubted; with one width 204 are,
    of which 150 are exchanged ones)."""
    import numpy
    from sklearn.mixture import GaussianMixture  # type: ignore[import-untyped]

    logs = numpy.array([[math.log(loss + 1e-5)] for loss in losses])
    mixture = GaussianMixture(2, covariance_type="tied", n_init=3, random_state=0).fit(logs)
    larger = int(numpy.argmax(mixture.means_))
    posteriors: list[float] = mixture.predict_proba(logs)[:, larger].tolist()
    return posteriors


def doubts_of(trainings: Sequence[Mapping[str, float]]) -> list[Doubt]:
    """The doubtful rows after several trainings, oldest first: each row is judged by the last one that it took part in, because a row that was set
    aside took part in no later one."""
    judged: dict[str, Doubt | None] = {}
    for losses in trainings:
        doubted = {doubt.row: doubt for doubt in doubtful(losses)}
        judged |= {row: doubted.get(row) for row in losses}
    found = [doubt for doubt in judged.values() if doubt is not None]
    return sorted(found, key=lambda doubt: (-doubt.loss, doubt.row))
