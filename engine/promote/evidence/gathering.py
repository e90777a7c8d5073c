"""What the store holds about a version, read and put together for a bundle. Only here does evidence meet the store; nothing is redacted yet.

A bundle is about the round that accepted the version: its measurements, its rules as the domain was then, and its decision. Beside challenger and
incumbent it takes the base, the floor and the ceiling, each where it was measured on the same suite with the same rubric. The ceiling is the best
of the domain's teachers, of endpoints and of models with more parameters, where they have a cluster of their own.
"""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Collection
from typing import NamedTuple

from engine.base.digests import digest_of
from engine.base.paths import Workspace
from engine.config import ClustersFile, EndpointProfile, HourlyPrice, ModelProfile, Profile
from engine.errors import NotFound, StateConflict
from engine.evaluate import records as measurements
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.types import EvaluationSummary, ItemResult
from engine.generate.prepared import find_prepared
from engine.iterate import records as loop
from engine.iterate.measure import BASE
from engine.iterate.records import RecordedRound
from engine.iterate.steps import PROFILE
from engine.iterate.types import IterateJob
from engine.jobs import records as runs
from engine.loading import load_clusters
from engine.promote import records as promotions
from engine.promote.cost import hourly_price
from engine.promote.evidence.types import ApprovedRequest, BundleInputs, GuardResults, Lineage, MeasuredSubject, Operations, Role, Rollback
from engine.store import lineage
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.train import records as versions


class Sources(NamedTuple):
    """Where the evidence about a version lies. Two statements from the same sources say the same; approvals come later, and are not among them."""

    cluster: str
    version: str
    accepted_in: RecordedRound
    evaluations: dict[Role, str]
    """Measurements by role."""
    guard: tuple[str, str] | None
    """Measurements of base and challenger on the no-harm suite."""
    rollback: Rollback
    hourly_price: HourlyPrice | None
    """Of the machine, as clusters.json gives it now."""
    compiled: CompiledDomain
    """As the round was judged on."""

    def digest(self) -> str:
        """Names them."""
        accepted = (self.accepted_in.run_id, self.accepted_in.iteration.iteration)
        posture = self.rollback.model_dump(mode="json")
        price = None if self.hourly_price is None else self.hourly_price.model_dump(mode="json")
        return digest_of([self.cluster, self.version, accepted, self.evaluations, self.guard, posture, price])


def find_sources(store: Store, artifacts: Artifacts, workspace: Workspace, cluster: str, version: str) -> Sources:
    """The sources about an accepted version. StateConflict when no round accepted it, whose held-out figures then are nobody's to see."""
    accepted = _accepting_round(store, cluster, version)
    iteration = accepted.iteration
    evaluations: dict[Role, str] = {"challenger": iteration.challenger_evaluation, "incumbent": iteration.incumbent_evaluation}
    if iteration.floor_evaluation is not None:
        evaluations["floor"] = iteration.floor_evaluation
    identity = measurements.summary(store, iteration.challenger_evaluation).identity
    alike = measurements.newest_on(store, identity.suite, identity.grading)
    base = next((each.evaluation_id for each in alike if (each.cluster, each.subject) == (cluster, BASE)), None)
    if base is not None and iteration.incumbent != BASE:
        evaluations["base"] = base
    compiled = load_compiled(workspace, measurements.domain_digest_of(store, iteration.challenger_evaluation))
    job, file = _job(store, accepted), load_clusters(workspace)
    teachers = {teacher.name for teacher in compiled.domain.teachers}
    ceilings = ceilings_of(file, teachers, PROFILE.validate_python(job.profile)) - {cluster}
    ceiling = _best(store, [each.evaluation_id for each in alike if each.cluster in ceilings and each.subject == BASE])
    if ceiling is not None:
        evaluations["ceiling"] = ceiling
    posture = _rollback(store, artifacts, workspace, iteration.incumbent, job)
    rollback = posture.model_copy(update={"drill": promotions.last_drill(store, cluster)})
    return Sources(cluster, version, accepted, evaluations, _guard(store, accepted), rollback, hourly_price(file, cluster), compiled)


def gather(
    store: Store,
    artifacts: Artifacts,
    sources: Sources,
    *,
    made_at: str,
    salt: bytes,
    approvals: tuple[ApprovedRequest, ...] = (),
) -> BundleInputs:
    """Everything that a bundle is made from."""
    iteration, job = sources.accepted_in.iteration, _job(store, sources.accepted_in)
    summaries = {role: measurements.summary(store, evaluation_id) for role, evaluation_id in sources.evaluations.items()}
    domain = sources.compiled.domain
    return BundleInputs(
        cluster=sources.cluster,
        domain=sources.compiled.name,
        version=sources.version,
        made_at=made_at,
        acceptance=domain.eval.accept,
        slices=domain.eval.slices,
        json_output=domain.contract.output.kind == "json",
        seed=job.seed,
        attempt=iteration.decision.attempt,
        stability=summaries["incumbent"].stability,
        recorded=iteration.decision,
        subjects=tuple(
            MeasuredSubject(role, _name(store, role, summary, sources), summary, _results(store, artifacts, sources.evaluations[role]))
            for role, summary in summaries.items()
        ),
        guard=None if sources.guard is None else GuardResults(*(_guarded(store, artifacts, each) for each in sources.guard)),
        lineage=_lineage(store, sources, job),
        rollback=sources.rollback,
        operations=Operations(
            device=job.device,
            in_flight=_in_flight(PROFILE.validate_python(job.profile)),
            latency_budget_p95_seconds=domain.serving.latency_p95_seconds,
            cost_budget_per_decision=domain.serving.cost_per_decision,
            hourly_price=sources.hourly_price,
        ),
        generation=sources.compiled.manifest.generation,
        salt=salt,
        private_words=_private_words(),
        approvals=approvals,
        planted=len(sources.compiled.canaries),
    )


