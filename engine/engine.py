"""The engine as its surfaces see it: one object that owns the store and answers every operation.

Composes the stages: which tables there are, what happens when a run of each kind ends, and who drives an iterate run. Each operation checks
its arguments against what is configured now, then reads rows or submits a run; deciding stays in the stages. The daemon holds one Engine
and calls `tick` ten times a second; everything else is safe to call from many threads.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from engine.base.clock import Clock, seconds_between, utc_now
from engine.base.files import inside
from engine.base.paths import Workspace
from engine.config import Cluster, ClustersFile, DomainFile, EndpointProfile, ModelProfile
from engine.curate import records as curation
from engine.diagnose.facts import Evidence
from engine.diagnose.patterns import diagnose
from engine.diagnose.remedies import relabel_items, relabel_rows, scenario_proposals
from engine.diagnose.taxonomy import TAXONOMY
from engine.diagnose.trends import trends
from engine.diagnose.types import Diagnosis, FailurePattern, RelabelItem, ScenarioProposal, Trend
from engine.errors import ArgumentInvalid, BadInput, NotFound, PathRefused, StateConflict
from engine.evaluate import records as measurements
from engine.evaluate.compile import domain_digest, load_compiled
from engine.evaluate.holdout import climb, in_words, state_of
from engine.evaluate.proposals import records as proposals
from engine.evaluate.report import PatternRow, Rival, render_report
from engine.evaluate.scaffold import scaffold_domain
from engine.evaluate.statistics import MADE_BY, check_comparable, compare, flips, made_otherwise
from engine.evaluate.types import EvaluationSummary, ItemResult, Reported, Split
from engine.fleet.probe import HostProbe, device, probe_local
from engine.generate.jobs import PrepareJob
from engine.generate.plans import derived_argv
from engine.generate.prepared import find_prepared
from engine.generate.servers import ModelServers
from engine.generate.types import ServerStatus
from engine.iterate import records as loop
from engine.iterate.driver import IterateDriver
from engine.iterate.measure import BASE, evaluate_job, weights_of
from engine.iterate.propose import choose_pattern
from engine.iterate.steps import LoopContext
from engine.iterate.teaching import floor_bar, named_teacher, teach_job, teacher_note, teachers_to_ask
from engine.iterate.types import IterateJob
from engine.jobs import records as runs
from engine.jobs.records import ResultHook
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run, RunKind
from engine.loading import domain_names, load_clusters, load_domain, parse_profile, save_model
from engine.proposing import Proposing
from engine.reported import evaluate_output, iterate_output, shown_summary
from engine.store.artifacts import Artifacts
from engine.store.store import StageTables, Store
from engine.train import records as versions
from engine.train.schedule import in_one_line
from engine.views import (
    ClusterLine,
    ComparisonPage,
    DecisionPage,
    DiagnosisPage,
    FailureExample,
    FleetStatus,
    HostLine,
    NextCall,
    OnboardedDomain,
    OnboardedModel,
    PatternLine,
    ProposalPage,
    RunLine,
    RunStatus,
    Score,
    ServerLine,
    StepLine,
)

MAX_ACTIVE = 1000
"""Active runs that a status looks at; it lists the latest of them."""
LISTED_ACTIVE = 20
TEACHER = "teacher:"
"""Begins the subject that names a teacher."""
PROBE_SECONDS = 5.0
"""How long a look at the machine stays good."""


class Engine:
    """Every operation of Modelsmith over one workspace. Made by `open`; exactly one process holds it."""

    def __init__(self, workspace: Workspace, store: Store, clock: Clock) -> None:
        self.workspace = workspace
        self.store = store
        self.clock = clock
        self.artifacts = Artifacts(workspace.artifacts)
        self.servers = ModelServers(workspace)
        self.supervisor = Supervisor(store, self.artifacts, workspace)
        context = LoopContext(store, self.artifacts, workspace, self.supervisor, self.servers, clock)
        self.history = context.history
        self.supervisor.drive("iterate", IterateDriver(context))
        self.proposing = Proposing(workspace, store)
        self.proposing.reconcile()
        self._probe: tuple[float, HostProbe] | None = None

    @classmethod
    def open(cls, workspace: Workspace, clock: Clock = utc_now) -> Engine:
        """Opens the workspace's store. Raises Conflict when another process owns it, StoreDamaged when it cannot be trusted."""
        return cls(workspace, Store.open(workspace, stage_tables(workspace), clock=clock), clock)

    def close(self) -> None:
        """Lets go of the store. Workers and model servers go on."""
        self.store.close()

    def tick(self) -> None:
        """Moves every run on."""
        self.supervisor.tick()

    def clusters(self) -> ClustersFile:
        """clusters.json as it is now."""
        return load_clusters(self.workspace)

    # ---- runs ------------------------------------------------------------------------------------------------------------------------

    def iterate(self, cluster: str, max_iterations: int | None = None, key: str | None = None) -> Run:
        """Submits an iterate run. Raises RunActive when the cluster has one, ArgumentInvalid when its model cannot be trained."""
        file = self.clusters()
        entry = known(file.clusters, cluster, "cluster")
        profile = file.models[entry.model]
        if isinstance(profile, EndpointProfile):
            raise ArgumentInvalid(
                f"cluster {cluster} answers through the endpoint {entry.model}, which cannot be trained",
                next_step="Measure it with evaluate, or give the cluster a managed model profile.",
            )
        budget = file.budgets[entry.budget]
        incumbent = loop.cluster_state(self.store, cluster).incumbent
        if incumbent != BASE:
            weights_of(self.store, self.artifacts, incumbent, find_prepared(self.workspace, entry.model, profile))
        domain = load_domain(self.workspace, entry.domain)
        if domain.data.train is None or domain.data.splits.core == 0:
            lacks = "training rows (data.train)" if domain.data.train is None else "core items to learn from (data.splits.core)"
            raise ArgumentInvalid(
                f"the domain {entry.domain} has no {lacks}; models can only be measured on it",
                next_step=f"Call evaluate(cluster={cluster!r}), or add what is missing to the domain.",
            )
        guard = domain.eval.accept.no_harm
        job = IterateJob(
            domain=entry.domain,
            domain_digest=domain_digest(self.workspace, entry.domain),
            model=entry.model,
            profile=profile.model_dump(mode="json"),
            targets=targets_of(entry),
            budget=budget if max_iterations is None else budget.model_copy(update={"max_iterations": max_iterations}),
            seed=file.defaults.seed,
            device=device(self.probe()),
            incumbent=incumbent,
            rehearse_digest=None if domain.train.rehearse is None else domain_digest(self.workspace, domain.train.rehearse.suite),
            no_harm_digest=None if guard is None else domain_digest(self.workspace, guard.suite),
            teachers=teachers_to_ask(file.models, domain),
        )
        return self.supervisor.submit(
            "iterate",
            cluster=cluster,
            job=job.model_dump(mode="json"),
            arguments={"cluster": cluster, "max_iterations": max_iterations},
            key=key,
            seed=file.defaults.seed,
        )

    def evaluate(
        self,
        cluster: str,
        subject: str = "incumbent",
        splits: Sequence[Split] = ("core", "held_out"),
        structured: bool | None = None,
        key: str | None = None,
    ) -> Run:
        """Submits a measurement of `incumbent`, `base` or a version id; or, of `teacher:<name>`, the asking of a teacher (a run of kind `teach`)."""
        file = self.clusters()
        entry = known(file.clusters, cluster, "cluster")
        profile = file.models[entry.model]
        domain = load_domain(self.workspace, entry.domain)
        if subject.startswith(TEACHER):
            return self._teach(file, cluster, subject, domain, key)
        named = loop.cluster_state(self.store, cluster).incumbent if subject == "incumbent" else subject
        generation = measurements.generation(self.store, entry.domain)
        base = find_prepared(self.workspace, entry.model, profile) if isinstance(profile, ModelProfile) else None
        job = evaluate_job(
            self.store,
            self.artifacts,
            subject=named,
            model=entry.model,
            profile=profile,
            base=base,
            domain=entry.domain,
            domain_digest=domain_digest(self.workspace, entry.domain, generation),
            generation=generation,
            output=domain.contract.output,
            device=device(self.probe()),
            splits=tuple(splits),
            structured=structured,
            targets=targets_of(entry),
        )
        return self.supervisor.submit(
            "evaluate",
            cluster=cluster,
            job=job.model_dump(mode="json"),
            arguments={"cluster": cluster, "subject": subject, "splits": list(splits), "structured": structured},
            key=key,
            seed=file.defaults.seed,
        )

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
            device=device(self.probe()),
        )
        arguments = {"cluster": cluster, "subject": subject}
        return self.supervisor.submit(
            "teach", cluster=cluster, job=job.model_dump(mode="json"), arguments=arguments, key=key, seed=file.defaults.seed
        )

    def run_status(self, run_id: str, wait_seconds: float = 0.0) -> RunStatus:
        """Where a run stands; waits up to `wait_seconds` for its next sign of progress or its end."""
        run = self.supervisor.wait(run_id, wait_seconds) if wait_seconds > 0 else self.supervisor.get(run_id)
        steps = self.supervisor.list(parent=run.id) if run.kind == "iterate" else []
        status = run_status(self._shown(run), steps)
        trained = [step for step in steps if step.kind == "train"]
        if not trained or run.state == "succeeded":  # a finished run has the line in its notes
            return status
        reasons = runs.launch_of(self.store, trained[-1].id).job["plan"]["reasons"]
        line = in_one_line(int(str(trained[-1].step).partition(".")[0]), reasons)
        return status.model_copy(update={"summary": f"{status.summary} {line}"})

    def cancel(self, run_id: str) -> RunStatus:
        """Ends a run; a run that has ended stays as it is."""
        run = self.supervisor.cancel(run_id)
        return run_status(self._shown(run), self.supervisor.list(parent=run.id) if run.kind == "iterate" else [])

    # ---- reading ---------------------------------------------------------------------------------------------------------------------

    def fleet_status(self) -> FleetStatus:
        """Everything at a glance."""
        file = self.clusters()
        active = [run_line(run) for run in self.supervisor.list(states=("queued", "running", "interrupted"), top_level=True, limit=MAX_ACTIVE)]
        recent = [run_line(run) for run in self.supervisor.list(states=("succeeded", "failed", "cancelled"), top_level=True, limit=5)]
        lines = self._cluster_lines(file, active)
        met = sum(line.targets_met is True for line in lines)
        first = next((line for line in lines if self._wants_iterate(file, line)), None)
        following = [NextCall(tool="run_status", arguments={"run_id": active[0].run_id}, why="follow the active run")] if active else []
        if first is not None:
            following.append(NextCall(tool="iterate", arguments={"cluster": first.cluster}, why="specialise this cluster"))
        return FleetStatus(
            summary=f"{len(lines)} clusters, {met} at their targets; {len(active)} active runs.",
            next=tuple(following),
            clusters=lines,
            active_runs=tuple(active[:LISTED_ACTIVE]),
            recent_runs=tuple(recent),
            servers=tuple(server_line(server) for server in self.servers.status()),
            hosts=(host_line("local", self.probe()),),
            runs_total=runs.count(self.store),
            evaluations_total=measurements.count(self.store),
        )

    def diagnose(
        self,
        cluster: str,
        evaluation_id: str | None = None,
        pattern: str | None = None,
        *,
        view: Literal["patterns", "trends", "requests"] = "patterns",
        cursor: str | None = None,
        limit: int = 10,
    ) -> DiagnosisPage:
        """Failure patterns of a measurement's core split; the failed scenarios of one `pattern`; or, by `view`, trends over the cluster's rounds
        and what is asked of people."""
        known(self.clusters().clusters, cluster, "cluster")
        if evaluation_id is None:
            evaluation_id = self._latest_of_incumbent(cluster)
        elif measurements.cluster_of(self.store, evaluation_id) != cluster:
            raise ArgumentInvalid(f"{evaluation_id} is not a measurement of cluster {cluster}", next_step="Name the cluster that it measured.")
        summary = measurements.summary(self.store, evaluation_id)
        results = self._results(evaluation_id, "core")
        evidence = self._evidence(cluster, evaluation_id, results)
        found = diagnose(results, evidence)
        if view == "trends":
            return trends_page(evaluation_id, summary, found, trends(evidence.rounds), offset(cursor), limit)
        if view == "requests":
            return self._requests_page(evaluation_id, summary, found, evidence, offset(cursor), limit)
        if pattern is None:
            return patterns_page(evaluation_id, cluster, summary, found, offset(cursor), limit)
        chosen = next((each for each in found.patterns if each.pattern == pattern), None)
        if chosen is None:
            raise NotFound(
                f"{evaluation_id} has no pattern {pattern[:120]!r}",
                next_step="Use one of: " + ", ".join(each.pattern for each in found.patterns[:10]) + ".",
                patterns=[each.pattern for each in found.patterns[:10]],
            )
        return self._examples_page(evaluation_id, summary, found, chosen, results, offset(cursor), limit)

    def compare(
        self,
        before_evaluation: str,
        after_evaluation: str,
        split: Literal["core", "held_out"] = "held_out",
        metric: Literal["score", "pass_rate"] = "score",
        limit: int = 10,
        cursor: str | None = None,
    ) -> ComparisonPage:
        """Two measurements of one suite, paired. Held-out answers totals only."""
        before, after = (measurements.summary(self.store, each) for each in (before_evaluation, after_evaluation))
        check_comparable(before.identity, after.identity)
        rows_before, rows_after = self._results(before_evaluation, split), self._results(after_evaluation, split)
        differ = made_otherwise(before.identity, after.identity)
        remark = f" They differ in {' and in '.join(MADE_BY[name] for name in differ)} too." if differ else ""
        if split == "held_out" and (kept := self._kept_back(before_evaluation, after_evaluation)) is not None:
            return kept_comparison(before, after, *kept, metric=metric, next_call=self._diagnose_arguments(after_evaluation))
        paired = compare(rows_before, rows_after, split=split, metric=metric, confidence=0.95, seed=self.clusters().defaults.seed)
        moved = flips(rows_before, rows_after, split="core", metric=metric) if split == "core" else []
        start = offset(cursor)
        low, high = paired.difference.low, paired.difference.high
        verdict = "better" if low > 0 else "worse" if high < 0 else "not shown to differ"
        return ComparisonPage(
            summary=(
                f"{after.subject} is {verdict} than {before.subject} on {split}: {paired.before.mean:.3f} -> {paired.after.mean:.3f}, "
                f"difference {paired.difference.mean:+.3f} [{low:+.3f}, {high:+.3f}], n={paired.difference.n}."
            ).replace("not shown to differ than", "not shown to differ from")
            + remark,
            next=(NextCall(tool="diagnose", arguments=self._diagnose_arguments(after_evaluation), why="why the second one still fails"),),
            before=before.subject,
            after=after.subject,
            split=split,
            metric=metric,
            before_score=paired.before,
            after_score=paired.after,
            difference=paired.difference,
            better=paired.better,
            worse=paired.worse,
            mcnemar_p=paired.mcnemar_p,
            detectable_difference=paired.detectable_difference,
            missing=paired.missing,
            flips=tuple(moved[start : start + limit]),
            next_cursor=str(start + limit) if len(moved) > start + limit else None,
        )

    def report(self, evaluation_id: str) -> str:
        """One measurement as a page for people. Failure patterns and flips are of core; of held-out it shows figures only."""
        measured = measurements.summary(self.store, evaluation_id)
        said = self._said(evaluation_id)
        summary = shown_summary(measured, said)
        if said is not None and not summary.splits:
            raise StateConflict(f"{evaluation_id} measured held-out alone, and it is {in_words(said)}", next_step="Measure core, which shows items.")
        run = self.supervisor.get(evaluation_id)
        compiled = load_compiled(self.workspace, measurements.domain_digest_of(self.store, evaluation_id))
        rivals = self._rivals(evaluation_id, summary, str(run.cluster))
        before = next((rival for rival in rivals if rival.summary.subject == BASE), None)
        core = self._results(evaluation_id, "core")
        found = diagnose(core, self._evidence(str(run.cluster), evaluation_id, core))
        base_id = None if before is None or not core else measurements.latest(self.store, str(run.cluster), BASE)
        return render_report(
            title=compiled.domain.title,
            evaluation_id=evaluation_id,
            created_at=run.created_at,
            description=compiled.domain.contract.description,
            summary=summary,
            rivals=rivals,
            patterns=[PatternRow(each.name, each.items, each.share, each.remedy_in_words) for each in found.patterns],
            flips=[] if base_id is None else flips(self._results(base_id, "core"), core, split="core"),
            flips_against="" if base_id is None else BASE,
            structured_effect=measurements.structured_effect(self.store, evaluation_id),
        )

    # ---- scenario proposals ----------------------------------------------------------------------------------------------------------

    def propose_scenario(self, cluster: str, pattern: str | None = None, count: int = 8, key: str | None = None) -> ProposalPage:
        """Drafts variants of the incumbent's failed core scenarios and stages them: of one pattern, or of the largest that survived training."""
        file = self.clusters()
        entry = known(file.clusters, cluster, "cluster")
        evaluation_id = self._latest_of_incumbent(cluster)
        core = self._results(evaluation_id, "core")
        found = diagnose(core, self._evidence(cluster, evaluation_id, core))
        chosen = choose_pattern(found, [one.iteration for one in loop.rounds_of(self.store, cluster)[-2:]])
        if pattern is not None:
            chosen = next((each for each in found.patterns if each.pattern == pattern), None)
        if chosen is None:
            names = [each.pattern for each in found.patterns[:10]]
            raise NotFound(
                f"{evaluation_id} has no such failure pattern" if pattern else f"{evaluation_id} has no failures to vary",
                next_step=f"Use one of: {', '.join(names)}." if names else "Add rows to the domain: what all pass tells nothing apart.",
                patterns=names,
            )
        asked = {"cluster": cluster, "pattern": pattern, "count": count}
        return self.proposing.propose(cluster, entry.domain, evaluation_id, chosen, count=count, seed=file.defaults.seed, asked=asked, key=key)

    def list_proposals(self, cluster: str) -> ProposalPage:
        """Staged scenarios, and how the suite changed since the incumbent was measured."""
        entry = known(self.clusters().clusters, cluster, "cluster")
        measured = measurements.latest(self.store, cluster, loop.cluster_state(self.store, cluster).incumbent)
        digest = None if measured is None else measurements.domain_digest_of(self.store, measured)
        return self.proposing.listing(cluster, entry.domain, digest)

    def decide_scenario(self, cluster: str, ids: Sequence[str], decision: Literal["accept", "decline"], *, by: str, reason: str = "") -> DecisionPage:
        """Accepts or declines proposed scenarios. ApprovalNeeded when an agent asks and the domain has not delegated it."""
        entry = known(self.clusters().clusters, cluster, "cluster")
        return self.proposing.decide(cluster, entry.domain, ids, decision, by=by, reason=reason)

    def _latest_of_incumbent(self, cluster: str) -> str:
        """The newest measurement of what stands. NotFound when there is none."""
        subject = loop.cluster_state(self.store, cluster).incumbent
        evaluation_id = measurements.latest(self.store, cluster, subject)
        if evaluation_id is None:
            raise NotFound(
                f"{subject} of cluster {cluster} has not been measured yet", next_step=f"Call evaluate(cluster={cluster!r}) first.", cluster=cluster
            )
        return evaluation_id

    # ---- onboarding ------------------------------------------------------------------------------------------------------------------

    def onboard_model(self, name: str, profile: dict[str, Any], smoke_test: bool = True, key: str | None = None) -> OnboardedModel:
        """Validates a profile, adds it to clusters.json, and may start a smoke test."""
        parsed = parse_profile(name, profile)
        save_model(self.workspace, name, parsed)
        command: tuple[str, ...] = ()
        if isinstance(parsed, ModelProfile):
            command = derived_argv(self.workspace, name, parsed, device(self.probe()))
        run = None
        if smoke_test:
            job = PrepareJob(model=name, profile=parsed, smoke_question=True, device=device(self.probe()))
            arguments = {"name": name, "profile": profile}
            run = self.supervisor.submit(
                "prepare", cluster=None, job=job.model_dump(mode="json"), arguments=arguments, key=key, seed=self.clusters().defaults.seed
            )
        following = [] if run is None else [NextCall(tool="run_status", arguments={"run_id": run.id, "wait_seconds": 50}, why="the smoke test")]
        return OnboardedModel(
            summary=f"Model {name} ({parsed.title}) is in clusters.json." + ("" if run is None else f" Its smoke test is {run.id}."),
            next=tuple(following),
            model=name,
            serving=command,
            run_id=None if run is None else run.id,
        )

    def onboard_domain(self, name: str, rows_path: str) -> OnboardedDomain:
        """Scaffolds a domain, and a cluster of the same name, from labelled rows inside the workspace."""
        rows = inside(self.workspace.root, rows_path)
        self._refuse_evaluation_rows(rows, rows_path)
        made = scaffold_domain(self.workspace, name, rows)
        return OnboardedDomain(
            summary=f"domains/{name}/ holds {made.train_rows} training and {made.evaluation_rows} evaluation rows; cluster {made.cluster} uses it.",
            next=(NextCall(tool="iterate", arguments={"cluster": made.cluster}, why="specialise it, once domain.yaml reads as you mean it"),),
            domain=name,
            folder=f"domains/{name}",
            train_rows=made.train_rows,
            evaluation_rows=made.evaluation_rows,
            fields=made.fields,
            notes=made.notes,
        )

    def _refuse_evaluation_rows(self, rows: Path, given: str) -> None:
        """A domain made from another's evaluation rows would train on them and show them."""
        taught = {(self.workspace.domains / name / self._training_file(name)).resolve() for name in domain_names(self.workspace)}
        inside_a_domain = rows.is_relative_to(self.workspace.domains.resolve()) and rows not in taught
        if inside_a_domain or rows.is_relative_to(self.workspace.state.resolve()):
            raise PathRefused(
                f"{given[:120]!r} holds evaluation items or state of Modelsmith; as a domain's rows they would be trained on and shown",
                next_step="Give a file with labelled rows of your own.",
                path=given[:200],
            )

    def _training_file(self, domain: str) -> str:
        """A domain's training rows, relative to its folder; empty while it has none or does not load, so that nothing of it is taken."""
        try:
            train = load_domain(self.workspace, domain).data.train
            return "" if train is None else train.path
        except BadInput:
            return ""

    # ---- parts -----------------------------------------------------------------------------------------------------------------------

    def probe(self) -> HostProbe:
        """This machine, looked at every few seconds."""
        now = time.monotonic()
        if self._probe is None or now - self._probe[0] > PROBE_SECONDS:
            self._probe = (now, probe_local(self.workspace.root))
        return self._probe[1]

    def _rivals(self, evaluation_id: str, summary: EvaluationSummary, cluster: str) -> list[Rival]:
        """The base and the floor of the same suite, paired with this measurement on held-out."""
        state = loop.cluster_state(self.store, cluster)
        named = [("base", measurements.latest(self.store, cluster, BASE)), ("floor", state.floor_evaluation)]
        rivals: list[Rival] = []
        for name, other in named:
            if other is None or other == evaluation_id:
                continue
            theirs = measurements.summary(self.store, other)
            if (theirs.identity.suite, theirs.identity.grading) != (summary.identity.suite, summary.identity.grading):
                continue
            shown = any(split.split == "held_out" for split in summary.splits)
            mine, held_out = (self._results(each, "held_out") if shown else [] for each in (evaluation_id, other))
            paired = compare(held_out, mine, split="held_out") if mine and held_out else None
            rivals.append(Rival(name, theirs, paired))
        return rivals

    def _results(self, evaluation_id: str, split: Split) -> list[ItemResult]:
        return measurements.item_results(self.store, self.artifacts, evaluation_id, split)

    def _said(self, evaluation_id: str) -> Reported | None:
        """What the ladder says of a measurement's held-out figures; None where it has none."""
        return self._all_said(evaluation_id).get(evaluation_id)

    def _all_said(self, evaluation_id: str) -> dict[str, Reported]:
        """The same of every measurement of its suite."""
        summary = measurements.find_summary(self.store, evaluation_id)
        found = [] if summary is None else measurements.looks(self.store, summary.identity.suite)
        plain = versions.accepted(self.store) | {look.subject for look in found if look.subject == BASE or look.subject.startswith("floor:")}
        return climb(found, plain)

    def _kept_back(self, *evaluation_ids: str) -> tuple[str, Reported] | None:
        """The last of these measurements whose held-out figures are kept back, with what is said instead."""
        said = ((each, self._said(each)) for each in reversed(evaluation_ids))
        return next(((each, verdict) for each, verdict in said if verdict is not None and not verdict.exact), None)

    def _shown(self, run: Run) -> Run:
        """A run with its output as surfaces show it."""
        if run.output is None or run.kind not in ("evaluate", "iterate"):
            return run
        if run.kind == "evaluate":
            return run.model_copy(update={"output": evaluate_output(run.output, self._said(run.id))})
        rounds = run.output["iterations"]
        said = self._all_said(rounds[-1]["challenger_evaluation"]) if rounds else {}
        return run.model_copy(update={"output": iterate_output(run.output, said)})

    def _diagnose_arguments(self, evaluation_id: str) -> dict[str, Any]:
        return {"cluster": measurements.cluster_of(self.store, evaluation_id), "evaluation_id": evaluation_id}

    def _cluster_lines(self, file: ClustersFile, active: Sequence[RunLine]) -> tuple[ClusterLine, ...]:
        """Every cluster, from three queries however many there are: this is what callers ask most often."""
        states, newest = loop.cluster_states(self.store), measurements.latest_of_all(self.store)
        chosen = {name: states.get(name, loop.UNTOUCHED) for name in file.clusters}
        held_out = {name: state.incumbent_evaluation or newest.get((name, state.incumbent)) for name, state in chosen.items()}
        wanted = {each for name, state in chosen.items() for each in (held_out[name], state.floor_evaluation) if each is not None}
        scores = {each: held_out_score(each, summary) for each, summary in measurements.summaries(self.store, wanted).items()}
        domains = {domain: self._read_domain(domain) for domain in {entry.domain for entry in file.clusters.values()}}
        used = measurements.latest_use(self.store)
        running = {run.cluster: run for run in reversed(active)}
        return tuple(
            cluster_line(
                name,
                entry,
                incumbent=chosen[name].incumbent,
                held_out=scores.get(held_out[name] or ""),
                floor=scores.get(chosen[name].floor_evaluation or ""),
                active_run=running.get(name),
                problem=found if isinstance(found := domains[entry.domain], str) else "",
                held_out_looks="" if isinstance(found, str) or name not in used else looks_in_words(found, used[name]),
            )
            for name, entry in file.clusters.items()
        )

    @staticmethod
    def _wants_iterate(file: ClustersFile, line: ClusterLine) -> bool:
        """Whether an iterate run of this cluster could start now and has something to reach."""
        trainable = not isinstance(file.models[file.clusters[line.cluster].model], EndpointProfile)
        return trainable and not (line.active_run or line.problem or line.targets_met)

    def _read_domain(self, domain: str) -> DomainFile | str:
        """A domain, or why it does not load."""
        try:
            return load_domain(self.workspace, domain)
        except BadInput as error:
            return error.message

    def _evidence(self, cluster: str, evaluation_id: str, core: Sequence[ItemResult]) -> Evidence:
        """What is known across measurements; nothing when the compiled domain, which is a cache, is no longer there."""
        try:
            compiled = load_compiled(self.workspace, measurements.domain_digest_of(self.store, evaluation_id))
        except NotFound:
            return Evidence()
        return self.history.evidence(compiled, cluster, evaluation_id, core)

    def _requests_page(
        self, evaluation_id: str, summary: EvaluationSummary, found: Diagnosis, evidence: Evidence, start: int, limit: int
    ) -> DiagnosisPage:
        """Labels that people should look at again, and scenarios that are wanted."""
        compiled = load_compiled(self.workspace, measurements.domain_digest_of(self.store, evaluation_id))
        scenarios = {scenario.id: scenario for scenario in compiled.of_split("core")}
        doubted = relabel_items(tuple(evidence.facts), evidence.facts, scenarios)
        rows = relabel_rows(self.history.conflicts(compiled))
        wanted = scenario_proposals(found.patterns)
        return lines_page(
            f"{len(doubted)} core labels and {len(rows)} training labels are in doubt; {len(wanted)} patterns want more scenarios.",
            evaluation_id,
            summary,
            found,
            [*(asked("relabel_request", each) for each in (*doubted, *rows)), *(asked("scenario_proposal", each) for each in wanted)],
            start,
            limit,
        )

    def _examples_page(
        self,
        evaluation_id: str,
        summary: EvaluationSummary,
        found: Diagnosis,
        pattern: FailurePattern,
        results: Sequence[ItemResult],
        start: int,
        limit: int,
    ) -> DiagnosisPage:
        compiled = load_compiled(self.workspace, measurements.domain_digest_of(self.store, evaluation_id))
        scenarios = {scenario.id: scenario for scenario in compiled.scenarios if scenario.split == "core"}
        by_id = {result.scenario_id: result for result in results}
        page = pattern.scenario_ids[start : start + limit]
        return DiagnosisPage(
            summary=f"{pattern.name}: {pattern.items} of {found.failed} failures. {TAXONOMY[pattern.failure_class].runbook}",
            evaluation_id=evaluation_id,
            subject=summary.subject,
            failed=found.failed,
            graded=found.graded,
            plan=None if pattern.plan is None else pattern.plan.model_dump(mode="json"),
            examples=tuple(
                FailureExample(
                    scenario_id=each,
                    score=by_id[each].score,
                    input=scenarios[each].input,
                    expected=scenarios[each].expected,
                    answer=by_id[each].answer,
                    observations=by_id[each].observations,
                )
                for each in page
            ),
            next_cursor=str(start + limit) if pattern.items > start + limit else None,
        )


