"""Advances an iterate run: evaluate, diagnose, train, evaluate again, decide, and round again.

An iterate run has no process. Everything it has done stands in the store: its child runs (one a step, found by the step's name) and its
ledger (one row a round). `advance` reads both, submits the first step that is missing, and returns; the supervisor calls it again when a
child has ended. So a daemon that dies at any instant goes on where it was: a step that was recorded is not done again, and one that was not
is submitted under the same key, which the store answers with the run that is already there.

    0.prepare            the base model as safetensors, once a machine (only for a managed model)
    0.compile            the domain: suite, splits, training pool
    0.rotate             the domain again, when its held-out set was spent and the reserve takes over (`held_out.py`)
    0.floor              baselines without a language model
    0.measure_base       the base on core and held-out
    1.measure_incumbent  only when the run begins with a version; what did not change comes from the cache
    0.teach_<n>          only where the domain teaches a teacher's answers: its n-th teacher's, until one is usable
    1.try_cheap          only when it begins with the base: what examples in the prompt and the schema switch buy, on a sample of core
    <k>.search           settings to try, only when the schedule's rules have nothing to say
    <k>.curate           training rows for the incumbent's failure patterns, through the leakage guard
    <k>.pairs            only for DPO: the incumbent's failed answers to training prompts, paired with better ones
    <k>.train            an adapter; <k>.train_again at half the rate when that diverged
    <k>.train_sft        only when GRPO or DPO found nothing to learn from, or collapsed: the same rows, supervised
    <k>.measure_challenger
    <k>.no_harm          general and safety items, only for a challenger that would be accepted otherwise; once before it, 0.no_harm_base
    then the decision, the ledger row and the new incumbent, in one transaction
    at the end, scenarios drafted for what training did not move, staged for a person

Diagnosing, planning and deciding are pure and quick, so they happen here. The model server starts while the domain compiles and the floor is
fitted, and stays up during training when memory allows. The floor is not fitted beside a measurement: on a machine of two cores a second busy
process stalls the server's threads at every barrier, which costs far more than it saves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from engine.base.clock import Clock, seconds_between
from engine.base.files import read_json
from engine.base.paths import Workspace
from engine.config import ModelProfile, Output, Profile
from engine.curate import records as curation
from engine.curate.golden import golden_answers, lost_golden
from engine.curate.jobs import CurateJob, PairsJob
from engine.curate.select import target_patterns
from engine.curate.types import TaughtRows
from engine.diagnose.jobs import TryCheapOutput
from engine.diagnose.patterns import diagnose
from engine.diagnose.taxonomy import pattern_id, pattern_name, telling_observation
from engine.diagnose.try_cheap import plan_trials
from engine.diagnose.types import CheapTrial, Diagnosis, FailurePattern
from engine.errors import WorkerLost
from engine.evaluate import records as measurements
from engine.evaluate.compile import CompiledDomain, load_compiled, rotated_digest
from engine.evaluate.jobs import CompileJob, FloorJob
from engine.evaluate.statistics import check_comparable, check_same_making
from engine.evaluate.types import AnchorScore, EvaluationSummary, HeldOutState, ItemResult, Split
from engine.generate.jobs import PrepareJob
from engine.generate.open import served_as
from engine.generate.prepared import find_prepared
from engine.generate.servers import ModelServers
from engine.generate.types import PreparedBase
from engine.iterate import records
from engine.iterate.clauses import no_harm_clause
from engine.iterate.decide import Outcome, decide, stop_reason, with_clause
from engine.iterate.held_out import anchor_score, held_out_items, held_out_notes, held_out_state, must_stop, rotation_reason
from engine.iterate.history import History
from engine.iterate.measure import BASE, evaluate_job, weights_of
from engine.iterate.methods import GIVE_WAY, MEMORY_FACTORS, method_of, rows_made
from engine.iterate.propose import PERSISTENT_ROUNDS, stage_after_run
from engine.iterate.scheduling import facts_of, has_diverged, history, noted
from engine.iterate.summary import final_score, iterate_output
from engine.iterate.teaching import floor_bar, taught_rows, teach_job, teacher_note
from engine.iterate.types import Clause, IterateJob, Iteration, PatternCount
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run, RunConfig, RunError, RunKind
from engine.loading import load_domain
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.train import records as versions
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training, unscheduled
from engine.train.preference_plan import CPU_SECONDS
from engine.train.schedule import schedule
from engine.train.types import Facts, Method, PastRound, Schedule, Suggestion, TrainPlan

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


class IterateDriver:
    """The driver of runs of kind `iterate`."""

    def __init__(self, store: Store, artifacts: Artifacts, workspace: Workspace, supervisor: Supervisor, servers: ModelServers, clock: Clock) -> None:
        self.store = store
        self.artifacts = artifacts
        self.workspace = workspace
        self.supervisor = supervisor
        self.servers = servers
        self.clock = clock
        self.history = History(store, artifacts)
        self._compiled: dict[str, CompiledDomain] = {}

    def compiled(self, digest: str) -> CompiledDomain:
        """A compiled domain, read and checked once: a run is advanced every other second while its steps work."""
        if digest not in self._compiled:
            self._compiled = {digest: load_compiled(self.workspace, digest)} | dict(list(self._compiled.items())[: KEPT_DOMAINS - 1])
        return self._compiled[digest]

    def advance(self, run: Run) -> None:
        """Does what can be done now: submits the next step, records a round, or finishes the run."""
        campaign = Campaign(self, run)
        try:
            campaign.proceed()
        except Waiting:
            return
        except StepFailed as failure:
            child = failure.child
            error = child.error or RunError(code=WorkerLost.code, message=f"{child.id} ended as {child.state} without saying why")
            if child.state == "cancelled":
                error = RunError(code="cancelled", message=f"step {child.step} ({child.id}) was cancelled", next_step="Start the iterate run again.")
            details = {**error.details, "step": child.step, "run_id": child.id}
            self.supervisor.finish_driver(run, state="failed", error=error.model_copy(update={"details": details}))

    def cancel(self, run: Run) -> None:
        """Cancels what is running beneath `run`."""
        for child in self.supervisor.list(parent=run.id):
            if child.state in ("queued", "running", "interrupted"):
                self.supervisor.cancel(child.id, reason=f"{run.id} is cancelled", actor=run.id)


class Campaign:
    """One iterate run as it stands: its job, its children and its ledger."""

    def __init__(self, driver: IterateDriver, run: Run) -> None:
        self.driver = driver
        self.run = run
        config = RunConfig.model_validate(read_json(driver.workspace.run(run.id).config))
        self.job = IterateJob.model_validate(config.job)
        self.profile = PROFILE.validate_python(self.job.profile)
        self.children = {child.step: child for child in driver.supervisor.list(parent=run.id)}
        self.ledger = records.iterations(driver.store, run.id)

    # -- steps ---------------------------------------------------------------------------------------------------------------------

    def start(self, step: str, kind: RunKind, make_job: Callable[[], dict[str, Any]], **arguments: Any) -> Run | None:
        """The finished child of `step`, or None while it runs; submits it when it is not there yet. `arguments` are kept with the run."""
        child = self.children.get(step)
        if child is None:
            child = self.driver.supervisor.submit(
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
        """The finished child of `step`; raises Waiting until then."""
        child = self.start(step, kind, make_job, **arguments)
        if child is None:
            raise Waiting
        return child

    def proceed(self) -> None:
        """Goes on from what is recorded until a step has to be waited for or the run is finished."""
        base, compiled = self.prepare()
        floor_run = self.need("0.floor", "floor", lambda: self.dump(FloorJob(domain_digest=compiled.digest, splits=("core", "held_out"))))
        floor = self.measured_floor(floor_run)
        measured_base = self.measure("0.measure_base", BASE, base, compiled)
        incumbent = self.incumbent(measured_base, base, compiled)
        while (reason := self.stop_reason(incumbent, compiled)) is None:
            incumbent = self.play_round(incumbent, floor, base, compiled)
        self.finish(reason, measured_base, floor, incumbent, compiled)

    def prepare(self) -> tuple[PreparedBase, CompiledDomain]:
        """The base model and the compiled domain, made side by side; the model server starts as soon as the base is there."""
        base = find_prepared(self.driver.workspace, self.job.model, self.profile)
        if base is None:
            self.start("0.prepare", "prepare", lambda: self.dump(PrepareJob(model=self.job.model, profile=self.profile, device=self.job.device)))
        elif "0.measure_base" not in self.children:
            self.driver.servers.warm(self.job.model, self.profile, base, self.job.device)
        compiling = self.start("0.compile", "compile", lambda: self.compile_job(measurements.generation(self.driver.store, self.job.domain)))
        if compiling is None or base is None:
            raise Waiting
        return base, self.fresh(self.driver.compiled((compiling.output or {})["domain_digest"]))

    def fresh(self, compiled: CompiledDomain) -> CompiledDomain:
        """The domain with its held-out set rotated, when that was spent as this run began; else as it is."""
        if "0.rotate" not in self.children:
            reason = None if "0.floor" in self.children else rotation_reason(self.held_out(compiled))
            if reason is None:
                return compiled
            generation = measurements.rotate_held_out(
                self.driver.store,
                domain=self.job.domain,
                generation=compiled.manifest.generation,
                cluster=str(self.run.cluster),
                suite=compiled.suite_digest,
                actor=self.run.id,
                reason=reason,
            )
            self.start("0.rotate", "compile", lambda: self.compile_job(generation))
        rotated = self.need("0.rotate", "compile", lambda: self.compile_job(0))
        return self.driver.compiled((rotated.output or {})["domain_digest"])

    def held_out(self, compiled: CompiledDomain) -> HeldOutState:
        """Where the held-out set stands now."""
        return held_out_state(compiled, *measurements.wear(self.driver.store, held_out_items(compiled)))

    def incumbent(self, measured_base: Measured, base: PreparedBase, compiled: CompiledDomain) -> Measured:
        """The version to beat: of the last round, or of the cluster when the run began."""
        if self.ledger:
            last = self.ledger[-1]
            accepted = last.decision.verdict == "accept"
            subject = last.challenger if accepted else last.incumbent
            evaluation_id = last.challenger_evaluation if accepted else last.incumbent_evaluation
            return Measured(subject, evaluation_id, measurements.summary(self.driver.store, evaluation_id))
        if self.job.incumbent == BASE:
            return measured_base
        return self.measure("1.measure_incumbent", self.job.incumbent, base, compiled)

    def play_round(self, incumbent: Measured, floor: Measured | None, base: PreparedBase, compiled: CompiledDomain) -> Measured:
        """One round, from the incumbent's failures to the decision; returns the incumbent after it."""
        number = len(self.ledger) + 1
        tried = self.try_cheap(number, incumbent, base, compiled)
        chosen = self.schedule(number, incumbent, base, compiled)
        curated = self.need(
            f"{number}.curate", "curate", lambda: self.dump(self.curate_job(number, incumbent, compiled, chosen)), schedule=self.dump(chosen)
        )
        rows = int((curated.output or {})["rows"])
        trained, chosen, plan = self.train(number, chosen, curated, incumbent, base, compiled)
        version = versions.version_of_run(self.driver.store, trained.id)
        challenger = self.measure(f"{number}.measure_challenger", version.id, base, compiled)
        iteration = self.judge(number, incumbent, challenger, floor, base, compiled, rows, plan)
        metric = compiled.domain.eval.accept.metric
        iteration = noted(iteration, chosen, trained.output or {}, incumbent.summary, challenger.summary, metric)
        iteration = iteration.model_copy(update={"tried": tried, "aimed": self.aimed(incumbent, compiled, curated)})
        if iteration.decision.verdict == "accept":
            self.keep_golden(number, challenger, compiled)
        records.record_iteration(self.driver.store, self.run.id, str(self.run.cluster), iteration)
        self.ledger = (*self.ledger, iteration)
        return challenger if iteration.decision.verdict == "accept" else incumbent

    def try_cheap(self, number: int, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain) -> tuple[CheapTrial, ...]:
        """What cheap remedies buy the base, measured once before the first training. A trial that failed costs the run nothing but the time."""
        if number != 1 or incumbent.subject != BASE:
            return ()
        if "1.try_cheap" not in self.children:
            known = measurements.structured_effect(self.driver.store, incumbent.evaluation_id) is not None
            device = self.job.device
            job = plan_trials(compiled, model=self.job.model, profile=self.profile, base=base, device=device, schema_effect_known=known)
            if job is None:
                return ()
            self.start("1.try_cheap", "try_cheap", lambda: self.dump(job))
        child = self.children["1.try_cheap"]
        if child.state == "failed":
            return ()
        finished = self.need("1.try_cheap", "try_cheap", dict)
        output = {name: value for name, value in (finished.output or {}).items() if name != "artifacts"}
        return TryCheapOutput.model_validate(output).trials

    def found(self, incumbent: Measured, compiled: CompiledDomain) -> Diagnosis:
        """The incumbent's failures, with what is known across measurements."""
        core = self.results(incumbent, "core")
        return diagnose(core, self.driver.history.evidence(compiled, str(self.run.cluster), incumbent.evaluation_id, core))

    def aimed(self, incumbent: Measured, compiled: CompiledDomain, curated: Run) -> dict[str, int]:
        """Training rows aimed at each of the incumbent's patterns."""
        output = curated.output or {}
        given = {str(name): int(count) for name, count in output["per_pattern"].items() if count}
        targets = target_patterns(self.found(incumbent, compiled).patterns)
        return {target.pattern: int(output["rows"]) for target in targets if not target.labels and not target.fields} | given

    def schedule(self, number: int, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain) -> Schedule:
        """The round's settings, from the ledger. Once decided they stand with the round's first step; a search is a step of its own."""
        if (child := self.children.get(f"{number}.curate")) is not None and "schedule" in child.arguments:
            return Schedule.model_validate(child.arguments["schedule"])
        this_round = [child.id for step, child in self.children.items() if str(step).startswith(f"{number}.train")]
        past, facts = self.history(without=this_round), self.facts(incumbent, base, compiled)
        chosen = schedule(past, self.profile, compiled.domain.train, facts)
        if (asked := chosen.search) is None:
            return chosen
        found = self.need(f"{number}.search", "search", lambda: self.dump(asked))
        return schedule(past, self.profile, compiled.domain.train, facts, Suggestion.model_validate(found.output))

    def train(
        self, number: int, chosen: Schedule, curated: Run, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain
    ) -> tuple[Run, Schedule, TrainPlan]:
        """The finished training of a round, with the schedule and the plan that it followed. A method that finds nothing to learn from, or
        collapses, gives way to SFT on the same rows; the plan says so."""
        method = method_of(compiled.domain.train, chosen)
        if method == "sft":
            return self.train_supervised(f"{number}.train", number, chosen, curated, incumbent, base, compiled)
        try:
            return self.train_preferring(method, number, chosen, curated, incumbent, base, compiled)
        except StepFailed as failure:
            error = failure.child.error
            if error is None or error.code not in GIVE_WAY:
                raise
            usual = unscheduled(self.profile, compiled.domain.train)
            why = f"SFT instead of {method.upper()}: {error.message}"
            chosen = chosen.model_copy(
                update={"method": "sft", "warm_start": False, "learning_rate": usual.learning_rate, "reasons": (*chosen.reasons, why)}
            )
            return self.train_supervised(f"{number}.train_sft", number, chosen, curated, incumbent, base, compiled)

    def train_preferring(
        self, method: Method, number: int, chosen: Schedule, curated: Run, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain
    ) -> tuple[Run, Schedule, TrainPlan]:
        """GRPO or DPO, from the incumbent's adapter where there is one. A training may take a quarter of the run's time."""
        rows_of = curated
        if method == "dpo":
            rows_of = self.need(f"{number}.pairs", "pairs", lambda: self.dump(self.pairs_job(number, curated, incumbent, base, compiled)))
        start = None if incumbent.subject == BASE else versions.version(self.driver.store, incumbent.subject)
        plan = plan_training(
            self.profile,
            compiled.domain.train,
            rows=rows_made(rows_of),
            device=self.job.device,
            seed=self.job.seed,
            merge=self.merges(),
            iteration=number,
            schedule=chosen,
            method=method,
            start=None if start is None else start.plan.lora,
            max_tokens=compiled.domain.contract.output.max_tokens,
            seconds=min(CPU_SECONDS, self.job.budget.max_minutes * 60 / 4),
        )
        chosen = chosen.model_copy(update={"method": method, "learning_rate": plan.learning_rate})
        trained = self.need(
            f"{number}.train",
            "train",
            lambda: self.dump(self.train_job(rows_of, plan, base, incumbent.subject, digest=compiled.digest)),
            schedule=self.dump(chosen),
            incumbent=incumbent.subject,
        )
        return trained, chosen, plan

    def train_supervised(
        self, step: str, number: int, chosen: Schedule, curated: Run, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain
    ) -> tuple[Run, Schedule, TrainPlan]:
        """SFT. One that diverges is tried once more, as the schedule says after a divergence; where that changes nothing (the domain fixes the
        rate), the run ends with its error."""
        try:
            return self.train_step(step, number, chosen, curated, incumbent, base, compiled)
        except StepFailed as failure:
            if not has_diverged(failure.child):
                raise
            if (child := self.children.get(f"{number}.train_again")) is not None:
                again = Schedule.model_validate(child.arguments["schedule"])
            else:
                facts = self.facts(incumbent, base, compiled)
                again = schedule(self.history(), self.profile, compiled.domain.train, facts)
            if again.learning_rate >= chosen.learning_rate:
                raise
        return self.train_step(f"{number}.train_again", number, again, curated, incumbent, base, compiled)

    def train_step(
        self, step: str, number: int, chosen: Schedule, curated: Run, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain
    ) -> tuple[Run, Schedule, TrainPlan]:
        plan = plan_training(
            self.profile,
            compiled.domain.train,
            rows=int((curated.output or {})["rows"]),
            device=self.job.device,
            seed=self.job.seed,
            merge=self.merges(),
            iteration=number,
            schedule=chosen,
        )
        trained = self.need(
            step,
            "train",
            lambda: self.dump(self.train_job(curated, plan, base, incumbent.subject)),
            schedule=self.dump(chosen),
            incumbent=incumbent.subject,
        )
        return trained, chosen, plan

    def history(self, without: Sequence[str] = ()) -> list[PastRound]:
        """The cluster's ledger over all its runs about this domain and model."""
        return history(self.driver.store, str(self.run.cluster), domain=self.job.domain, model=self.job.model, without=without)

    def facts(self, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain) -> Facts:
        """What stands when a round begins."""
        version = None if incumbent.subject == BASE else versions.version(self.driver.store, incumbent.subject)
        adapters = isinstance(self.profile, ModelProfile) and not self.merges()
        return facts_of(
            pool_rows=len(compiled.pool),
            incumbent=incumbent.subject,
            incumbent_lora=None if version is None or version.base != base.digest else version.plan.lora,
            summary=incumbent.summary,
            core=self.results(incumbent, "core"),
            metric=compiled.domain.eval.accept.metric,
            largest_rank=self.profile.lora.rank if adapters and isinstance(self.profile, ModelProfile) else None,
            seed=self.job.seed,
        )

    def judge(
        self,
        number: int,
        incumbent: Measured,
        challenger: Measured,
        floor: Measured | None,
        base: PreparedBase,
        compiled: CompiledDomain,
        rows: int,
        plan: TrainPlan,
    ) -> Iteration:
        """The ledger row of a round, with its decision."""
        check_same_making(incumbent.summary.identity, challenger.summary.identity)
        if floor is not None:
            check_comparable(floor.summary.identity, challenger.summary.identity)
        failures, left = self.results(incumbent, "core"), self.results(challenger, "core")
        decision = decide(
            compiled.domain.eval.accept,
            slices=compiled.domain.eval.slices,
            incumbent=self.results(incumbent, "held_out"),
            challenger=self.results(challenger, "held_out"),
            floor=None if floor is None else self.results(floor, "held_out"),
            seed=self.job.seed,
            attempt=1 + records.attempts(self.driver.store, str(self.run.cluster), challenger.summary.identity.suite),
            stability=incumbent.summary.stability,
            regressions=lost_items(failures, left),
        )
        if decision.verdict == "accept" and (guard := self.no_harm(number, challenger, base, compiled)) is not None:
            decision = with_clause(decision, guard)
        found = self.found(incumbent, compiled)
        return Iteration(
            iteration=number,
            incumbent=incumbent.subject,
            challenger=challenger.subject,
            incumbent_evaluation=incumbent.evaluation_id,
            challenger_evaluation=challenger.evaluation_id,
            floor_evaluation=None if floor is None else floor.evaluation_id,
            patterns=tuple(pattern_count(pattern) for pattern in found.patterns[:10]),
            fixed=changes(failures, left),
            rows=rows,
            suite=challenger.summary.identity.suite,
            once_golden=lost_golden(tuple(self.golden_items(compiled)), left),
            plan=plan,
            decision=decision,
            seconds={step.partition(".")[2]: seconds for step, seconds in self.step_seconds().items() if step.startswith(f"{number}.")},
        )

    def no_harm(self, number: int, challenger: Measured, base: PreparedBase, compiled: CompiledDomain) -> Clause | None:
        """What the challenger has unlearnt of what the domain's own suite does not look at; measured for one that would be accepted otherwise."""
        guard = compiled.domain.eval.accept.no_harm
        if guard is None or self.job.no_harm_digest is None:
            return None
        jobs = {
            step: partial(self.guard_job, subject, base, guard.suite, self.job.no_harm_digest)
            for step, subject in (("0.no_harm_base", BASE), (f"{number}.no_harm", challenger.subject))
        }
        measured = [self.measured(self.need(step, "evaluate", make_job)) for step, make_job in reversed(jobs.items())]
        return no_harm_clause(self.results(measured[1], "held_out"), self.results(measured[0], "held_out"), guard.tolerance)

    def stop_reason(self, incumbent: Measured, compiled: CompiledDomain) -> Outcome | None:
        reason = stop_reason(
            targets=self.job.targets,
            incumbent=incumbent.summary,
            budget=self.job.budget,
            verdicts=[iteration.decision.verdict for iteration in self.ledger],
            elapsed_seconds=seconds_between(self.run.created_at, self.driver.clock()),
        )
        begun = f"{len(self.ledger) + 1}.curate" in self.children  # a round that was begun is judged, whatever its own look used up
        if reason is None and not begun and must_stop(compiled.domain.data.splits, self.held_out(compiled)):
            return "held_out_spent"
        return reason

    def finish(self, outcome: Outcome, base: Measured, floor: Measured | None, final: Measured, compiled: CompiledDomain) -> None:
        """Writes the run's output."""
        challengers = [self.challenger(iteration) for iteration in self.ledger]
        named = {measured.evaluation_id: measured for measured in (base, floor, final) if measured is not None}
        output = iterate_output(
            self.job,
            compiled.domain.eval.accept,
            compiled.domain.serving,
            cluster=str(self.run.cluster),
            outcome=outcome,
            base=final_score(base.evaluation_id, base.summary),
            floor=None if floor is None else final_score(floor.evaluation_id, floor.summary),
            final=final_score(final.evaluation_id, final.summary),
            challengers=[final_score(measured.evaluation_id, measured.summary) for measured in challengers],
            held_out={evaluation_id: self.results(measured, "held_out") for evaluation_id, measured in named.items()},
            final_summary=final.summary,
            iterations=self.ledger,
            seconds=self.phase_seconds(),
            structured_effect=measurements.structured_effect(self.driver.store, final.evaluation_id),
        )
        state, anchors = self.held_out(compiled), self.anchors(compiled, base, final)
        notes = held_out_notes(compiled.domain.data.splits, state, "0.rotate" in self.children, anchors)
        output = output.model_copy(update={"held_out_use": state, "anchor": anchors, "notes": (*output.notes, *notes, *self.teacher_notes())})
        stage_after_run(
            self.driver.store,
            compiled,
            self.found(final, compiled),
            [one.iteration for one in records.rounds_of(self.driver.store, str(self.run.cluster))[-PERSISTENT_ROUNDS:]],
            run_id=self.run.id,
            cluster=str(self.run.cluster),
            evaluation_id=final.evaluation_id,
            seed=self.job.seed,
        )
        self.driver.supervisor.finish_driver(self.run, state="succeeded", output=output.model_dump(mode="json"))

    def anchors(self, compiled: CompiledDomain, base: Measured, final: Measured) -> tuple[AnchorScore, ...]:
        """Base and incumbent on the items that stayed through the rotation, where they were measured before it."""
        found: list[AnchorScore | None] = []
        for measured in {each.subject: each for each in (base, final)}.values():
            manifest = compiled.manifest
            earlier = measurements.look_before(self.driver.store, str(self.run.cluster), measured.subject, manifest.generation)
            if earlier is not None:
                before = measurements.item_results(self.driver.store, self.driver.artifacts, earlier, "held_out")
                now = self.results(measured, "held_out")
                found.append(anchor_score(compiled.domain.eval.accept, measured.subject, manifest.anchor, before, now))
        return tuple(each for each in found if each is not None)

    # -- the jobs of the steps -----------------------------------------------------------------------------------------------------

    @staticmethod
    def dump(job: Any) -> dict[str, Any]:
        dumped: dict[str, Any] = job.model_dump(mode="json")
        return dumped

    def compile_job(self, generation: int) -> dict[str, Any]:
        digest = rotated_digest(self.job.domain_digest, generation)
        return self.dump(CompileJob(domain=self.job.domain, domain_digest=digest, generation=generation))

    def measure(self, step: str, subject: str, base: PreparedBase, compiled: CompiledDomain) -> Measured:
        """Measures `subject` on core and held-out."""
        return self.measured(self.need(step, "evaluate", lambda: self.evaluate_job(subject, base, compiled)))

    def measured_floor(self, run: Run) -> Measured | None:
        """The floor; None when no baseline fits this output."""
        summary = measurements.find_summary(self.driver.store, run.id)
        return None if summary is None else Measured(summary.subject, run.id, summary)

    def measured(self, run: Run) -> Measured:
        summary = measurements.summary(self.driver.store, run.id)
        return Measured(summary.subject, run.id, summary)

    def challenger(self, iteration: Iteration) -> Measured:
        evaluation_id = iteration.challenger_evaluation
        return Measured(iteration.challenger, evaluation_id, measurements.summary(self.driver.store, evaluation_id))

    def results(self, measured: Measured, split: Split) -> list[ItemResult]:
        return measurements.item_results(self.driver.store, self.driver.artifacts, measured.evaluation_id, split)

    def evaluate_job(self, subject: str, base: PreparedBase, compiled: CompiledDomain) -> dict[str, Any]:
        """The job that measures a subject as every measurement of the loop is made."""
        output, generation = compiled.domain.contract.output, compiled.manifest.generation
        return self.measuring(subject, base, domain=self.job.domain, digest=compiled.digest, output=output, generation=generation)

    def guard_job(self, subject: str, base: PreparedBase, suite: str, digest: str) -> dict[str, Any]:
        """The job that measures a subject on the no-harm suite, whose items are all held out."""
        output = load_domain(self.driver.workspace, suite).contract.output
        return self.measuring(subject, base, domain=suite, digest=digest, output=output, splits=("held_out",))

    def measuring(self, subject: str, base: PreparedBase, *, domain: str, digest: str, output: Output, **how: Any) -> dict[str, Any]:
        job = evaluate_job(
            self.driver.store,
            self.driver.artifacts,
            subject=subject,
            model=self.job.model,
            profile=self.profile,
            base=base,
            domain=domain,
            domain_digest=digest,
            output=output,
            device=self.job.device,
            **how,
        )
        return self.dump(job)

    def curate_job(self, number: int, incumbent: Measured, compiled: CompiledDomain, chosen: Schedule) -> CurateJob:
        found = self.found(incumbent, compiled)
        taught = self.taught(compiled)
        return CurateJob(
            domain_digest=compiled.digest,
            patterns=target_patterns(found.patterns),
            max_rows=chosen.max_rows,
            replay_share=chosen.replay_share,
            seed=self.job.seed + number - 1,
            taught=taught,
            notes=self.teacher_notes(),
        )

    # -- teachers and golden answers ------------------------------------------------------------------------------------------------

    def taught(self, compiled: CompiledDomain) -> TaughtRows | None:
        """The answers of the first teacher that is usable, asking one after the other; None where the labels are taught."""
        for position, known in enumerate(self.job.teachers, start=1):
            floor = self.measured_floor(self.children["0.floor"])
            job = teach_job(
                self.driver.workspace,
                known,
                domain=self.job.domain,
                domain_digest=compiled.digest,
                floor=None if floor is None else floor_bar(floor.evaluation_id, floor.summary),
                seed=self.job.seed,
                device=self.job.device,
            )
            run = self.need(f"0.teach_{position}", "teach", partial(self.dump, job))
            if (rows := taught_rows(self.driver.artifacts, run.output or {})) is not None:
                return rows
        return None

    def teacher_notes(self) -> tuple[str, ...]:
        """What each teacher that was asked is worth, and that labels are taught when none is."""
        outputs = [child.output for step, child in self.children.items() if str(step).startswith("0.teach_") and child.output is not None]
        notes = tuple(teacher_note(output) for output in outputs)
        unused = len(notes) == len(self.job.teachers) > 0 and not any(output["usable"] for output in outputs)
        return (*notes, "No teacher is usable: the labels are taught.") if unused else notes

    def golden_items(self, compiled: CompiledDomain) -> dict[str, str]:
        return curation.golden_items(self.driver.store, compiled.name, compiled.grading_digest, "core")

    def keep_golden(self, number: int, challenger: Measured, compiled: CompiledDomain) -> None:
        """Keeps the faultless core answers of a version that is about to be accepted."""
        curation.keep_golden(
            self.driver.store,
            domain=compiled.name,
            grading=compiled.grading_digest,
            by=challenger.subject,
            results=measurements.results_digest(self.driver.store, challenger.evaluation_id),
            answers=golden_answers(self.results(challenger, "core")),
            key=f"{self.run.id}/{number}.golden",
        )

    def pairs_job(self, number: int, curated: Run, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain) -> PairsJob:
        """The incumbent's answers to the prompts of the curated rows."""
        dataset = str((curated.output or {})["artifacts"]["dataset"])
        subject = incumbent.subject
        return PairsJob(
            domain_digest=compiled.digest,
            dataset=str(self.driver.artifacts.path(dataset)),
            dataset_digest=dataset,
            model=self.job.model,
            profile=self.profile,
            base=base,
            weights=None if subject == BASE else weights_of(self.driver.store, self.driver.artifacts, subject, base),
            subject=subject,
            seed=self.job.seed + number - 1,
            device=self.job.device,
        )

    def train_job(self, curated: Run, plan: TrainPlan, base: PreparedBase, incumbent: str, *, digest: str | None = None) -> TrainJob:
        """The training job. The model server stops first when both do not fit into memory."""
        dataset = str((curated.output or {})["artifacts"]["dataset"])
        if isinstance(self.profile, ModelProfile):
            needed = self.profile.training.memory_gib * MEMORY_FACTORS[plan.method]
            self.driver.servers.stop_for_training(int(needed * 2**30), self.job.device)
        going_on = versions.version(self.driver.store, incumbent).adapter if plan.warm_start else None
        return TrainJob(
            model=self.job.model,
            profile=self.profile,
            base=base,
            dataset=str(self.driver.artifacts.path(dataset)),
            dataset_digest=dataset,
            domain_digest=digest,
            plan=plan,
            warm_start=None if going_on is None else str(self.driver.artifacts.path(going_on)),
            device=self.job.device,
        )

    def merges(self) -> bool:
        return isinstance(self.profile, ModelProfile) and served_as(self.profile, self.job.device) == "merged"

    # -- time ----------------------------------------------------------------------------------------------------------------------

    def step_seconds(self) -> dict[str, float]:
        """Wall time of each finished step, waiting for a worker included."""
        return {
            str(step): seconds_between(child.created_at, child.finished_at) for step, child in self.children.items() if child.finished_at is not None
        }

    def phase_seconds(self) -> dict[str, float]:
        """Wall time by phase, summed over rounds. Steps that ran side by side both count, so the phases can add up to more than `total`."""
        phases: dict[str, float] = {}
        for step, seconds in self.step_seconds().items():
            phase = step.partition(".")[2]
            phases[phase] = round(phases.get(phase, 0.0) + seconds, 3)
        phases["total"] = round(seconds_between(self.run.created_at, self.driver.clock()), 3)
        return phases


