"""Exports as an operation: a run that makes an accepted version's package and replays it.

The job is made of the version's newest measurement, of the profile as it is now, and of evidence that is made or found here. Its digest names what
the export would be made of and with, so that nobody repeats one that can only find the same.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.base.digests import digest_of
from engine.base.paths import Workspace
from engine.base.sources import engine_digest
from engine.config import Profile
from engine.errors import ArgumentInvalid, NotFound, StateConflict
from engine.evaluate import records as measurements
from engine.evaluate.jobs import StoredResults
from engine.evaluate.records import Measurement
from engine.fleet.machine import Machine
from engine.generate.prepared import find_prepared
from engine.generate.types import PreparedBase
from engine.iterate import records as loop
from engine.iterate.measure import BASE, weights_of
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run
from engine.loading import load_clusters
from engine.operations.named import named_cluster, why_the_base
from engine.promote.package.jobs import ExportJob
from engine.promote.types import Evidence, Grounds
from engine.store.artifacts import Artifacts
from engine.store.store import Store


class Exporting:
    """The operations, over one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        artifacts: Artifacts,
        supervisor: Supervisor,
        machine: Machine,
        evidence: Callable[[str, str], Evidence],
    ) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self.supervisor = supervisor
        self.machine = machine
        self.evidence = evidence

    def export(self, cluster: str, version: str | None, key: str | None = None) -> Run:
        """Submits an export of a version, of the accepted one when none is named; or answers the one that is under way."""
        job = self._job(cluster, version)
        arguments = {"cluster": cluster, "version": job.version}
        active = self.supervisor.list(cluster=cluster, kinds=("export",), states=("queued", "running", "interrupted"))
        for run in active:
            if run.arguments == arguments:
                return run
        seed = load_clusters(self.workspace).defaults.seed
        return self.supervisor.submit("export", cluster=cluster, job=job.model_dump(mode="json"), arguments=arguments, key=key, seed=seed)

    def anew(self, grounds: Grounds) -> Run | None:
        """An export where it could find something else than the newest one did; None where it is made of the same and with the same."""
        known = grounds.exported
        if known is not None and known.sources == self._job(grounds.cluster, grounds.version).sources:
            return None
        return self.export(grounds.cluster, grounds.version)

    def _job(self, cluster: str, version: str | None) -> ExportJob:
        file = load_clusters(self.workspace)
        entry = named_cluster(file, cluster)
        profile = file.models[entry.model]
        name = self._named(cluster, version)
        base = self._base(cluster, entry.model, profile)
        newest = self._measured(cluster, name)
        results = measurements.results_digest(self.store, newest.evaluation_id)
        job = ExportJob(
            cluster=cluster,
            version=name,
            model=entry.model,
            profile=profile,
            base=base,
            weights=weights_of(self.store, self.artifacts, name, base),
            device=self.machine.device(),
            domain_digest=measurements.domain_digest_of(self.store, newest.evaluation_id),
            evaluated=StoredResults(evaluation=newest.evaluation_id, path=str(self.artifacts.path(results)), digest=results),
            prompt=newest.summary.identity.prompt,
            structured=newest.summary.structured,
            evidence=str(self.artifacts.path(self.evidence(cluster, name).artifact)),
            sources="",
        )
        return job.model_copy(update={"sources": sources_of(job)})

    def _named(self, cluster: str, version: str | None) -> str:
        """The version that was named, or the accepted one. Whether it was accepted at all, its evidence says."""
        name = version or loop.cluster_state(self.store, cluster).incumbent
        if name == BASE:
            raise StateConflict(why_the_base(self.store, cluster), next_step=f"iterate(cluster={cluster!r}) makes versions.")
        return name

    def _base(self, cluster: str, model: str, profile: Profile) -> PreparedBase:
        base = find_prepared(self.workspace, model, profile)
        if base is None:
            raise ArgumentInvalid(
                f"the model {model} of cluster {cluster} has no prepared base here, so none of its versions can be loaded",
                next_step=f"evaluate(cluster={cluster!r}, subject='base') prepares it; an endpoint has no versions.",
            )
        return base

    def _measured(self, cluster: str, version: str) -> Measurement:
        measured = measurements.measurements_of(self.store, cluster, version)
        if not measured:
            raise NotFound(
                f"{version[:80]} has no measurement in {cluster}", next_step=f"evaluate(cluster={cluster!r}, subject={version[:80]!r})"
            )
        return measured[0]


def sources_of(job: ExportJob) -> str:
    """What an export is made from and with; paths say nothing of it."""
    made_of = [job.weights.digest, job.base.digest, job.evaluated.digest, job.prompt, job.profile.model_dump(mode="json"), job.device]
    return digest_of([*made_of, engine_digest()])