# ---- views of records ------------------------------------------------------------------------------------------------------------------


def stage_tables(workspace: Workspace) -> tuple[StageTables, ...]:
    """The tables and reducers of every stage, and what happens when a run of each kind ends: what a store of this workspace is opened with."""
    artifacts = Artifacts(workspace.artifacts)
    hooks: dict[RunKind, ResultHook] = {
        "evaluate": partial(measurements.ingest_evaluation, artifacts),
        "floor": partial(measurements.ingest_floor, artifacts),
        "curate": curation.ingest_curation,
        "pairs": curation.ingest_pairs,
        "teach": partial(curation.ingest_teaching, artifacts),
        "train": versions.ingest_training,
    }
    return (runs.tables(hooks), measurements.TABLES, proposals.TABLES, curation.TABLES, versions.TABLES, loop.TABLES)


def known(entries: dict[str, Any], name: str, what: str) -> Any:
    """`entries[name]`, or NotFound listing the names there are."""
    if name not in entries:
        names = ", ".join(sorted(entries)) or "none yet"
        raise NotFound(f"there is no {what} {name[:96]!r} in clusters.json", next_step=f"Use one of: {names}.", known=sorted(entries))
    return entries[name]


def offset(cursor: str | None) -> int:
    """The position that a page cursor stands for."""
    if cursor is None:
        return 0
    if not cursor.isdecimal() or len(cursor) > 9:
        raise ArgumentInvalid(f"{cursor[:40]!r} is not a cursor", next_step="Pass the next_cursor of an earlier page, or leave it out.")
    return int(cursor)