def pattern_count(pattern: FailurePattern) -> PatternCount:
    """A pattern as the ledger keeps it."""
    return PatternCount(pattern=pattern.pattern, name=pattern.name, items=pattern.items, share=pattern.share)


def lost_items(before: Sequence[ItemResult], after: Sequence[ItemResult]) -> tuple[str, ...]:
    """Core scenarios that passed before and fail now, at most fifty."""
    passed = {result.scenario_id for result in before if result.outcome == "graded" and result.passed}
    failed = {result.scenario_id for result in after if result.outcome == "graded" and not result.passed}
    return tuple(sorted(passed & failed))[:50]


def changes(before: Sequence[ItemResult], after: Sequence[ItemResult]) -> tuple[PatternCount, ...]:
    """How many fewer items fail for each reason after than before; negative when more do. Largest gain first, at most ten."""
    left = Counter(telling_observation(result) for result in after if result.outcome == "graded" and not result.passed)
    had = Counter(telling_observation(result) for result in before if result.outcome == "graded" and not result.passed)
    graded = sum(result.outcome == "graded" for result in before)
    counted = [
        PatternCount(pattern=pattern_id(kind, detail), name=pattern_name(kind, detail), items=fewer, share=fewer / graded)
        for (kind, detail), items in had.items()
        for fewer in [items - left[kind, detail]]
    ]
    return tuple(sorted(counted, key=lambda count: (-count.items, count.pattern))[:10])
