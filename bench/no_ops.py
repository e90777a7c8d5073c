"""A campaign of ten challengers that are no better than their incumbent, judged by the loop's own gate on real answers.

    python -m bench.no_ops --adapter DIR [--cluster travel] [--challengers 10] [--steps 6]

Needs a prepared base (`make setup`), an adapter that SFT made (a version's artefact) and a quiet machine. Incumbent and challengers go on from
that adapter for a few steps at a thousandth of the profile's rate, each with its own seed: their weights differ, what they have learnt does
not. Each is measured on core and held-out by the evaluation worker and judged as the loop judges the k-th attempt on the same items; for
comparison also as if each were the first. Prints progress to stderr, and one JSON document last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.setting import Setting, setting_of
from bench.versions import Version, make_version, no_op_plan
from engine.iterate.decide import decide

RATE = 1e-3
"""Share of the profile's learning rate."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Ten no-op challengers.")
    parser.add_argument("--cluster", default="travel")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--challengers", type=int, default=10)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    setting = setting_of(options.cluster)
    began = time.perf_counter()
    incumbent = version(setting, options, 0)
    rounds = []
    for number in range(1, options.challengers + 1):
        challenger = version(setting, options, number)
        rounds.append(judged(setting, incumbent, challenger, number))
        print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    document = {
        "bench": "no_ops",
        "cluster": options.cluster,
        "challengers": options.challengers,
        "promoted": sum(each["verdict"] == "accept" for each in rounds),
        "promoted_without_the_error_budget": sum(each["verdict_as_first"] == "accept" for each in rounds),
        "rounds": rounds,
        "seconds_each": round(sum(each["seconds"] for each in rounds) / len(rounds), 1),
        "peak_worker_gib": max(each["peak_gib"] for each in rounds),
        "total_seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(document))


def judged(setting: Setting, incumbent: Version, challenger: Version, attempt: int) -> dict[str, Any]:
    """The gate's verdict on the challenger as the `attempt`-th on these items, and as if it were the first."""
    wanted = setting.compiled.domain.eval
    accept = wanted.accept.model_copy(update={"floor": "ignore"})  # a floor would refuse all of them for another reason
    decisions = [
        decide(
            accept,
            slices=wanted.slices,
            incumbent=incumbent.of("held_out"),
            challenger=challenger.of("held_out"),
            floor=None,
            seed=setting.seed,
            attempt=each,
            stability=incumbent.summary.stability,
        )
        for each in (attempt, 1)
    ]
    paired = decisions[0].against_incumbent
    difference = paired.difference
    return {
        "attempt": attempt,
        "verdict": decisions[0].verdict,
        "verdict_as_first": decisions[1].verdict,
        "difference": [round(value, 4) for value in (difference.mean, difference.low, difference.high)],
        "better": paired.better,
        "worse": paired.worse,
        "items": difference.n,
        "seconds": round(challenger.train_seconds + challenger.measure_seconds, 1),
        "peak_gib": round(challenger.peak_gib, 2),
    }


def version(setting: Setting, options: argparse.Namespace, number: int) -> Version:
    """The `number`-th set of weights: its rows follow those of the one before."""
    plan, count = no_op_plan(setting, options.adapter, steps=options.steps, rate=RATE, seed=number)
    pool = setting.compiled.pool
    start = number * count % len(pool)
    return make_version(setting, plan, [*pool[start:], *pool[:start]][:count], options.adapter, f"no-op-{number}")


if __name__ == "__main__":
    main()