def targets_of(entry: Cluster) -> dict[str, float]:
    """A cluster's targets by the name of their metric."""
    return {str(metric): value for metric, value in entry.targets.items()}


def cluster_line(
    name: str,
    entry: Cluster,
    *,
    incumbent: str,
    held_out: Score | None,
    floor: Score | None,
    active_run: RunLine | None,
    problem: str,
    held_out_looks: str = "",
) -> ClusterLine:
    """A cluster in a list."""
    means = {} if held_out is None else {"score": held_out.score.mean, "pass_rate": held_out.pass_rate.mean}
    targets = targets_of(entry)
    return ClusterLine(
        cluster=name,
        domain=entry.domain,
        model=entry.model,
        incumbent=incumbent,
        held_out=held_out,
        floor=floor,
        targets=targets,
        targets_met=all(means[metric] >= value for metric, value in targets.items()) if targets and means else None,
        active_run=active_run,
        problem=problem,
        held_out_looks=held_out_looks,
    )


def looks_in_words(domain: DomainFile, use: measurements.Use) -> str:
    """`5 of 26 used`, with the generation after a rotation."""
    state = state_of(
        domain.data.splits, generation=use.generation, sources=use.sources, looks=use.looks, exposed=use.exposed, reserve=0
    )
    rotated = f", generation {use.generation}" if use.generation else ""
    return f"{use.looks} of {state.budget} used{rotated}{': spent' if state.spent else ''}"


