"""A round's training: its settings from the ledger, its method, and the steps that carry it out (`driver.py` lists them)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.config import ModelProfile
from engine.curate.jobs import PairsJob
from engine.curate.pairs import preferred_in_words
from engine.curate.records import golden_to_teach
from engine.evaluate.compile import CompiledDomain
from engine.generate.types import PreparedBase
from engine.iterate.measure import BASE, weights_of
from engine.iterate.methods import GIVE_WAY, MEMORY_FACTORS, counts_of, method_of, rows_made
from engine.iterate.repeating import rungs_in_vain
from engine.iterate.scheduling import facts_of, has_diverged, history, rung_that_sufficed
from engine.iterate.steps import Measured, StepFailed, Steps
from engine.jobs import records as runs
from engine.jobs.types import Run
from engine.train import records as versions
from engine.train.jobs import TrainJob
from engine.train.memory import ladder, same_gradient
from engine.train.plan import plan_training, unscheduled
from engine.train.preference_plan import CPU_SECONDS
from engine.train.records import Version
from engine.train.schedule import schedule
from engine.train.types import Facts, Method, PastRound, Schedule, Suggestion, TrainPlan


class Trained(NamedTuple):
    """A round's finished training, with the schedule and the plan that it followed."""

    run: Run
    chosen: Schedule
    plan: TrainPlan


