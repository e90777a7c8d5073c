"""What a gate is judged on, read together: the verdict and the measurements that the store has of a version, and its domain as it is now."""

from __future__ import annotations

from collections.abc import Sequence

from engine.config import DomainFile, HourlyPrice
from engine.errors import StateConflict
from engine.evaluate import records as measurements
from engine.evaluate.compile import prompt_digest
from engine.evaluate.grading import grading_digest
from engine.evaluate.records import Measurement
from engine.iterate import records as loop
from engine.promote.cost import seconds_per_decision
from engine.promote.package import records as packages
from engine.promote.types import Grounds
from engine.store.store import Store


def grounds_of(store: Store, cluster: str, version: str, domain: DomainFile, evidence_days: float, price: HourlyPrice | None = None) -> Grounds:
    """The grounds on which a version is judged now; `price` is its machine's.

    StateConflict when the loop has not accepted it here, or what it measured is gone.
    """
    judged = loop.accepting_round(store, cluster, version)
    measured = measurements.measurements_of(store, cluster, version)
    if judged is None or not measured:
        raise StateConflict(
            f"no round of {cluster} has accepted {version}, so there is nothing to judge it on",
            next_step=f"iterate(cluster={cluster!r}) makes and judges versions.",
            version=version,
        )
    newest = measured[0]
    output = domain.contract.output
    return Grounds(
        cluster=cluster,
        version=version,
        judged=judged.iteration,
        judged_in=judged.run_id,
        judged_as=measurements.summary(store, judged.iteration.challenger_evaluation).identity,
        evaluation_id=newest.evaluation_id,
        measured=newest.summary,
        measured_at=newest.recorded_at,
        latency_p95_seconds=_latency(measured),
        seconds_per_decision=_seconds(measured),
        hourly_price=price,
        grading=grading_digest(domain),
        prompt=prompt_digest(domain),
        schema_asked=output.kind == "json",
        acceptance=domain.eval.accept,
        serving=domain.serving,
        evidence_days=evidence_days,
        exported=packages.newest(store, cluster, version),
    )


def _latency(measured: Sequence[Measurement]) -> float | None:
    """Of the newest measurement that timed held-out answers."""
    timed = (split.latency_p95_seconds for each in measured for split in each.summary.splits if split.split == "held_out")
    return next((seconds for seconds in timed if seconds is not None), None)


def _seconds(measured: Sequence[Measurement]) -> float | None:
    """Of the newest measurement that says what a decision takes."""
    return next((seconds for each in measured if (seconds := seconds_per_decision(each.summary)) is not None), None)