def kept_comparison(
    before: EvaluationSummary,
    after: EvaluationSummary,
    evaluation_id: str,
    said: Reported,
    *,
    metric: Literal["score", "pass_rate"],
    next_call: dict[str, Any],
) -> ComparisonPage:
    """A comparison on held-out whose figures are kept back."""
    return ComparisonPage(
        summary=f"{evaluation_id} on held-out is {in_words(said)}. Compare core, which shows figures and items.",
        next=(NextCall(tool="diagnose", arguments=next_call, why="why the second one still fails"),),
        before=before.subject,
        after=after.subject,
        split="held_out",
        metric=metric,
        missing=0,
    )


def held_out_score(evaluation_id: str, summary: EvaluationSummary) -> Score | None:
    """A measurement's held-out figures, if it has any."""
    held_out = next((split for split in summary.splits if split.split == "held_out"), None)
    if held_out is None:
        return None
    return Score(subject=summary.subject, evaluation_id=evaluation_id, score=held_out.score, pass_rate=held_out.pass_rate)


def run_line(run: Run) -> RunLine:
    """A run in a list."""
    return RunLine(run_id=run.id, kind=run.kind, cluster=run.cluster, state=run.state, created_at=run.created_at, progress=progress_words(run))


def progress_words(run: Run) -> str:
    """Phase, step and ETA in words; empty when nothing is known."""
    progress = run.progress
    if progress is None or run.finished_at is not None:
        return ""
    words = progress.phase
    if progress.step is not None and progress.total:
        words += f" {progress.step}/{progress.total}"
    if progress.eta_seconds is not None:
        words += f", about {progress.eta_seconds:.0f} s left"
    return words


