"""The steps of an iterate run as it stands: what has been done, what is submitted next, and what a measurement's job says.

A step is a child run, found by its name. `need` answers the finished child, submits one that is missing, and raises Waiting until it has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from engine.base.clock import Clock, Stopwatch, seconds_between
from engine.base.files import read_json
from engine.base.paths import Workspace
from engine.config import ModelProfile, Profile
from engine.evaluate import records as measurements
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.jobs import EarlyStop
from engine.evaluate.types import EvaluationSummary, ItemResult, Split
from engine.generate.open import served_as
from engine.generate.servers import ModelServers
from engine.generate.types import PreparedBase
from engine.iterate.history import History, Learned
from engine.iterate.measure import evaluate_job
from engine.iterate.mending import mark, mend_of
from engine.iterate.types import IterateJob, Iteration
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run, RunConfig, RunKind
from engine.loading import load_domain
from engine.store.artifacts import Artifacts
from engine.store.store import Store

KEPT_DOMAINS = 4
"""Compiled domains that stay in memory."""
PROFILE: TypeAdapter[Profile] = TypeAdapter(Profile)


class Waiting(Exception):
    """A step was submitted or is still running."""


class StepFailed(Exception):
    """A child run ended without success; the iterate run ends with its error."""

    def __init__(self, child: Run) -> None:
        super().__init__(child.id)
        self.child = child


class Measured(NamedTuple):
    """A subject and its measurement."""

    subject: str
    evaluation_id: str
    summary: EvaluationSummary


RolledBackSince = Callable[[str, str], str]
"""When a version of a cluster was rolled back that is rolled back now; empty for any other. Promotion says so, which comes after the loop."""


class LoopContext:
    """What every iterate run of one engine works with."""

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        workspace: Workspace,
        supervisor: Supervisor,
        servers: ModelServers,
        clock: Clock,
        rolled_back_since: RolledBackSince,
        learned: Learned = dict,
    ) -> None:
        self.store = store
        self.artifacts = artifacts
        self.workspace = workspace
        self.supervisor = supervisor
        self.servers = servers
        self.stopwatch = Stopwatch(clock)
        self.rolled_back_since = rolled_back_since
        self.history = History(store, artifacts, learned)
        self._compiled: dict[str, CompiledDomain] = {}

    def compiled(self, digest: str) -> CompiledDomain:
        """A compiled domain, read and checked once: a run is advanced every other second while its steps work."""
        if digest not in self._compiled:
            self._compiled = {digest: load_compiled(self.workspace, digest)} | dict(list(self._compiled.items())[: KEPT_DOMAINS - 1])
        return self._compiled[digest]


class Steps:
    """One iterate run: its job, its children and what they measured."""

    def __init__(self, context: LoopContext, run: Run) -> None:
        self.context = context
        self.run = run
        config = RunConfig.model_validate(read_json(context.workspace.run(run.id).config))
        self.job = IterateJob.model_validate(config.job)
        self.profile = PROFILE.validate_python(self.job.profile)
        self.children = {child.step: child for child in context.supervisor.list(parent=run.id)}
        self.elapsed_seconds()  # from here on, whatever becomes of the wall clock

    # -- children ------------------------------------------------------------------------------------------------------------------

    def start(self, step: str, kind: RunKind, make_job: Callable[[], dict[str, Any]], **arguments: Any) -> Run | None:
        """The finished child of `step`, or None while it runs; submits it when it is not there yet. `arguments` are kept with the run."""
        child = self.children.get(step)
        if child is None:
            child = self.context.supervisor.submit(
                kind,
                cluster=self.run.cluster,
                job=make_job(),
                arguments={"step": step, **arguments},
                key=f"{self.run.id}/{step}",
                parent=self.run.id,
                step=step,
                seed=self.job.seed,
            )
            self.children[step] = child
        if child.state in ("failed", "cancelled"):
            raise StepFailed(child)
        return child if child.state == "succeeded" else None

    def need(self, step: str, kind: RunKind, make_job: Callable[[], dict[str, Any]], **arguments: Any) -> Run:
        """The finished child of `step`; raises Waiting until then. One that found weights changed on the disk is done again when they are mended."""
        try:
            child = self.start(step, kind, make_job, **arguments)
        except StepFailed as failure:
            child = self.mended(step, failure, kind, make_job, **arguments)
        if child is None:
            raise Waiting
        return child

    def mended(self, step: str, failure: StepFailed, kind: RunKind, make_job: Callable[[], dict[str, Any]], **arguments: Any) -> Run | None:
        """The step done again, once the weights are made again that it found changed; raises its failure where that cannot be, or does not help."""
        mend = mend_of(failure.child, self.job, self.profile, self.context.workspace, self.context.store, self.context.artifacts)
        try:
            if mend is None:
                raise failure
            if self.start(f"{step}_mend", mend.kind, lambda: mend.job, **mend.arguments) is None:
                raise Waiting
            return self.start(f"{step}_again", kind, make_job, **arguments)
        except StepFailed as still:
            left = failure if still.child.step == f"{step}_mend" else still
            mark(self.context.store, left.child)
            raise left from None

    @staticmethod
    def dump(job: Any) -> dict[str, Any]:
        dumped: dict[str, Any] = job.model_dump(mode="json")
        return dumped

    # -- measurements --------------------------------------------------------------------------------------------------------------

    def measure(
        self, step: str, subject: str, base: PreparedBase, compiled: CompiledDomain, until: Callable[[], EarlyStop | None] = lambda: None
    ) -> Measured:
        """Measures `subject` on core and held-out; on a part of held-out where its refusal is certain by what `until` names."""
        return self.measured(self.need(step, "evaluate", lambda: self.evaluate_job(subject, base, compiled, until())))

    def measured_floor(self, run: Run) -> Measured | None:
        """The floor; None when no baseline fits this output."""
        summary = measurements.find_summary(self.context.store, run.id)
        return None if summary is None else Measured(summary.subject, run.id, summary)

    def measured(self, run: Run) -> Measured:
        summary = measurements.summary(self.context.store, run.id)
        return Measured(summary.subject, run.id, summary)

    def challenger(self, iteration: Iteration) -> Measured:
        evaluation_id = iteration.challenger_evaluation
        return Measured(iteration.challenger, evaluation_id, measurements.summary(self.context.store, evaluation_id))

    def results(self, measured: Measured, split: Split) -> list[ItemResult]:
        return measurements.item_results(self.context.store, self.context.artifacts, measured.evaluation_id, split)

    def evaluate_job(self, subject: str, base: PreparedBase, compiled: CompiledDomain, until: EarlyStop | None) -> dict[str, Any]:
        """The job that measures a subject as every measurement of the loop is made."""
        how = {"output": compiled.domain.contract.output, "generation": compiled.manifest.generation, "early_stop": until}
        return self.measuring(subject, base, domain=self.job.domain, digest=compiled.digest, **how)

    def guard_job(self, subject: str, base: PreparedBase, suite: str, digest: str) -> dict[str, Any]:
        """The job that measures a subject on the no-harm suite, whose items are all held out."""
        output = load_domain(self.context.workspace, suite).contract.output
        return self.measuring(subject, base, domain=suite, digest=digest, output=output, splits=("held_out",))

    def measuring(self, subject: str, base: PreparedBase, *, domain: str, digest: str, **how: Any) -> dict[str, Any]:
        job = evaluate_job(
            self.context.store,
            self.context.artifacts,
            subject=subject,
            model=self.job.model,
            profile=self.profile,
            base=base,
            domain=domain,
            domain_digest=digest,
            device=self.job.device,
            **how,
        )
        return self.dump(job)

    def merges(self) -> bool:
        return isinstance(self.profile, ModelProfile) and served_as(self.profile, self.job.device) == "merged"

    # -- time ----------------------------------------------------------------------------------------------------------------------

    def step_seconds(self) -> dict[str, float]:
        """Wall time of each finished step, waiting for a worker included. A clock that is set makes none negative, or longer than the run."""
        longest = self.elapsed_seconds()
        return {
            str(step): min(max(0.0, seconds_between(child.created_at, child.finished_at)), longest)
            for step, child in self.children.items()
            if child.finished_at is not None
        }

    def elapsed_seconds(self) -> float:
        """Since the run was submitted."""
        return self.context.stopwatch.seconds(self.run.id, self.run.created_at)

    def phase_seconds(self) -> dict[str, float]:
        """Wall time by phase, summed over rounds. Steps that ran side by side both count, so the phases can add up to more than `total`."""
        phases: dict[str, float] = {}
        for step, seconds in self.step_seconds().items():
            phase = step.partition(".")[2]
            phases[phase] = round(phases.get(phase, 0.0) + seconds, 3)
        phases["total"] = round(self.elapsed_seconds(), 3)
        return phases
