"""The engine as its surfaces see it: one object that owns the store and answers every operation.

Composes the stages: which tables there are, what happens when a run of each kind ends, and who drives an iterate run. What an operation does is
in `engine/operations`, in a collaborator for each group of them; what it answers is put together in `engine/showing` out of the records in
`engine/views/`. The daemon holds one Engine and calls `tick` ten times a second; everything else is safe to call from many threads.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from engine.atlas import records as decisions
from engine.atlas.knobs import LabKnobs
from engine.atlas.records import DecisionRecord
from engine.atlas.types import Constraints, Deployment, Export, Order, ScoreWeights, Situation, Wanted
from engine.base.clock import Clock, utc_now
from engine.base.paths import Workspace
from engine.config import ClustersFile, ServedMeasurement
from engine.curate import records as curation
from engine.diagnose.types import FailureClass
from engine.escalate import records as escalation
from engine.escalate.governed import learned_classes
from engine.escalate.redaction import Redaction
from engine.escalate.types import Severity, ToCheck
from engine.evaluate import records as measurements
from engine.evaluate.proposals import records as proposals
from engine.evaluate.types import Split
from engine.fleet.machine import Machine
from engine.generate.servers import ModelServers
from engine.iterate import records as loop
from engine.iterate.driver import IterateDriver
from engine.iterate.steps import LoopContext
from engine.jobs import records as runs
from engine.jobs.records import ResultHook
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run, RunKind
from engine.loading import load_clusters
from engine.operations.cataloguing import Cataloguing
from engine.operations.comparing import Comparing
from engine.operations.diagnosing import FailureDiagnosing
from engine.operations.escalating import Asked, Escalating
from engine.operations.evidencing import Evidencing
from engine.operations.experimenting import Experimenting
from engine.operations.exporting import Exporting
from engine.operations.following import Following
from engine.operations.furnishing import Furnishing
from engine.operations.onboarding import Onboarding
from engine.operations.overview import Overview
from engine.operations.planning import Planning
from engine.operations.promoting import MakeEvidence, Promoting, Signing
from engine.operations.proposing import Proposing
from engine.operations.recording import Recording
from engine.operations.rolling_back import RollingBack
from engine.operations.submitting import Submitting
from engine.operations.triaging import Triaging
from engine.operations.watching import TABLES as WATCHDOG
from engine.operations.watching import Watching
from engine.promote import records as promotions
from engine.promote.approvals.approvers_file import named_list
from engine.promote.approvals.signing import ListedSignatures
from engine.promote.evidence import records as evidence
from engine.promote.package import records as packages
from engine.serve.production import Production
from engine.store.artifacts import Artifacts
from engine.store.store import StageTables, Store
from engine.train import records as versions
from engine.views import (
    ApprovalsPage,
    ComparisonPage,
    DecisionPage,
    DiagnosisPage,
    EscalationPage,
    EvidencePage,
    FleetStatus,
    OnboardedDomain,
    OnboardedModel,
    PromotionPage,
    ProposalPage,
    RollbackPage,
    RunStatus,
    SigningPage,
    WatchPage,
)
from engine.views.atlas import DecisionHistory, ImportedModel, ModelsPage, PlanPage, RecordedMeasurement, TriagePage
from engine.views.furnishings import AcceleratorsPage, AtlasChoices, ExerciseLine
from engine.views.lab import LabPage


class Engine:
    """Every operation of Modelsmith over one workspace. Made by `open`; exactly one process holds it."""

    def __init__(
        self, workspace: Workspace, store: Store, clock: Clock, signing: Signing | None = None, evidence: MakeEvidence | None = None
    ) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = Artifacts(workspace.artifacts)
        self.servers = ModelServers(workspace)
        self.supervisor = Supervisor(store, self.artifacts, workspace)
        context = LoopContext(
            store,
            self.artifacts,
            workspace,
            self.supervisor,
            self.servers,
            clock,
            rolled_back_since=partial(promotions.rolled_back_since, store),
            learned=partial(classes_learned, store),
        )
        self.supervisor.drive("iterate", IterateDriver(context))
        machine = Machine(workspace.root)
        listed = ListedSignatures(partial(named_list, workspace), lambda: [*promotions.approvals(store), *escalation.approvals(store)])
        self.production = Production(workspace, store, self.artifacts, self.servers, machine)
        self._evidencing = Evidencing(workspace, store, self.artifacts, clock)
        self._exporting = Exporting(workspace, store, self.artifacts, self.supervisor, machine, self._evidencing.of)
        self._promoting = Promoting(
            workspace, store, clock, signing or listed, evidence or self._evidencing.of, self._exporting.anew, self.production.prove
        )
        self._rolling_back = RollingBack(workspace, store, self.artifacts, self.production, clock)
        self._overview = Overview(workspace, store, self.supervisor, self.servers, machine, self._promoting)
        self._submitting = Submitting(workspace, store, self.artifacts, self.supervisor, machine)
        self._following = Following(store, self.supervisor)
        self._diagnosing = FailureDiagnosing(workspace, store, self.artifacts, context.history)
        self._escalating = Escalating(
            workspace, store, self.artifacts, self.supervisor, self._diagnosing, signing or listed, clock, redaction_here(workspace)
        )
        self._comparing = Comparing(workspace, store, self.artifacts, self._diagnosing)
        self._proposing = Proposing(workspace, store, self.supervisor, self._diagnosing, machine)
        self._proposing.reconcile()
        self._watching = Watching(store, self.supervisor, self.servers)
        self._onboarding = Onboarding(workspace, self.supervisor, machine)
        self._cataloguing = Cataloguing(workspace)
        self._planning = Planning(workspace)
        self._recording = Recording(store)
        self._triaging = Triaging(workspace, store, self.artifacts, self.supervisor)
        self._experimenting = Experimenting(workspace)
        self._furnishing = Furnishing(workspace)

    @classmethod
    def open(
        cls, workspace: Workspace, clock: Clock = utc_now, signing: Signing | None = None, evidence: MakeEvidence | None = None
    ) -> Engine:
        """Opens the workspace's store. Raises Conflict when another process owns it, StoreDamaged when it cannot be trusted.

        `signing` stands in for the approver list that is configured, and `evidence` for the bundle that each promotion request names.
        """
        return cls(workspace, Store.open(workspace, stage_tables(workspace), clock=clock), clock, signing, evidence)

    def close(self) -> None:
        """Lets go of the store. Workers and model servers go on."""
        self.production.release()
        self.store.close()

    def tick(self) -> None:
        """Moves every run on, and rolls back what a cluster's policy says."""
        self.supervisor.tick()
        self._rolling_back.watch()
        self._watching.look()

    def clusters(self) -> ClustersFile:
        """clusters.json as it is now."""
        return load_clusters(self.workspace)

    def fleet_status(self) -> FleetStatus:
        """Everything at a glance."""
        return self._overview.fleet_status()

    def watchdog(self) -> WatchPage:
        """What heals by itself: each check's state, since when, and what was done last."""
        return self._watching.page()

    # ---- runs ------------------------------------------------------------------------------------------------------------------------

    def iterate(self, cluster: str, max_iterations: int | None = None, key: str | None = None) -> Run:
        """Submits an iterate run. Raises RunActive when the cluster has one, ArgumentInvalid when its model cannot be trained."""
        return self._submitting.iterate(cluster, max_iterations, key)

    def evaluate(
        self,
        cluster: str,
        subject: str = "incumbent",
        splits: Sequence[Split] = ("core", "held_out"),
        structured: bool | None = None,
        key: str | None = None,
    ) -> Run:
        """Submits a measurement of `incumbent`, `base` or a version id; or, of `teacher:<name>`, the asking of a teacher (a run of kind `teach`)."""
        return self._submitting.evaluate(cluster, subject, splits, structured, key)

    def run_status(self, run_id: str, wait_seconds: float = 0.0) -> RunStatus:
        """Where a run stands; waits up to `wait_seconds` for its next sign of progress or its end."""
        return self._following.status(run_id, wait_seconds)

    def cancel(self, run_id: str) -> RunStatus:
        """Ends a run; a run that has ended stays as it is."""
        return self._following.cancel(run_id)

    # ---- measurements ----------------------------------------------------------------------------------------------------------------

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
        return self._diagnosing.diagnose(cluster, evaluation_id, pattern, view=view, cursor=cursor, limit=limit)

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
        return self._comparing.compare(before_evaluation, after_evaluation, split=split, metric=metric, limit=limit, cursor=cursor)

    def report(self, evaluation_id: str) -> str:
        """One measurement as a page for people. Failure patterns and flips are of core; of held-out it shows figures only."""
        return self._comparing.report(evaluation_id)

    # ---- scenario proposals ----------------------------------------------------------------------------------------------------------

    def propose_scenario(self, cluster: str, pattern: str | None = None, count: int = 8, key: str | None = None) -> ProposalPage:
        """Drafts variants of the incumbent's failed core scenarios and stages them: of one pattern, or of the largest that survived training."""
        return self._proposing.propose(cluster, pattern, count, key)

    def list_proposals(self, cluster: str) -> ProposalPage:
        """Staged scenarios, and how the suite changed since the incumbent was measured."""
        return self._proposing.listing(cluster)

    def decide_scenario(self, cluster: str, ids: Sequence[str], decision: Literal["accept", "decline"], *, by: str, reason: str = "") -> DecisionPage:
        """Accepts or declines proposed scenarios. ApprovalNeeded when an agent asks and the domain has not delegated it."""
        return self._proposing.decide(cluster, ids, decision, by=by, reason=reason)

    # ---- promotion -------------------------------------------------------------------------------------------------------------------

    def promote(self, cluster: str, version: str | None = None, to: str | None = None, *, by: str, reason: str = "") -> PromotionPage:
        """Moves a version along its cluster's chain, says what keeps a gate closed, or makes the request that people sign."""
        return self._promoting.promote(cluster, version, to, by=by, reason=reason)

    def approvals(self, cluster: str | None = None, request: str | None = None, *, waiting: bool = True, limit: int = 5) -> ApprovalsPage:
        """Promotion requests, or one in full."""
        return self._promoting.approvals(cluster, request, waiting=waiting, limit=limit)

    def approve_promotion(self, request: str, signature: str, *, by: str) -> PromotionPage:
        """Takes in a person's signature. One that does not count is refused, and the attempt is in the log."""
        return self._promoting.approve(request, signature, by=by)

    def signing_page(self, request: str) -> SigningPage:
        """A request for the page on which a passkey signs."""
        return self._promoting.signing_page(request)

    def evidence_page(self, evidence: str) -> str:
        """The page of the evidence with this digest, as HTML."""
        return self._evidencing.page(evidence)

    def rollback(self, cluster: str, to: str | None = None, *, drill: bool = False, by: str, reason: str = "") -> RollbackPage:
        """Lets the version that served before answer again, proved by fingerprint; a drill goes back at once."""
        return self._rolling_back.rollback(cluster, to, drill=drill, by=by, reason=reason)

    def evidence(self, cluster: str, version: str | None = None) -> EvidencePage:
        """The signed bundle of an accepted version, made now if it was not made before."""
        return self._evidencing.evidence(cluster, version)

    def export(self, cluster: str, version: str | None = None, key: str | None = None) -> Run:
        """Submits the making of a version's package: its forms, each held against what was evaluated, with card, evidence and signatures."""
        return self._exporting.export(cluster, version, key)

    # ---- escalations -----------------------------------------------------------------------------------------------------------------

    def escalate_what_failed(self) -> None:
        """Opens escalations for what ended badly since the last look, and brings their folders up to the store. May take seconds; called from a
        thread of its own every few seconds."""
        self._escalating.scan()

    def escalations(self, escalation: str | None = None, *, closed: bool = False, limit: int = 10) -> EscalationPage:
        """Escalations, or one with what is known of it."""
        return self._escalating.escalations(escalation, closed=closed, limit=limit)

    def escalate(
        self, problem: str, cluster: str | None, run_id: str | None, severity: Severity, check: Mapping[str, Any] | None, *, by: str
    ) -> EscalationPage:
        """Opens an escalation for what somebody noticed, or adds to the one that is there."""
        return self._escalating.escalate(problem, cluster, run_id, severity, check, by=by)

    def resolve_escalation(self, escalation: str, action: Asked, change: Mapping[str, Any] | None, *, by: str, reason: str) -> EscalationPage:
        """Proposes a fix, says that it was made, closes, or reopens. Nobody approves with this."""
        return self._escalating.resolve(escalation, action, change, by=by, reason=reason)

    def approve_fix(self, escalation: str, signature: str, *, by: str) -> EscalationPage:
        """Takes in a person's signature on a fix. One that does not count is refused, and the attempt is in the log."""
        return self._escalating.approve(escalation, signature, by=by)

    def check_to_make(self, escalation: str) -> ToCheck:
        """The resolution check of an escalation, to be made by whoever can call tools."""
        return self._escalating.to_check(escalation)

    def checking(self, escalation: str, run_id: str) -> EscalationPage:
        """An escalation whose check has started a run that goes on."""
        return self._escalating.checking(escalation, run_id)

    def judge_check(self, escalation: str, made: ToCheck, answer: Mapping[str, Any], *, by: str) -> EscalationPage:
        """Takes in what a check answered."""
        return self._escalating.judge(escalation, made, answer, by=by)

    # ---- the atlas -------------------------------------------------------------------------------------------------------------------

    def search_models(
        self,
        wanted: Wanted,
        where: Deployment,
        *,
        fitting: bool = False,
        order: Order = "parameters",
        compare: Sequence[str] = (),
        cursor: str | None = None,
        limit: int = 10,
    ) -> ModelsPage:
        """Models of the atlas that are as wanted, with what they take `where` they are to run; those in `compare` side by side."""
        return self._cataloguing.search(wanted, where, fitting=fitting, order=order, compare=compare, cursor=cursor, limit=limit)

    def plan_deployment(
        self,
        wanted: Constraints,
        weights: ScoreWeights = ScoreWeights(),  # noqa: B008 - a tuple
        export: Export | None = None,
        *,
        cursor: str | None = None,
        limit: int = 3,
    ) -> PlanPage:
        """Configurations that do what is wanted, best first; with `export`, the file that starts one."""
        return self._planning.plan(wanted, weights, export, cursor=cursor, limit=limit)

    def triage_tuning(self, cluster: str | None = None, situation: Situation = Situation()) -> TriagePage:  # noqa: B008 - a tuple
        """Whether to train: by what was measured of a cluster, or, without one, by rules about the situation."""
        return self._triaging.triage(cluster, situation)

    def record_decision(self, question: str, arguments: dict[str, Any], answer: dict[str, Any], *, note: str, by: str) -> DecisionHistory:
        """Keeps what a tool answered to a question about models, hardware or training."""
        return self._recording.record(question, arguments, answer, note=note, by=by)

    def note_decision(self, decision: str, *, note: str, by: str) -> DecisionHistory:
        """Adds a note to a decision that is kept."""
        return self._recording.note(decision, note=note, by=by)

    def decision(self, name: str) -> DecisionRecord:
        """A decision as it is kept."""
        return self._recording.decision(name)

    def decision_history(self, cursor: str | None, limit: int) -> DecisionHistory:
        """Decisions that are kept, newest first."""
        return self._recording.history(cursor, limit)

    def shown_decision(self, name: str, now: dict[str, Any] | None, against: str | None) -> DecisionHistory:
        """One of them in full, held against what its question is answered now, or against another."""
        return self._recording.shown(name, now, against)

    def record_measurement(self, measurement: ServedMeasurement) -> RecordedMeasurement:
        """Adds a measurement of one's own to atlas.json, which corrects the estimates of its setting."""
        return self._cataloguing.record(measurement)

    def import_model(self, name: str, path: str | None, revision: str | None) -> ImportedModel:
        """Adds a model to atlas.json from its files in the workspace, or on the hub."""
        return self._cataloguing.import_model(name, path, revision)

    def physics_lab(self, knobs: LabKnobs) -> LabPage:
        """All that follows for one model on one accelerator, under these knobs."""
        return self._experimenting.lab(knobs)

    def accelerators(self) -> AcceleratorsPage:
        """All accelerators of the atlas, with their prices."""
        return self._furnishing.accelerators()

    def atlas_choices(self) -> AtlasChoices:
        """What occurs in the atlas, for whoever fills in a form."""
        return self._furnishing.choices()

    def atlas_exercises(self, names: Sequence[str], models: Sequence[str], where: Deployment, given: Mapping[str, str]) -> tuple[ExerciseLine, ...]:
        """Exercises about these models there, each with what came of it where `given` holds an answer."""
        return self._furnishing.exercises(names, models, where, given)

    # ---- onboarding ------------------------------------------------------------------------------------------------------------------

    def onboard_model(self, name: str, profile: dict[str, Any], smoke_test: bool = True, key: str | None = None) -> OnboardedModel:
        """Validates a profile, adds it to clusters.json, and may start a smoke test."""
        return self._onboarding.model(name, profile, smoke_test, key)

    def onboard_domain(self, name: str, rows_path: str) -> OnboardedDomain:
        """Scaffolds a domain, and a cluster of the same name, from labelled rows inside the workspace."""
        return self._onboarding.domain(name, rows_path)