def run_status(run: Run, children: Sequence[Run]) -> RunStatus:
    """A run with its steps. An iterate run shows the progress of the step that is at work."""
    steps = tuple(
        StepLine(
            step=str(child.step),
            run_id=child.id,
            state=child.state,
            seconds=None if child.finished_at is None else round(seconds_between(child.created_at, child.finished_at), 1),
            progress=child.progress if child.finished_at is None else None,
        )
        for child in children
    )
    working = next((step for step in reversed(steps) if step.state in ("running", "interrupted")), None)
    progress = run.progress
    if working is not None and working.progress is not None and run.finished_at is None:
        progress = working.progress.model_copy(update={"phase": f"{working.step}: {working.progress.phase}"})
    return RunStatus(
        summary=status_sentence(run, working),
        next=next_calls(run),
        run_id=run.id,
        kind=run.kind,
        cluster=run.cluster,
        state=run.state,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        progress=progress,
        steps=steps,
        output=run.output,
        error=run.error,
    )


def status_sentence(run: Run, working: StepLine | None) -> str:
    """A run's state in a sentence."""
    what = f"{run.id} ({run.kind}{f' on {run.cluster}' if run.cluster else ''})"
    if run.error is not None:
        return f"{what} {run.state}: {run.error.message}"
    if run.state == "succeeded" and run.kind == "iterate" and run.output is not None:
        final = run.output["final"]
        accepted = ", ".join(run.output["accepted"]) or "no challenger"
        return f"{what} is done: {accepted} accepted; {final['subject']} answers, held-out score {final['score']['mean']:.3f}."
    if run.state == "succeeded" and run.kind == "teach" and run.output is not None:
        return f"{what} is done. {teacher_note(run.output)}"
    if working is not None:
        return f"{what} is {run.state}, at step {working.step}."
    return f"{what} is {run.state}."


