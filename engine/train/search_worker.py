"""Proposes settings to try next, given every recorded round: Bayesian optimisation in a process of its own.

The sampler is that of `bayesian-optimization` (MIT, maintained since 2014; a Gaussian process with expected improvement). It needs numpy,
scipy and scikit-learn, which training and the floors bring anyway, and takes points that it did not choose itself, so a ledger of three
rounds already counts. Optuna was the other candidate: it brings SQLAlchemy and Alembic, and its usual sampler (TPE) draws its first ten
trials at random, which is more rounds than most clusters will ever have. A process, because the import takes seconds and 110 MB that a
daemon should not carry.

Equal trials and seed give an equal suggestion. Nothing is written but the result.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean, pvariance
from typing import Any

from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker
from engine.train.types import Search, Suggestion, Trial

SMALLEST_NOISE = 1e-3
WORTH = 0.01
"""An improvement below this (in standard deviations of the trials) is not sought."""


def search(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `search`."""
    asked = Search.model_validate(context.config.job)
    context.report(Progress(phase="searching", message=f"a setting to try after {len(asked.trials)} rounds"))
    return suggest(asked).model_dump(mode="json")


def suggest(asked: Search) -> Suggestion:
    """The point of the greatest expected improvement."""
    from bayes_opt import BayesianOptimization  # type: ignore[import-not-found,unused-ignore]
    from bayes_opt.acquisition import ExpectedImprovement  # type: ignore[import-not-found,unused-ignore]

    points = mean_by_point(asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a round outside the bounds still informs; few points do not settle a length scale
        optimizer = BayesianOptimization(
            f=None,
            pbounds=dict.fromkeys(asked.vary, (asked.low, asked.high)),
            acquisition_function=ExpectedImprovement(xi=WORTH, random_state=asked.seed),
            random_state=asked.seed,
            verbose=0,
        )
        optimizer.set_gp_params(alpha=noise(points.values()), normalize_y=True)
        for point, (value, _) in sorted(points.items()):
            optimizer.register(params=dict(zip(asked.vary, point, strict=True)), target=value)
        found = optimizer.suggest()
    chosen = {dimension: round(float(found[dimension]), 3) for dimension in asked.vary}
    return Suggestion(rate=chosen.get("rate", 0.0), passes=chosen.get("passes", 0.0), trials=len(points))


def mean_by_point(asked: Search) -> dict[tuple[float, ...], tuple[float, float]]:
    """Trials of equal settings as one: mean value and its standard error."""
    groups: dict[tuple[float, ...], list[Trial]] = defaultdict(list)
    for trial in asked.trials:
        groups[tuple(round(getattr(trial, dimension), 3) for dimension in asked.vary)].append(trial)
    return {point: (mean(one.value for one in same), math.sqrt(sum(one.error**2 for one in same)) / len(same)) for point, same in groups.items()}


def noise(points: Any) -> float:
    """The share of the spread between points that measuring alone explains; 1 where there is no spread to speak of."""
    values: Sequence[tuple[float, float]] = list(points)
    spread = pvariance(value for value, _ in values)
    measured = mean(error**2 for _, error in values)
    return 1.0 if spread <= measured else max(SMALLEST_NOISE, measured / spread)


if __name__ == "__main__":
    run_worker(search)
