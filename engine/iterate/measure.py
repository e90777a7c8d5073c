"""Puts together what a measurement needs: which weights should answer, and how."""

from __future__ import annotations

from engine.config import Device, EndpointProfile, Output, Profile
from engine.errors import ArgumentInvalid
from engine.evaluate.jobs import EvaluateJob
from engine.evaluate.types import Split
from engine.generate.types import PreparedBase, Weights
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.train import records as versions

BASE = "base"
"""The name of the base model wherever a version id could stand."""


def weights_of(store: Store, artifacts: Artifacts, version_id: str) -> Weights:
    """Where the weights of a version lie, read through once (a fraction of a second for 270 MB): a flipped bit loads without complaint.

    Raises NotFound for a version or an artefact that is not there, ArtifactCorrupt for one whose bytes have changed.
    """
    version = versions.version(store, version_id)
    for digest in (version.adapter, version.merged, version.fingerprint):
        if digest is not None:
            artifacts.verify(digest)
    return Weights(
        digest=version.adapter,
        adapter_dir=str(artifacts.path(version.adapter)),
        merged_dir=None if version.merged is None else str(artifacts.path(version.merged)),
        fingerprint=str(artifacts.path(version.fingerprint)),
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
    output: Output,
    device: Device,
    splits: tuple[Split, ...] = ("core", "held_out"),
    structured: bool | None = None,
) -> EvaluateJob:
    """The job that measures `subject` (`base` or a version id). `structured` None takes the domain's switch, and
    measures a version's core the other way too: what the switch buys is shown for what would be served."""
    if subject != BASE and isinstance(profile, EndpointProfile):
        raise ArgumentInvalid(f"{model} is an endpoint and has no versions; it cannot be measured as {subject!r}", next_step="Measure 'base'.")
    return EvaluateJob(
        domain=domain,
        domain_digest=domain_digest,
        model=model,
        profile=profile,
        base=base,
        weights=None if subject == BASE else weights_of(store, artifacts, subject),
        subject=subject,
        splits=splits,
        structured=output.structured if structured is None else structured,
        measure_structured=output.json_schema is not None and structured is None and subject != BASE,
        device=device,
    )