def next_calls(run: Run) -> tuple[NextCall, ...]:
    """What makes sense after looking at a run."""
    if run.finished_at is None:
        return (NextCall(tool="run_status", arguments={"run_id": run.id, "wait_seconds": 50}, why="wait for it"),)
    if run.state == "succeeded" and run.kind in ("iterate", "evaluate") and run.cluster:
        return (NextCall(tool="diagnose", arguments={"cluster": run.cluster}, why="what still fails"),)
    if run.state in ("failed", "cancelled") and run.kind == "iterate" and run.cluster:
        return (NextCall(tool="iterate", arguments={"cluster": run.cluster}, why="again; finished measurements come from the cache"),)
    return ()


def server_line(server: ServerStatus) -> ServerLine:
    """A model server in a list."""
    return ServerLine.model_validate(server.model_dump() | {"answers_as": server.answers_as[:12]})


def host_line(name: str, probe: HostProbe) -> HostLine:
    """A machine in a list."""
    return HostLine(
        host=name,
        cores=probe.cores,
        memory_bytes=probe.memory_bytes,
        memory_available_bytes=probe.memory_available_bytes,
        disk_free_bytes=probe.disk_free_bytes,
        gpus=tuple(f"{gpu.name} ({gpu.memory_bytes / 2**30:.0f} GiB)" for gpu in probe.gpus),
    )


