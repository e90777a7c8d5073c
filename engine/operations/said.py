"""What may be said of held-out figures: the ladder's answers, read from the looks that the store recorded.

Every operation that shows a measurement asks here first. The rules are in `engine/evaluate/holdout.py`, what an output looks like without the
figures in `engine/showing/reported.py`.
"""

from __future__ import annotations

from engine.evaluate import records as measurements
from engine.evaluate.holdout import climb
from engine.evaluate.types import Reported
from engine.iterate.measure import BASE
from engine.jobs.types import Run
from engine.showing.reported import evaluate_output, iterate_output
from engine.store.store import Store
from engine.train import records as versions


def said_of(store: Store, evaluation_id: str) -> Reported | None:
    """What the ladder says of a measurement's held-out figures; None where it has none."""
    return said_of_suite(store, evaluation_id).get(evaluation_id)


def said_of_suite(store: Store, evaluation_id: str) -> dict[str, Reported]:
    """The same of every measurement of its suite."""
    summary = measurements.find_summary(store, evaluation_id)
    found = [] if summary is None else measurements.looks(store, summary.identity.suite)
    plain = versions.accepted(store) | {look.subject for look in found if look.subject == BASE or look.subject.startswith("floor:")}
    return climb(found, plain)


def kept_back(store: Store, *evaluation_ids: str) -> tuple[str, Reported] | None:
    """The last of these measurements whose held-out figures are kept back, with what is said instead."""
    said = ((each, said_of(store, each)) for each in reversed(evaluation_ids))
    return next(((each, verdict) for each, verdict in said if verdict is not None and not verdict.exact), None)


def as_shown(store: Store, run: Run) -> Run:
    """A run with its output as surfaces show it."""
    if run.output is None or run.kind not in ("evaluate", "iterate"):
        return run
    if run.kind == "evaluate":
        return run.model_copy(update={"output": evaluate_output(run.output, said_of(store, run.id))})
    rounds = run.output["iterations"]
    said = said_of_suite(store, rounds[-1]["challenger_evaluation"]) if rounds else {}
    return run.model_copy(update={"output": iterate_output(run.output, said)})
