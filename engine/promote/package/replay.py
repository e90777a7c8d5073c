"""Loads a form of an export as it will be served, and asks it the suite's core items again.

It goes through the same seam as a measurement (`engine/generate/open.py`): for a real profile that is vLLM with the command line of the profile,
started on the package's own folder, so that its tokenizer and its chat template are the ones that answer. Nothing comes from the answer cache. Each
form has a server of its own, which is ended when its replay is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.base.digests import tree_sha256
from engine.base.paths import Workspace
from engine.config import ModelProfile, Profile
from engine.errors import FingerprintMismatch
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.measurement import Tally, references_for, requests_for, settings_for
from engine.generate.open import open_generator
from engine.generate.plans import server_key
from engine.generate.servers import ModelServers
from engine.generate.types import FingerprintReport, Generator, PreparedBase, Weights
from engine.promote.package.jobs import ExportJob
from engine.promote.package.parity import Replayed
from engine.promote.types import FormName

SPARE_MEMORY = 1.5
"""A server takes this many times the size of its weights, besides its KV cache."""


def replay(generator: Generator, compiled: CompiledDomain, *, structured: bool) -> Replayed:
    """What a form answers to every core item. What is lost to infrastructure is asked for once more."""
    started = time.monotonic()
    held = f"{generator.identity.engine} ({generator.identity.served_as}{f', {generator.identity.dtype}' if generator.identity.dtype else ''})"
    try:
        report = generator.prove()
    except FingerprintMismatch as mismatch:
        found = FingerprintReport(
            verdict="mismatch", mean_difference=mismatch.details.get("mean_difference"), limit=mismatch.details.get("limit")
        )
        return Replayed(held, found, (), time.monotonic() - started)
    core = compiled.of_split("core")
    tally = Tally(compiled, core)
    requests = requests_for(compiled, core, settings_for(compiled.domain.contract.output, structured=structured))
    generator.answer(requests, tally.add)
    lost = set(tally.lost())
    if lost:
        generator.answer([request for request in requests if request.key in lost], tally.add)
    return Replayed(held, report, tuple(tally.results()), time.monotonic() - started)


@contextmanager
def opened(
    form: FormName, job: ExportJob, folder: Path, workspace: Workspace, compiled: CompiledDomain, check_cancelled: Callable[[], None]
) -> Iterator[Generator]:
    """A generator that answers from the package's own files."""
    base, weights = _loaded(form, job, folder)
    name = f"export-{form}-{job.model}"
    servers = ModelServers(workspace)
    if isinstance(job.profile, ModelProfile):
        needed = int(base.weights_bytes * SPARE_MEMORY) + (job.profile.inference.cpu_kv_cache_gib << 30)
        servers.stop_for_training(needed, job.device)
    generator = open_generator(
        name,
        _served(form, job.profile),
        workspace=workspace,
        base=base,
        weights=weights,
        device=job.device,
        reference=references_for(compiled, compiled.of_split("core")),
        check_cancelled=check_cancelled,
    )
    try:
        yield generator
    finally:
        generator.close()
        servers.stop(server_key(name, base.digest))


def _loaded(form: FormName, job: ExportJob, folder: Path) -> tuple[PreparedBase, Weights | None]:
    """An adapter answers beside the base that it was trained on; any other form is a base of its own, with the version's fingerprint."""
    directory = folder / form
    if form == "adapter":
        merged = {"merged_dir": None, "merged_digest": None}
        return job.base, job.weights.model_copy(update={"adapter_dir": str(directory.resolve()), **merged})
    size = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    base = job.base.model_copy(
        update={
            "directory": str(directory.resolve()),
            "digest": tree_sha256(directory),
            "fingerprint": job.weights.fingerprint,
            "weights_bytes": size,
        }
    )
    return base, None


def _served(form: FormName, profile: Profile) -> Profile:
    """The profile, made to serve this form: left to itself it serves the form that is faster here."""
    if not isinstance(profile, ModelProfile):
        return profile
    return profile.model_copy(update={"serve_as": "adapter" if form == "adapter" else "merged"})