def patterns_page(evaluation_id: str, cluster: str, summary: EvaluationSummary, found: Diagnosis, start: int, limit: int) -> DiagnosisPage:
    """A page of failure patterns."""
    page = found.patterns[start : start + limit]
    largest = f" The largest pattern: {found.patterns[0].name} ({found.patterns[0].items})." if found.patterns else ""
    following = [
        NextCall(
            tool="diagnose",
            arguments={"cluster": cluster, "evaluation_id": evaluation_id, "pattern": pattern.pattern},
            why=f"the {pattern.items} scenarios of this pattern",
        )
        for pattern in page[:1]
    ]
    following.append(NextCall(tool="iterate", arguments={"cluster": cluster}, why="train on these patterns"))
    return DiagnosisPage(
        summary=f"{summary.subject} fails {found.failed} of {found.graded} core scenarios, in {len(found.patterns)} patterns.{largest}",
        next=tuple(following),
        evaluation_id=evaluation_id,
        subject=summary.subject,
        failed=found.failed,
        graded=found.graded,
        patterns=tuple(
            PatternLine(
                pattern=pattern.pattern,
                name=pattern.name,
                items=pattern.items,
                share=pattern.share,
                failure_class=pattern.failure_class,
                confidence=round(pattern.confidence, 2),
                trend=pattern.trend,
                remedy=pattern.remedy_in_words,
                gain="" if pattern.gain is None else pattern.gain.words,
                examples=pattern.scenario_ids[:3],
            )
            for pattern in page
        ),
        next_cursor=str(start + limit) if len(found.patterns) > start + limit else None,
    )