class RoundTraining:
    """The training of one round: what is decided about it, and its steps."""

    def __init__(self, steps: Steps, number: int, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain) -> None:
        self.steps = steps
        self.number = number
        self.incumbent = incumbent
        self.base = base
        self.compiled = compiled
        self.store = steps.context.store
        self.job = steps.job
        self.profile = steps.profile
        self.overrides = compiled.domain.train

    def schedule(self) -> Schedule:
        """The round's settings, from the ledger. Once decided they stand with the round's first step; a search is a step of its own."""
        if (child := self.steps.children.get(f"{self.number}.curate")) is not None and "schedule" in child.arguments:
            return Schedule.model_validate(child.arguments["schedule"])
        past, facts = self.history(without=self.this_round()), self.facts()
        chosen = schedule(past, self.profile, self.overrides, facts)
        if (asked := chosen.search) is None:
            return chosen
        found = self.steps.need(f"{self.number}.search", "search", lambda: self.steps.dump(asked))
        return schedule(past, self.profile, self.overrides, facts, Suggestion.model_validate(found.output))

    def train(self, chosen: Schedule, curated: Run) -> Trained:
        """Trains by the method that the domain sets or the schedule chose. One that finds nothing to learn from, collapses, or does not fit into
        memory however small, gives way to SFT on the same rows; the plan says so."""
        method = method_of(self.overrides, chosen)
        if method == "sft":
            return self.supervised(f"{self.number}.train", chosen, curated)
        try:
            return self.preferring(method, chosen, curated)
        except StepFailed as failure:
            error = failure.child.error
            if error is None or (error.code not in GIVE_WAY and not out_of_memory(failure.child)):
                raise
            usual = unscheduled(self.profile, self.overrides)
            why = f"SFT instead of {method.upper()}: {error.message}"
            anew = {"method": "sft", "warm_start": False, "warm_rate": 1.0, "learning_rate": usual.learning_rate}
            changes = {**anew, "reasons": (*chosen.reasons, why)}
            return self.supervised(f"{self.number}.train_sft", chosen.model_copy(update=changes), curated)

    def preferring(self, method: Method, chosen: Schedule, curated: Run) -> Trained:
        """GRPO or DPO, from the incumbent's adapter where there is one. A training may take a quarter of the run's time."""
        rows_of = curated
        if method == "dpo":
            rows_of = self.steps.need(f"{self.number}.pairs", "pairs", lambda: self.steps.dump(self.pairs_job(curated)))
            chosen = chosen.model_copy(update={"reasons": (preferred_in_words(counts_of(rows_of)), *chosen.reasons)})
        start = self.incumbent_version()
        plan = self.plan(
            rows_made(rows_of),
            chosen,
            method=method,
            start=None if start is None else start.plan.lora,
            max_tokens=self.compiled.domain.contract.output.max_tokens,
            seconds=min(CPU_SECONDS, self.job.budget.max_minutes * 60 / 4),
        )
        chosen = chosen.model_copy(update={"method": method, "learning_rate": plan.learning_rate})
        return self.fitting(f"{self.number}.train", chosen, plan, rows_of, digest=self.compiled.digest)

    def supervised(self, step: str, chosen: Schedule, curated: Run) -> Trained:
        """SFT. One that diverges is tried once more, as the schedule says after a divergence; where that changes nothing (the domain fixes the
        rate), the run ends with its error."""
        rows = int((curated.output or {})["rows"])
        try:
            return self.fitting(step, chosen, self.plan(rows, chosen), curated)
        except StepFailed as failure:
            if not has_diverged(failure.child):
                raise
            if (child := self.steps.children.get(f"{self.number}.train_again")) is not None:
                again = Schedule.model_validate(child.arguments["schedule"])
            else:
                again = schedule(self.history(), self.profile, self.overrides, self.facts())
            if again.learning_rate >= chosen.learning_rate:
                raise
        return self.fitting(f"{self.number}.train_again", again, self.plan(rows, again), curated)

    def plan(self, rows: int, chosen: Schedule, **how: Any) -> TrainPlan:
        """The plan that follows from a schedule. It says where the round begins, when something other than a round has decided that."""
        plan = plan_training(
            self.profile,
            self.overrides,
            rows=rows,
            device=self.job.device,
            seed=self.job.seed,
            merge=self.steps.merges(),
            iteration=self.number,
            schedule=chosen,
            may_go_on=self.may_go_on(),
            **how,
        )
        because = self.job.incumbent_because
        if not because or self.incumbent.subject != self.job.incumbent:
            return plan
        return plan.model_copy(update={"reasons": (because, *plan.reasons)})

    def fitting(self, name: str, chosen: Schedule, plan: TrainPlan, rows_of: Run, *, digest: str | None = None) -> Trained:
        """Trains with as little memory as it takes: a training that ran out of it is followed by one that needs less (`engine/train/memory.py`), a
        step of its own. It begins with what sufficed the last time, and leaves out what has never sufficed."""
        begun = min(self.rung_that_sufficed(chosen), len(same_gradient(plan)) - 1)
        rungs = ladder(plan)
        vain = rungs_in_vain(self.store, str(self.steps.run.cluster), without=self.steps.run.id)
        tries = [begun, *(rung for rung in range(begun + 1, len(rungs)) if rung not in vain)]
        for rung in tries:
            followed = chosen if rungs[rung].lora == plan.lora else chosen.model_copy(update={"rank": rungs[rung].lora.rank})
            try:
                return self.step(name if rung == begun else f"{name}_smaller_{rung}", followed, rungs[rung], rows_of, rung, digest)
            except StepFailed as failure:
                if rung == tries[-1] or not out_of_memory(failure.child):
                    raise
        raise AssertionError("unreachable")

    def step(self, name: str, chosen: Schedule, plan: TrainPlan, rows_of: Run, rung: int, digest: str | None) -> Trained:
        """The finished training step."""
        run = self.steps.need(
            name,
            "train",
            lambda: self.steps.dump(self.train_job(rows_of, plan, chosen, digest=digest)),
            schedule=self.steps.dump(chosen),
            incumbent=self.incumbent.subject,
            rung=rung,
        )
        return Trained(run, chosen, plan)

    # -- what the ledger and the store say -----------------------------------------------------------------------------------------

    def this_round(self) -> list[str]:
        """The trainings of the round itself."""
        return [child.id for step, child in self.steps.children.items() if str(step).startswith(f"{self.number}.train")]

    def rung_that_sufficed(self, chosen: Schedule) -> int:
        """How little memory the cluster's last training by this method had to do with."""
        cluster = str(self.steps.run.cluster)
        return rung_that_sufficed(self.store, cluster, chosen, domain=self.job.domain, model=self.job.model, without=self.this_round())

    def history(self, without: Sequence[str] = ()) -> list[PastRound]:
        """The cluster's ledger over all its runs about this domain and model."""
        return history(self.store, str(self.steps.run.cluster), domain=self.job.domain, model=self.job.model, without=without)

    def facts(self) -> Facts:
        """What stands when a round begins."""
        version = self.incumbent_version()
        largest = self.profile.lora.rank if isinstance(self.profile, ModelProfile) and not self.steps.merges() else None
        return facts_of(
            pool_rows=len(self.compiled.pool),
            incumbent=self.incumbent.subject,
            incumbent_lora=None if version is None or version.base != self.base.digest else version.plan.lora,
            summary=self.incumbent.summary,
            core=self.steps.results(self.incumbent, "core"),
            metric=self.compiled.domain.eval.accept.metric,
            largest_rank=largest,
            seed=self.job.seed,
        )

    def incumbent_version(self) -> Version | None:
        """The incumbent; None where that is the base."""
        return None if self.incumbent.subject == BASE else versions.version(self.store, self.incumbent.subject)

    # -- jobs ----------------------------------------------------------------------------------------------------------------------

    def pairs_job(self, curated: Run) -> PairsJob:
        """The incumbent's answers to the prompts of the curated rows."""
        artifacts, dataset = self.steps.context.artifacts, dataset_of(curated)
        subject = self.incumbent.subject
        return PairsJob(
            domain_digest=self.compiled.digest,
            dataset=str(artifacts.path(dataset)),
            dataset_digest=dataset,
            model=self.job.model,
            profile=self.profile,
            base=self.base,
            weights=None if subject == BASE else weights_of(self.store, artifacts, subject, self.base),
            subject=subject,
            golden=golden_to_teach(self.store, artifacts, self.compiled.name, self.compiled.grading_digest),
            seed=self.job.seed + self.number - 1,
            device=self.job.device,
        )

    def train_job(self, rows_of: Run, plan: TrainPlan, chosen: Schedule, *, digest: str | None) -> TrainJob:
        """The training job. The model server stops first when both do not fit into memory."""
        artifacts, dataset = self.steps.context.artifacts, dataset_of(rows_of)
        going_on = self.adapter_to_go_on_from(chosen) if plan.warm_start else None
        if isinstance(self.profile, ModelProfile):
            needed = self.profile.training.memory_gib * MEMORY_FACTORS[plan.method]
            self.steps.context.servers.stop_for_training(int(needed * 2**30), self.job.device)
        return TrainJob(
            model=self.job.model,
            profile=self.profile,
            base=self.base,
            dataset=str(artifacts.path(dataset)),
            dataset_digest=dataset,
            domain_digest=digest,
            plan=plan,
            warm_start=None if going_on is None else str(artifacts.path(going_on)),
            warm_start_digest=going_on,
            score_rows=plan.method == "sft" and self.overrides.doubtful == "set_aside" and self.may_go_on(),
            device=self.job.device,
        )

    def may_go_on(self) -> bool:
        """Whether another round of this run may follow."""
        return self.number < self.job.budget.max_iterations

    def adapter_to_go_on_from(self, chosen: Schedule) -> str | None:
        """The incumbent's adapter; for SFT at the full rate the one from before its rate fell, where that was kept."""
        version = self.incumbent_version()
        if version is None:
            return None
        stored: dict[str, str] = (runs.get(self.store, version.run_id).output or {}).get("artifacts", {})
        at_full_rate = chosen.method == "sft" and chosen.warm_rate == 1.0
        return stored.get("stable", version.adapter) if at_full_rate else version.adapter


def out_of_memory(child: Run) -> bool:
    """Whether a step ended for want of memory."""
    return child.error is not None and child.error.short_of == "memory"


def dataset_of(run: Run) -> str:
    """Digest of the rows (or pairs) that a run made."""
    return str((run.output or {})["artifacts"]["dataset"])
