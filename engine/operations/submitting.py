"""Runs of a cluster, submitted: an iterate run, a measurement, the asking of a teacher.

Each job holds everything that its run will use, as it is configured at this moment: later edits of the files change no run that is under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.base.paths import Workspace
from engine.base.record import Record
from engine.config import Budget, Cluster, ClustersFile, DomainFile, EndpointProfile, ModelProfile, Profile
from engine.errors import ArgumentInvalid
from engine.evaluate import records as measurements
from engine.evaluate.compile import domain_digest
from engine.evaluate.types import Split
from engine.fleet.disk import needs_of_iterate, refuse_without_room
from engine.fleet.machine import Machine
from engine.generate.open import served_as
from engine.generate.prepared import find_prepared
from engine.iterate import records as loop
from engine.iterate.measure import BASE, evaluate_job, targets_of, weights_of
from engine.iterate.teaching import drafters, floor_bar, named_teacher, teach_job, teachers_to_ask
from engine.iterate.types import IterateJob
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run, RunKind
from engine.loading import load_clusters, load_domain
from engine.operations.named import named_cluster
from engine.store.artifacts import Artifacts
from engine.store.store import Store

TEACHER = "teacher:"
"""Begins the subject that names a teacher."""


class Submitting:
    """The operations, over one workspace."""

    def __init__(self, workspace: Workspace, store: Store, artifacts: Artifacts, supervisor: Supervisor, machine: Machine) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self.supervisor = supervisor
        self.machine = machine

    def iterate(self, cluster: str, max_iterations: int | None, key: str | None) -> Run:
        """Submits an iterate run."""
        file = load_clusters(self.workspace)
        entry = named_cluster(file, cluster)
        profile = file.models[entry.model]
        refuse_endpoint(cluster, entry, profile)
        incumbent = self._usable_incumbent(cluster, entry, profile)
        domain = load_domain(self.workspace, entry.domain)
        refuse_unteachable(cluster, entry.domain, domain)
        budget = budget_of(file, entry, max_iterations)
        self._refuse_without_room(entry.model, profile, budget)
        guard, rehearse = domain.eval.accept.no_harm, domain.train.rehearse
        job = IterateJob(
            domain=entry.domain,
            domain_digest=domain_digest(self.workspace, entry.domain),
            model=entry.model,
            profile=profile.model_dump(mode="json"),
            targets=targets_of(entry),
            budget=budget,
            seed=file.defaults.seed,
            device=self.machine.device(),
            incumbent=incumbent,
            incumbent_because=loop.cluster_state(self.store, cluster).because,
            rehearse_digest=None if rehearse is None else domain_digest(self.workspace, rehearse.suite),
            no_harm_digest=None if guard is None else domain_digest(self.workspace, guard.suite),
            teachers=teachers_to_ask(file.models, domain),
            drafters=drafters(file.models, domain),
        )
        return self._submit("iterate", cluster, job, {"cluster": cluster, "max_iterations": max_iterations}, file, key)

    def evaluate(self, cluster: str, subject: str, splits: Sequence[Split], structured: bool | None, key: str | None) -> Run:
        """Submits a measurement; or, of `teacher:<name>`, the asking of a teacher."""
        file = load_clusters(self.workspace)
        entry = named_cluster(file, cluster)
        profile = file.models[entry.model]
        domain = load_domain(self.workspace, entry.domain)
        if subject.startswith(TEACHER):
            return self._teach(file, cluster, subject, domain, key)
        generation = measurements.generation(self.store, entry.domain)
        job = evaluate_job(
            self.store,
            self.artifacts,
            subject=loop.cluster_state(self.store, cluster).incumbent if subject == "incumbent" else subject,
            model=entry.model,
            profile=profile,
            base=find_prepared(self.workspace, entry.model, profile) if isinstance(profile, ModelProfile) else None,
            domain=entry.domain,
            domain_digest=domain_digest(self.workspace, entry.domain, generation),
            generation=generation,
            output=domain.contract.output,
            device=self.machine.device(),
            splits=tuple(splits),
            structured=structured,
            targets=targets_of(entry),
        )
        arguments = {"cluster": cluster, "subject": subject, "splits": list(splits), "structured": structured}
        return self._submit("evaluate", cluster, job, arguments, file, key)

    def _teach(self, file: ClustersFile, cluster: str, subject: str, domain: DomainFile, key: str | None) -> Run:
        """Submits the asking of one of the domain's teachers for answers to training prompts, judged against the cluster's floor."""
        entry = file.clusters[cluster]
        if domain.data.train is None:
            raise ArgumentInvalid(
                f"the domain {entry.domain} has no training rows (data.train), which are all that a teacher is asked for",
                next_step="Add training rows to the domain, or measure the teacher as the model of a cluster of its own.",
            )
        fitted = self.supervisor.list(cluster=cluster, kinds=("floor",), states=("succeeded",), limit=1)
        floor = measurements.find_summary(self.store, fitted[0].id) if fitted else None
        job = teach_job(
            self.workspace,
            named_teacher(file.models, domain, subject.removeprefix(TEACHER)),
            domain=entry.domain,
            domain_digest=domain_digest(self.workspace, entry.domain),
            floor=None if floor is None else floor_bar(fitted[0].id, floor),
            no_floor="" if fitted else f"cluster {cluster} has no floor yet; an iterate run fits one.",
            seed=file.defaults.seed,
            device=self.machine.device(),
        )
        return self._submit("teach", cluster, job, {"cluster": cluster, "subject": subject}, file, key)

    def _refuse_without_room(self, model: str, profile: Profile, budget: Budget) -> None:
        """Raises ResourceExhausted where the disk is too small for the run, by estimate."""
        merges = isinstance(profile, ModelProfile) and served_as(profile, self.machine.device()) == "merged"
        prepared = find_prepared(self.workspace, model, profile) is not None
        needs = needs_of_iterate(profile, rounds=budget.max_iterations, prepared=prepared, merges=merges)
        refuse_without_room(needs, self.machine.probe().disk_free_bytes, "the workspace")

    def _usable_incumbent(self, cluster: str, entry: Cluster, profile: Profile) -> str:
        """What stands in the cluster. Raises where its weights are gone or belong to another base."""
        incumbent = loop.cluster_state(self.store, cluster).incumbent
        if incumbent != BASE:
            weights_of(self.store, self.artifacts, incumbent, find_prepared(self.workspace, entry.model, profile))
        return incumbent

    def _submit(self, kind: RunKind, cluster: str, job: Record, arguments: dict[str, Any], file: ClustersFile, key: str | None) -> Run:
        return self.supervisor.submit(
            kind, cluster=cluster, job=job.model_dump(mode="json"), arguments=arguments, key=key, seed=file.defaults.seed
        )


def budget_of(file: ClustersFile, entry: Cluster, max_iterations: int | None) -> Budget:
    """What an iterate run of this cluster may spend; the caller may name another number of rounds."""
    budget = file.budgets[entry.budget]
    return budget if max_iterations is None else budget.model_copy(update={"max_iterations": max_iterations})


def refuse_endpoint(cluster: str, entry: Cluster, profile: Profile) -> None:
    """Raises ArgumentInvalid for a model that cannot be trained."""
    if isinstance(profile, EndpointProfile):
        raise ArgumentInvalid(
            f"cluster {cluster} answers through the endpoint {entry.model}, which cannot be trained",
            next_step="Measure it with evaluate, or give the cluster a managed model profile.",
        )


def refuse_unteachable(cluster: str, name: str, domain: DomainFile) -> None:
    """Raises ArgumentInvalid for a domain that models can only be measured on."""
    if domain.data.train is None or domain.data.splits.core == 0:
        lacks = "training rows (data.train)" if domain.data.train is None else "core items to learn from (data.splits.core)"
        raise ArgumentInvalid(
            f"the domain {name} has no {lacks}; models can only be measured on it",
            next_step=f"Call evaluate(cluster={cluster!r}), or add what is missing to the domain.",
        )