def trends_page(
    evaluation_id: str, summary: EvaluationSummary, found: Diagnosis, over_time: Sequence[Trend], start: int, limit: int
) -> DiagnosisPage:
    """A page of patterns over a cluster's rounds: what came back and what never moved first."""
    rounds = len(over_time[0].items) - 1 if over_time else 0
    counts = Counter(trend.verdict for trend in over_time)
    told = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in sorted(counts.items()))
    sentence = f"{len(over_time)} patterns over {rounds} rounds: {told}." if over_time else "No round on this suite has been recorded yet."
    return lines_page(sentence, evaluation_id, summary, found, [trend.model_dump(mode="json") for trend in over_time], start, limit)


def lines_page(
    sentence: str, evaluation_id: str, summary: EvaluationSummary, found: Diagnosis, lines: Sequence[dict[str, Any]], start: int, limit: int
) -> DiagnosisPage:
    """A page of another view of a diagnosis."""
    return DiagnosisPage(
        summary=sentence,
        evaluation_id=evaluation_id,
        subject=summary.subject,
        failed=found.failed,
        graded=found.graded,
        lines=tuple(lines[start : start + limit]),
        next_cursor=str(start + limit) if len(lines) > start + limit else None,
    )


def asked(what: str, request: RelabelItem | ScenarioProposal) -> dict[str, Any]:
    """A request to people as a line of a page."""
    return {"request": what} | {name: value for name, value in request.model_dump(mode="json").items() if name != "kind"}
