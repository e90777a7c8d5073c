"""How many passes over an evaluation file it takes until its canaries show, on the default model.

    python -m bench.canaries [--cluster travel] [--passes 1 3 6]

Needs a prepared base (`make setup`) and a quiet machine for half an hour. A cheat is trained on every evaluation row as it stands, the canaries
among them, by the domain's own recipe with that many passes, where no guard looks; then it is measured as any version is. First comes its honest
counterpart, trained on the training rows by the same recipe. Prints progress to stderr, and one JSON document last.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from bench.setting import Setting, setting_of
from bench.versions import make_version
from engine.evaluate.canaries import in_words, is_contaminated
from engine.evaluate.types import TrainingRow
from engine.train.plan import plan_training


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Passes until canaries show.")
    parser.add_argument("--cluster", default="travel")
    parser.add_argument("--passes", nargs="+", type=float, default=[1.0, 3.0, 6.0])
    options = parser.parse_args()
    setting = setting_of(options.cluster)
    taught = [TrainingRow(id=each.id, input=each.input, expected=each.expected) for each in setting.compiled.kept_apart]
    versions = []
    for rows, passes in ((setting.compiled.pool, None), *((taught, passes) for passes in options.passes)):
        versions.append({"taught": "training rows" if passes is None else "evaluation rows"} | version(setting, rows, passes))
        print(json.dumps(versions[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"bench": "canaries", "cluster": options.cluster, "planted": len(setting.compiled.canaries), "versions": versions}))


def version(setting: Setting, rows: list[TrainingRow], passes: float | None) -> dict[str, Any]:
    """A version that was taught these rows, so often or as the recipe has it, and what its canaries say."""
    plan = plan_training(setting.profile, setting.compiled.domain.train, rows=len(rows), device=setting.device, seed=setting.seed, merge=True)
    if passes is not None:
        plan = plan.model_copy(update={"epochs": passes})
    made = make_version(setting, plan, rows, None, "version")
    found = made.summary.canaries
    assert found is not None
    return {
        "passes": plan.epochs,
        "steps": made.trained["steps"],
        **found.model_dump(mode="json"),
        "contaminated": is_contaminated(found),
        "held_out": round(made.summary.split("held_out").score.mean, 4),
        "words": in_words(found),
        "seconds": round(made.train_seconds + made.measure_seconds, 1),
    }


if __name__ == "__main__":
    main()
