"""Puts together what a measurement needs: which weights should answer, and how."""

from __future__ import annotations

from collections.abc import Mapping

from engine.config import Acceptance, Cluster, Device, EndpointProfile, Output, Profile
from engine.errors import ArgumentInvalid
from engine.evaluate import records as measurements
from engine.evaluate.jobs import EarlyStop, EvaluateJob, StoredResults
from engine.evaluate.losses import is_relied_on
from engine.evaluate.statistics import attempt_confidence, compare
from engine.evaluate.types import Split
from engine.generate.types import PreparedBase, Weights
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.train import records as versions

BASE = "base"
"""The name of the base model wherever a version id could stand."""


def targets_of(entry: Cluster) -> dict[str, float]:
    """A cluster's targets by the name of their metric."""
    return {str(metric): value for metric, value in entry.targets.items()}


def weights_of(store: Store, artifacts: Artifacts, version_id: str, base: PreparedBase | None) -> Weights:
    """Where the weights of a version lie. Raises NotFound for a version or an artefact that is not there, ArgumentInvalid for a version that
    was trained on another base: added to this one, its adapter would be neither."""
    version = versions.version(store, version_id)
    if base is not None and version.base != base.digest:
        raise ArgumentInvalid(
            f"{version_id} was trained on the base {version.base[:12]}, and this model's base is {base.digest[:12]}",
            next_step="Measure it in a cluster with the model that it was trained on; give another model a cluster of its own.",
            version=version_id,
        )
    return Weights(
        digest=version.adapter,
        adapter_dir=str(artifacts.path(version.adapter)),
        merged_dir=None if version.merged is None else str(artifacts.path(version.merged)),
        merged_digest=version.merged,
        fingerprint=str(artifacts.path(version.fingerprint)),
    )


def early_stop(
    store: Store, artifacts: Artifacts, acceptance: Acceptance, *, incumbent: str, floor: str | None, attempt: int, seed: int
) -> EarlyStop:
    """What a challenger will be judged against, by the evaluations of the incumbent and the floor."""
    confidence = attempt_confidence(acceptance.confidence, attempt)
    digests = {evaluation: measurements.results_digest(store, evaluation) for evaluation in (incumbent, floor) if evaluation is not None}
    stored = {name: StoredResults(evaluation=name, path=str(artifacts.path(digest)), digest=digest) for name, digest in digests.items()}
    compared = None
    if floor is not None:
        known = [measurements.item_results(store, artifacts, evaluation, "held_out") for evaluation in (floor, incumbent)]
        compared = compare(*known, split="held_out", metric=acceptance.metric, confidence=confidence, seed=seed)
    return EarlyStop(
        incumbent=stored[incumbent],
        floor=stored[floor] if floor is not None and acceptance.floor == "above" else None,
        confidence=confidence,
        stability=measurements.summary(store, incumbent).stability,
        relied_on=is_relied_on(compared),
    )


def evaluate_job(
    store: Store,
    artifacts: Artifacts,
    *,
    subject: str,
    model: str,
    profile: Profile,
    base: PreparedBase | None,
    domain: str,
    domain_digest: str,
    generation: int = 0,
    output: Output,
    device: Device,
    splits: tuple[Split, ...] = ("core", "held_out"),
    structured: bool | None = None,
    targets: Mapping[str, float] | None = None,
    early_stop: EarlyStop | None = None,
) -> EvaluateJob:
    """The job that measures `subject` (`base` or a version id). `structured` None takes the domain's switch, and
    measures a version's core the other way too: what the switch buys is shown for what would be served."""
    if subject != BASE and isinstance(profile, EndpointProfile):
        raise ArgumentInvalid(f"{model} is an endpoint and has no versions; it cannot be measured as {subject!r}", next_step="Measure 'base'.")
    return EvaluateJob(
        domain=domain,
        domain_digest=domain_digest,
        generation=generation,
        model=model,
        profile=profile,
        base=base,
        weights=None if subject == BASE else weights_of(store, artifacts, subject, base),
        subject=subject,
        splits=splits,
        targets=dict(targets or {}),
        structured=output.structured if structured is None else structured,
        measure_structured=output.json_schema is not None and structured is None and subject != BASE,
        device=device,
        early_stop=early_stop,
    )