# ---- parts -----------------------------------------------------------------------------------------------------------------------------


def _accepting_round(store: Store, cluster: str, version: str) -> RecordedRound:
    judged = [each for each in loop.rounds_of(store, cluster) if each.iteration.challenger == version]
    accepted = [each for each in judged if each.iteration.decision.verdict == "accept"]
    if accepted:
        return accepted[-1]
    known = sorted({each.iteration.challenger for each in loop.rounds_of(store, cluster) if each.iteration.decision.verdict == "accept"})
    following = f"Accepted versions of {cluster}: {', '.join(known[-5:])}." if known else f"Start one with iterate(cluster={cluster!r})."
    if judged:
        raise StateConflict(
            f"{version[:80]} was rolled back, so there is nothing to promote, and its held-out figures are kept back", next_step=following
        )
    raise NotFound(f"no round of cluster {cluster} has accepted a version {version[:80]!r}", next_step=following, version=version[:80])


def _job(store: Store, accepted: RecordedRound) -> IterateJob:
    return IterateJob.model_validate(runs.launch_of(store, accepted.run_id).job)


def ceilings_of(clusters: ClustersFile, teachers: Collection[str], specialised: Profile) -> set[str]:
    """Clusters whose model is a teacher of the domain, an endpoint, or larger than the one that is specialised."""
    found, own = set(), _billions(specialised)
    for name, entry in clusters.clusters.items():
        profile = clusters.models[entry.model]
        larger = own is not None and (_billions(profile) or 0.0) > own
        if entry.model in teachers or isinstance(profile, EndpointProfile) or larger:
            found.add(name)
    return found


def _billions(profile: Profile) -> float | None:
    """A model's size in billions of parameters; None where nobody says it."""
    return profile.parameters_billion if isinstance(profile, ModelProfile) else None


def _in_flight(profile: Profile) -> int | None:
    """Requests that a measurement of the model keeps in flight; None for the double."""
    return profile.inference.concurrency if isinstance(profile, ModelProfile) else None


def _best(store: Store, evaluations: list[str]) -> str | None:
    """The measurement with the highest held-out score."""
    means = {each: summary.split("held_out").score.mean for each, summary in measurements.summaries(store, evaluations).items()}
    return max(means, key=lambda each: (means[each], each), default=None)


def _guard(store: Store, accepted: RecordedRound) -> tuple[str, str] | None:
    """The measurements behind the clause `no_harm`, which are steps of the round's run."""
    if not any(clause.name == "no_harm" for clause in accepted.iteration.decision.clauses):
        return None
    steps = {child.step: child.id for child in runs.children(store, accepted.run_id)}
    return steps["0.no_harm_base"], steps[f"{accepted.iteration.iteration}.no_harm"]


def _rollback(store: Store, artifacts: Artifacts, workspace: Workspace, to: str, job: IterateJob) -> Rollback:
    if to == BASE:
        prepared = find_prepared(workspace, job.model, PROFILE.validate_python(job.profile))
        return Rollback(to=BASE, adapter=None, in_registry=prepared is not None)
    version = versions.version(store, to)
    with contextlib.suppress(NotFound):
        for digest in (version.adapter, version.merged):
            if digest is not None:
                artifacts.path(digest)
        return Rollback(to=to, adapter=version.adapter, in_registry=True)
    return Rollback(to=to, adapter=version.adapter, in_registry=False)


def _name(store: Store, role: Role, summary: EvaluationSummary, sources: Sources) -> str:
    """A subject as a reader knows it: the ceiling is the base of a cluster of its own, and is called like that cluster."""
    return str(measurements.cluster_of(store, sources.evaluations[role])) if role == "ceiling" else summary.subject


def _results(store: Store, artifacts: Artifacts, evaluation_id: str) -> tuple[ItemResult, ...]:
    found = (measurements.item_results(store, artifacts, evaluation_id, split) for split in ("held_out", "core"))
    return tuple(result for results in found for result in results)


def _guarded(store: Store, artifacts: Artifacts, evaluation_id: str) -> tuple[ItemResult, ...]:
    return tuple(measurements.item_results(store, artifacts, evaluation_id, "held_out"))


def _lineage(store: Store, sources: Sources, job: IterateJob) -> Lineage:
    version = versions.version(store, sources.version)
    profile = PROFILE.validate_python(job.profile)
    edges = lineage.ancestors(store, version.adapter)
    started_from = next((edge.parent for edge in edges if (edge.child, edge.relation) == (version.adapter, "went_on_from")), None)
    return Lineage(
        adapter=version.adapter,
        merged=version.merged,
        fingerprint=version.fingerprint,
        base=version.base,
        model=profile.title,
        licence=profile.license,
        dataset=version.dataset,
        rows=sources.accepted_in.iteration.rows,
        plan=digest_of(version.plan.model_dump(mode="json")),
        method=version.plan.method,
        domain_digest=sources.compiled.digest,
        went_on_from=started_from,
    )


def _private_words() -> tuple[str, ...]:
    """What names this machine and its user."""
    host = socket.gethostname()
    words = {host, host.partition(".")[0]}
    with contextlib.suppress(OSError, KeyError):  # a user without a name
        words.add(getpass.getuser())
    return tuple(sorted(words))
