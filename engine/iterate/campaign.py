"""One iterate run, from what is recorded to its next step: prepare, measure, rounds, verdicts, and the output at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from engine.curate import records as curation
from engine.curate.golden import few_shot, golden_answers, lost_golden, read_golden
from engine.curate.jobs import CurateJob, RehearseJob, RowLosses
from engine.curate.select import target_patterns
from engine.curate.types import TaughtRows
from engine.diagnose.jobs import TryCheapJob, TryCheapOutput
from engine.diagnose.patterns import diagnose
from engine.diagnose.taxonomy import pattern_id, pattern_name, telling_observation
from engine.diagnose.try_cheap import plan_trials
from engine.diagnose.types import CheapTrial, Diagnosis, FailurePattern
from engine.errors import NotFound
from engine.evaluate import records as measurements
from engine.evaluate.canaries import is_contaminated, refuse_contaminated
from engine.evaluate.compile import CompiledDomain, rotated_digest
from engine.evaluate.jobs import CompileJob, EarlyStop, FloorJob
from engine.evaluate.statistics import check_comparable, check_same_making
from engine.evaluate.types import AnchorScore, HeldOutState, ItemResult
from engine.generate.jobs import PrepareJob
from engine.generate.prepared import find_prepared
from engine.generate.types import PreparedBase
from engine.iterate import records
from engine.iterate.clauses import canaries_clause, no_harm_clause, rolled_back_clause
from engine.iterate.decide import Outcome, decide, refuse_early, stop_reason, with_clause
from engine.iterate.held_out import anchor_score, held_out_items, held_out_notes, held_out_state, must_stop, rotation_reason
from engine.iterate.measure import BASE, early_stop
from engine.iterate.methods import method_of
from engine.iterate.propose import LOOP_DRAFTS, PERSISTENT_ROUNDS, for_a_teacher, lasting_patterns, stage_after_run
from engine.iterate.scheduling import noted
from engine.iterate.steps import LoopContext, Measured, Steps, Waiting
from engine.iterate.summary import final_score, iterate_output, refused_score, tried_note
from engine.iterate.teaching import draft_job, draft_note, floor_bar, taught_rows, teach_job, teacher_note
from engine.iterate.training import RoundTraining
from engine.iterate.types import Clause, Decision, Iteration, PatternCount, RefusedScore
from engine.jobs import records as runs
from engine.jobs.types import Run
from engine.train import records as versions
from engine.train.types import Schedule, TrainPlan


class Campaign(Steps):
    """An iterate run as it stands: its steps and its ledger."""

    def __init__(self, context: LoopContext, run: Run) -> None:
        super().__init__(context, run)
        self.ledger = records.iterations(context.store, run.id)

    def proceed(self) -> None:
        """Goes on from what is recorded until a step has to be waited for or the run is finished."""
        base, compiled = self.prepare()
        floor_run = self.need("0.floor", "floor", lambda: self.dump(FloorJob(domain_digest=compiled.digest, splits=("core", "held_out"))))
        floor = self.measured_floor(floor_run)
        measured_base = self.measure("0.measure_base", BASE, base, compiled)
        incumbent = self.incumbent(measured_base, base, compiled)
        tried = self.try_cheap(1, incumbent, base, compiled) if self.measures_only() else ()
        while (reason := self.stop_reason(incumbent, compiled)) is None:
            self.refuse_other_incumbent(incumbent)
            incumbent = self.play_round(incumbent, floor, base, compiled)
        self.finish(reason, measured_base, floor, incumbent, compiled, tried)

    def measures_only(self) -> bool:
        """Whether this run was asked to train nothing: it says whether training is worth it (`engine/atlas/triage.py`)."""
        return self.job.budget.max_iterations == 0

    def prepare(self) -> tuple[PreparedBase, CompiledDomain]:
        """The base model and the compiled domain, made side by side; the model server starts as soon as the base is there."""
        base = find_prepared(self.context.workspace, self.job.model, self.profile)
        if base is None:
            self.prepare_base()
        elif "0.measure_base" not in self.children:
            self.context.servers.warm(self.job.model, self.profile, base, self.job.device)
        compiling = self.start("0.compile", "compile", lambda: self.compile_job(measurements.generation(self.context.store, self.job.domain)))
        if compiling is None or base is None:
            raise Waiting
        return base, self.fresh(self.context.compiled((compiling.output or {})["domain_digest"]))

    def prepare_base(self) -> None:
        """Has the base prepared; once more where it is gone since, as it is when its bytes had changed and making it again was cut short."""
        for step in ("0.prepare", "0.prepare_again"):
            job = PrepareJob(model=self.job.model, profile=self.profile, device=self.job.device)
            if self.start(step, "prepare", partial(self.dump, job)) is None:
                return
        raise NotFound(
            f"the base of model {self.job.model} was prepared twice in this run, and is gone",
            next_step="Find what removes files under .modelsmith/models, then start the run again.",
        )

    def fresh(self, compiled: CompiledDomain) -> CompiledDomain:
        """The domain with its held-out set rotated, when that was spent as this run began; else as it is."""
        if "0.rotate" not in self.children:
            reason = None if "0.floor" in self.children else rotation_reason(self.held_out(compiled))
            if reason is None:
                return compiled
            generation = measurements.rotate_held_out(
                self.context.store,
                domain=self.job.domain,
                generation=compiled.manifest.generation,
                cluster=str(self.run.cluster),
                suite=compiled.suite_digest,
                actor=self.run.id,
                reason=reason,
            )
            self.start("0.rotate", "compile", lambda: self.compile_job(generation))
        rotated = self.need("0.rotate", "compile", lambda: self.compile_job(0))
        return self.context.compiled((rotated.output or {})["domain_digest"])

    def held_out(self, compiled: CompiledDomain) -> HeldOutState:
        """Where the held-out set stands now."""
        return held_out_state(compiled, *measurements.wear(self.context.store, held_out_items(compiled)))

    def incumbent(self, measured_base: Measured, base: PreparedBase, compiled: CompiledDomain) -> Measured:
        """The version to beat: of the last round, or of the cluster when the run began. LeakageFound when nothing can be compared with it."""
        if self.ledger:
            last = self.ledger[-1]
            accepted = last.decision.verdict == "accept"
            subject = last.challenger if accepted else last.incumbent
            evaluation_id = last.challenger_evaluation if accepted else last.incumbent_evaluation
            return Measured(subject, evaluation_id, measurements.summary(self.context.store, evaluation_id))
        if self.job.incumbent == BASE:
            return measured_base
        measured = self.measure("1.measure_incumbent", self.job.incumbent, base, compiled)
        refuse_contaminated(measured.summary)
        return measured

    def refuse_other_incumbent(self, incumbent: Measured) -> None:
        """Raises StateConflict before a round that could not be recorded: a rollback may have given the cluster another incumbent meanwhile."""
        number, cluster = len(self.ledger) + 1, str(self.run.cluster)
        if f"{number}.curate" not in self.children:
            stands = records.cluster_state(self.context.store, cluster).incumbent
            records.refuse_other_incumbent(cluster, f"round {number} of {self.run.id}", incumbent.subject, stands)

    def play_round(self, incumbent: Measured, floor: Measured | None, base: PreparedBase, compiled: CompiledDomain) -> Measured:
        """One round, from the incumbent's failures to the decision; returns the incumbent after it."""
        number = len(self.ledger) + 1
        tried = self.try_cheap(number, incumbent, base, compiled)
        training = RoundTraining(self, number, incumbent, base, compiled)
        chosen = training.schedule()
        curated = self.need(
            f"{number}.curate", "curate", lambda: self.dump(self.curate_job(number, incumbent, compiled, chosen)), schedule=self.dump(chosen)
        )
        rows = int((curated.output or {})["rows"])
        trained, chosen, plan = training.train(chosen, curated)
        version = versions.version_of_run(self.context.store, trained.id)
        until = partial(self.early_stop, incumbent, floor, compiled)
        challenger = self.measure(f"{number}.measure_challenger", version.id, base, compiled, until)
        iteration = self.judge(number, incumbent, challenger, floor, base, compiled, rows, plan)
        metric = compiled.domain.eval.accept.metric
        iteration = noted(iteration, chosen, trained.output or {}, incumbent.summary, challenger.summary, metric)
        iteration = iteration.model_copy(update={"tried": tried, "aimed": self.aimed(incumbent, compiled, curated)})
        if iteration.decision.verdict == "accept":
            self.keep_golden(number, challenger, compiled)
        records.record_iteration(self.context.store, self.run.id, str(self.run.cluster), iteration)
        self.ledger = (*self.ledger, iteration)
        return challenger if iteration.decision.verdict == "accept" else incumbent

    def try_cheap(self, number: int, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain) -> tuple[CheapTrial, ...]:
        """What cheap remedies buy the base, measured once before the first training and after the teachers were asked, whose golden answers are
        the examples. A trial that failed costs the run nothing but the time."""
        if number != 1 or incumbent.subject != BASE:
            return ()
        if "1.try_cheap" not in self.children:
            if "1.curate" in self.children:  # there was nothing to try
                return ()
            self.taught(compiled)
            job = self.trial_job(incumbent, base, compiled)
            if job is None:
                return ()
            self.start("1.try_cheap", "try_cheap", lambda: self.dump(job))
        child = self.children["1.try_cheap"]
        if child.state == "failed":
            return ()
        finished = self.need("1.try_cheap", "try_cheap", dict)
        output = {name: value for name, value in (finished.output or {}).items() if name != "artifacts"}
        return TryCheapOutput.model_validate(output).trials

    def trial_job(self, incumbent: Measured, base: PreparedBase, compiled: CompiledDomain) -> TryCheapJob | None:
        """The trials worth making."""
        store, artifacts = self.context.store, self.context.artifacts
        kept = curation.golden_to_teach(store, artifacts, compiled.name, compiled.grading_digest)
        golden = [] if kept is None else few_shot(read_golden(compiled, kept.sources), compiled.domain.diagnose.examples)
        return plan_trials(
            compiled,
            model=self.job.model,
            profile=self.profile,
            base=base,
            device=self.job.device,
            schema_effect_known=measurements.structured_effect(store, incumbent.evaluation_id) is not None,
            golden=golden,
            golden_version=None if kept is None else kept.version,
        )

    def found(self, incumbent: Measured, compiled: CompiledDomain) -> Diagnosis:
        """The incumbent's failures, with what is known across measurements."""
        core = self.results(incumbent, "core")
        return diagnose(core, self.context.history.evidence(compiled, str(self.run.cluster), incumbent.evaluation_id, core))

    def aimed(self, incumbent: Measured, compiled: CompiledDomain, curated: Run) -> dict[str, int]:
        """Training rows aimed at each of the incumbent's patterns."""
        output = curated.output or {}
        given = {str(name): int(count) for name, count in output["per_pattern"].items() if count}
        targets = target_patterns(self.found(incumbent, compiled).patterns)
        return {target.pattern: int(output["rows"]) for target in targets if not target.labels and not target.fields} | given

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
        decision = self.decision(incumbent, challenger, floor, compiled, lost_items(failures, left))
        if compiled.canaries:
            decision = with_clause(decision, canaries_clause(len(compiled.canaries), challenger.summary.canaries))
        if since := self.context.rolled_back_since(str(self.run.cluster), challenger.subject):
            decision = with_clause(decision, rolled_back_clause(challenger.subject, since))
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
            stopped_early=challenger.summary.stopped_early,
            seconds={step.partition(".")[2]: seconds for step, seconds in self.step_seconds().items() if step.startswith(f"{number}.")},
        )

    def decision(
        self, incumbent: Measured, challenger: Measured, floor: Measured | None, compiled: CompiledDomain, regressions: Sequence[str]
    ) -> Decision:
        """The verdict of the gate; where the challenger's measurement stopped early, that it is refused and why."""
        acceptance, stopped = compiled.domain.eval.accept, challenger.summary.stopped_early
        held_out: dict[str, Any] = {
            "incumbent": self.results(incumbent, "held_out"),
            "challenger": self.results(challenger, "held_out"),
            "floor": None if floor is None else self.results(floor, "held_out"),
        }
        judged: dict[str, Any] = {"seed": self.job.seed, "attempt": self.attempt(compiled), "regressions": regressions}
        if stopped is not None:
            return refuse_early(acceptance, stopped, **held_out, **judged)
        return decide(acceptance, slices=compiled.domain.eval.slices, stability=incumbent.summary.stability, **held_out, **judged)

    def attempt(self, compiled: CompiledDomain) -> int:
        """Which challenger of this cluster the one at hand is on these held-out items."""
        return 1 + records.attempts(self.context.store, str(self.run.cluster), compiled.suite_digest)

    def early_stop(self, incumbent: Measured, floor: Measured | None, compiled: CompiledDomain) -> EarlyStop | None:
        """What the next challenger is judged against, so that its measurement may stop early; None where the domain wants all items asked."""
        if not compiled.domain.eval.early_stop:
            return None
        return early_stop(
            self.context.store,
            self.context.artifacts,
            compiled.domain.eval.accept,
            incumbent=incumbent.evaluation_id,
            floor=None if floor is None else floor.evaluation_id,
            attempt=self.attempt(compiled),
            seed=self.job.seed,
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
            elapsed_seconds=self.elapsed_seconds(),
        )
        begun = f"{len(self.ledger) + 1}.curate" in self.children  # a round that was begun is judged, whatever its own look used up
        if reason is None and not begun and must_stop(compiled.domain.data.splits, self.held_out(compiled)):
            return "held_out_spent"
        return reason

    def finish(
        self,
        outcome: Outcome,
        base: Measured,
        floor: Measured | None,
        final: Measured,
        compiled: CompiledDomain,
        tried: Sequence[CheapTrial] = (),
    ) -> None:
        """Stages drafts, then writes the run's output. `tried`: cheap remedies that no round's ledger row has."""
        drafted = self.stage_drafts(final, compiled)
        sound = [each for each in map(self.challenger, self.ledger) if not is_contaminated(each.summary.canaries)]
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
            challengers=[final_score(each.evaluation_id, each.summary) for each in sound if each.summary.stopped_early is None],
            refused=self.refused_scores(sound, compiled),
            held_out={evaluation_id: self.results(measured, "held_out") for evaluation_id, measured in named.items()},
            final_summary=final.summary,
            iterations=self.ledger,
            seconds=self.phase_seconds(),
            structured_effect=measurements.structured_effect(self.context.store, final.evaluation_id),
        )
        state, anchors = self.held_out(compiled), self.anchors(compiled, base, final)
        notes = held_out_notes(compiled.domain.data.splits, state, "0.rotate" in self.children, anchors)
        output = output.model_copy(
            update={"held_out_use": state, "anchor": anchors, "notes": (*tried_note(tried), *output.notes, *notes, *self.teacher_notes(), *drafted)}
        )
        self.context.supervisor.finish_driver(self.run, state="succeeded", output=output.model_dump(mode="json"))

    def refused_scores(self, challengers: Sequence[Measured], compiled: CompiledDomain) -> list[RefusedScore]:
        """What is known of those whose measurement stopped early."""
        metric = compiled.domain.eval.accept.metric
        against = {row.challenger_evaluation: row.incumbent_evaluation for row in self.ledger}
        found = []
        for each in challengers:
            if (stopped := each.summary.stopped_early) is not None:
                before = measurements.summary(self.context.store, against[each.evaluation_id])
                found.append(refused_score(metric, each.evaluation_id, each.summary, stopped, before))
        return found

    def stage_drafts(self, final: Measured, compiled: CompiledDomain) -> tuple[str, ...]:
        """Stages drafts for the largest pattern that training did not move: a usable teacher's first, then variants by transformation. Says what the
        teacher did."""
        rounds = [one.iteration for one in records.rounds_of(self.context.store, str(self.run.cluster))[-PERSISTENT_ROUNDS:]]
        lasting = lasting_patterns(self.found(final, compiled), rounds)
        if not lasting:
            return ()
        asked = self.drafted(lasting[0], final, compiled)
        output = None if asked is None else asked.output
        stage_after_run(
            self.context.store,
            compiled,
            lasting[0],
            count=LOOP_DRAFTS - (0 if output is None else len(output["drafts"])),
            run_id=self.run.id,
            cluster=str(self.run.cluster),
            evaluation_id=final.evaluation_id,
            seed=self.job.seed,
        )
        if asked is not None and asked.error is not None:
            return (f"The teacher that was asked for new scenarios gave none: {asked.error.message}",)
        return () if output is None else (draft_note(output),)

    def drafted(self, pattern: FailurePattern, final: Measured, compiled: CompiledDomain) -> Run | None:
        """The ended run in which a usable teacher rewords training rows about a pattern; None where there is none to ask. One that failed costs the
        run nothing but the time."""
        if "0.draft" not in self.children:
            job = draft_job(
                self.context.workspace,
                self.context.store,
                self.job.drafters,
                compiled,
                pattern,
                evaluation_id=final.evaluation_id,
                count=for_a_teacher(LOOP_DRAFTS),
                seed=self.job.seed,
                device=self.job.device,
            )
            if job is None:
                return None
            self.start("0.draft", "draft", lambda: self.dump(job))
        child = self.children["0.draft"]
        return child if child.state == "failed" else self.need("0.draft", "draft", dict)

    def anchors(self, compiled: CompiledDomain, base: Measured, final: Measured) -> tuple[AnchorScore, ...]:
        """Base and incumbent on the items that stayed through the rotation, where they were measured before it."""
        found: list[AnchorScore | None] = []
        for measured in {each.subject: each for each in (base, final)}.values():
            manifest = compiled.manifest
            earlier = measurements.look_before(self.context.store, str(self.run.cluster), measured.subject, manifest.generation)
            if earlier is not None:
                before = measurements.item_results(self.context.store, self.context.artifacts, earlier, "held_out")
                now = self.results(measured, "held_out")
                found.append(anchor_score(compiled.domain.eval.accept, measured.subject, manifest.anchor, before, now))
        return tuple(each for each in found if each is not None)

    def compile_job(self, generation: int) -> dict[str, Any]:
        digest = rotated_digest(self.job.domain_digest, generation)
        return self.dump(CompileJob(domain=self.job.domain, domain_digest=digest, generation=generation))

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
            rehearse=self.rehearsal(compiled, chosen),
            judged_by=self.judges() if compiled.domain.train.doubtful == "set_aside" else (),
        )

    def judges(self) -> tuple[RowLosses, ...]:
        """What earlier supervised trainings made of the training rows, oldest first: the incumbent's from before this run, and each round's."""
        began_with = () if self.job.incumbent == BASE else (self.job.incumbent,)
        trained = dict.fromkeys([*began_with, *(row.challenger for row in self.ledger)])
        made_by = [versions.version(self.context.store, version).run_id for version in trained]
        outputs = [runs.get(self.context.store, run_id).output or {} for run_id in made_by]
        found = [output["artifacts"]["row_losses"] for output in outputs if "row_losses" in output.get("artifacts", {})]
        return tuple(RowLosses(path=str(self.context.artifacts.path(digest)), digest=digest) for digest in found)

    def rehearsal(self, compiled: CompiledDomain, chosen: Schedule) -> RehearseJob | None:
        """What is rehearsed besides the domain's own rows, as it was when the run was accepted. SFT only: rewards and pairs are of this domain."""
        wanted = compiled.domain.train.rehearse
        if wanted is None or self.job.rehearse_digest is None or method_of(compiled.domain.train, chosen) != "sft":
            return None
        return RehearseJob(domain=wanted.suite, domain_digest=self.job.rehearse_digest, share=wanted.share)

    def taught(self, compiled: CompiledDomain) -> TaughtRows | None:
        """The answers of the first teacher that is usable, asking one after the other; None where the labels are taught."""
        for position, known in enumerate(self.job.teachers, start=1):
            floor = self.measured_floor(self.children["0.floor"])
            job = teach_job(
                self.context.workspace,
                known,
                domain=self.job.domain,
                domain_digest=compiled.digest,
                floor=None if floor is None else floor_bar(floor.evaluation_id, floor.summary),
                seed=self.job.seed,
                device=self.job.device,
            )
            run = self.need(f"0.teach_{position}", "teach", partial(self.dump, job))
            if (rows := taught_rows(self.context.artifacts, run.output or {})) is not None:
                return rows
        return None

    def teacher_notes(self) -> tuple[str, ...]:
        """What each teacher that was asked is worth, and that labels are taught when none is."""
        outputs = [child.output for step, child in self.children.items() if str(step).startswith("0.teach_") and child.output is not None]
        notes = tuple(teacher_note(output) for output in outputs)
        unused = len(notes) == len(self.job.teachers) > 0 and not any(output["usable"] for output in outputs)
        return (*notes, "No teacher is usable: the labels are taught.") if unused else notes

    def golden_items(self, compiled: CompiledDomain) -> dict[str, str]:
        return curation.golden_items(self.context.store, compiled.name, compiled.grading_digest, "core")

    def keep_golden(self, number: int, challenger: Measured, compiled: CompiledDomain) -> None:
        """Keeps the faultless core answers of a version that is about to be accepted."""
        curation.keep_golden(
            self.context.store,
            domain=compiled.name,
            grading=compiled.grading_digest,
            by=challenger.subject,
            results=measurements.results_digest(self.context.store, challenger.evaluation_id),
            answers=golden_answers(self.results(challenger, "core")),
            key=f"{self.run.id}/{number}.golden",
        )


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