def stage_tables(workspace: Workspace) -> tuple[StageTables, ...]:
    """The tables and reducers of every stage, and what happens when a run of each kind ends: what a store of this workspace is opened with."""
    artifacts = Artifacts(workspace.artifacts)
    hooks: dict[RunKind, ResultHook] = {
        "evaluate": partial(measurements.ingest_evaluation, artifacts),
        "floor": partial(measurements.ingest_floor, artifacts),
        "curate": curation.ingest_curation,
        "pairs": curation.ingest_pairs,
        "teach": partial(curation.ingest_teaching, artifacts),
        "draft": proposals.ingest_drafts,
        "train": versions.ingest_training,
        "export": packages.ingest_export,
    }
    judging = (loop.tables(promotions.ingest_verdict), promotions.TABLES, evidence.TABLES, packages.TABLES, escalation.TABLES, decisions.TABLES)
    return (runs.tables(hooks), measurements.TABLES, proposals.TABLES, curation.TABLES, versions.TABLES, *judging, WATCHDOG)


def classes_learned(store: Store) -> dict[str, FailureClass]:
    """The classes that rules made of escalations give to failure patterns which no observation explains."""
    return learned_classes(escalation.rules(store))


def redaction_here(workspace: Workspace) -> Redaction:
    """What is kept out of escalations on this machine: its names, and the values of its secret variables."""
    code = Path(__file__).resolve().parents[1]
    places = {str(workspace.root): "<workspace>", str(code): "<modelsmith>", str(Path.home()): "<home>", socket.gethostname(): "<host>"}
    return Redaction(places, os.environ)
