"""What is done about a step that found weights changed on the disk, as far as they follow from something that is still whole.

    base      prepared anew from its source
    merged    merged anew from base and adapter, each compared with its hash first
    adapter   trained anew, as its version was: the same rows, plan and seed make the same bytes where the machine and its libraries are the same

Where what was made is not to the letter what it was, or cannot be made, the run ends with the error, and the version is marked in the event log.

What was changed is never used: whoever reads weights compares them with their hash (`engine/generate/integrity.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.base.paths import Workspace
from engine.config import Profile
from engine.errors import ArtifactCorrupt
from engine.generate.jobs import PrepareJob
from engine.generate.prepared import find_prepared
from engine.iterate.types import IterateJob
from engine.jobs import records as runs
from engine.jobs.types import Run, RunKind
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.train import records as versions
from engine.train.jobs import RepairJob


class Mend(NamedTuple):
    """A run that makes the changed weights again."""

    kind: RunKind
    job: dict[str, Any]
    arguments: dict[str, Any] = {}
    """What is kept with it besides the step's name."""


def mend_of(child: Run, job: IterateJob, profile: Profile, workspace: Workspace, store: Store, artifacts: Artifacts) -> Mend | None:
    """How the weights that a failed step found changed are made again; None where they cannot be, or where the step failed of something else."""
    if child.error is None or child.error.code != ArtifactCorrupt.code:
        return None
    part, digest = child.error.details.get("part"), str(child.error.details.get("weights"))
    if part == "base":
        return Mend("prepare", PrepareJob(model=job.model, profile=profile, device=job.device).model_dump(mode="json"))
    version, base = versions.version_with(store, digest), find_prepared(workspace, job.model, profile)
    if part == "adapter" and version is not None:
        trained = runs.get(store, version.run_id)
        kept = {name: value for name, value in trained.arguments.items() if name != "step"}
        return Mend("train", runs.launch_of(store, trained.id).job, kept)
    if part != "merged" or version is None or version.merged is None or base is None or base.digest != version.base:
        return None
    repair = RepairJob(base=base, adapter=str(artifacts.path(version.adapter)), adapter_digest=version.adapter, merged_digest=version.merged)
    return Mend("repair", repair.model_dump(mode="json"))


def mark(store: Store, child: Run) -> None:
    """Notes in the event log that a version's weights have changed and nothing mends them; once for each step that found it."""
    if child.error is None or child.error.code != ArtifactCorrupt.code:
        return
    version = versions.version_with(store, str(child.error.details.get("weights")))
    if version is not None:
        versions.mark_altered(store, version.id, by=child.id, reason=child.error.message)
