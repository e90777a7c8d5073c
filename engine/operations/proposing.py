"""Scenario proposals as an operation: drafts from a measurement's failures, a decision on them, and the suite that follows.

Drafting and sifting are pure (`engine/evaluate/proposals/`); here they meet the store, the compiled domain and the domain's folder. A domain that is
not compiled as it is now is compiled in this call: about a second for 2,000 training rows and 900 items.

Who may decide: a person, over the command line or REST; an agent (whoever comes over MCP, named `agent:...`) only where the domain says
`eval.expansion.accept: delegated`. A person's name is taken as given: until there are signatures, a program with this user's rights can claim one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any, Literal

from engine.base.paths import Workspace
from engine.curate.draft_jobs import DraftJob
from engine.errors import ApprovalNeeded, ModelsmithError, NotFound, StateConflict
from engine.evaluate import records as measurements
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest, load_compiled
from engine.evaluate.proposals import records
from engine.evaluate.proposals.drafting import Surroundings, clashes, is_valid
from engine.evaluate.proposals.expansion import write_expansion
from engine.evaluate.proposals.suites import suite_diff
from engine.evaluate.proposals.types import TEACHER, Draft, Dropped, Proposal, ProposalState
from engine.fleet.machine import Machine
from engine.iterate import records as loop
from engine.iterate.propose import draft_for, for_a_teacher
from engine.iterate.teaching import draft_job, drafters
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run
from engine.loading import load_clusters
from engine.operations.diagnosing import FailureDiagnosing
from engine.operations.named import named_cluster
from engine.showing.proposals import diff_in_words, proposal_page
from engine.store.store import Store
from engine.views import DecisionPage, NextCall, ProposalPage

AGENT = "agent:"
"""How the names of deciders begin that are no person."""
PAGE = 8
ALONE = "Drafts come from transformations alone: captured inputs do not draft yet, and only a teacher that is found usable rewords training rows."


class Proposing:
    """The operations, over one workspace."""

    def __init__(self, workspace: Workspace, store: Store, supervisor: Supervisor, diagnosing: FailureDiagnosing, machine: Machine) -> None:
        self.workspace = workspace
        self.store = store
        self.supervisor = supervisor
        self.diagnosing = diagnosing
        self.machine = machine
        self._writing = threading.Lock()

    def reconcile(self) -> None:
        """Brings every domain's expansion file in line with the journal, after a start: the last decision may not have reached it.

        A file that cannot be written does not keep the daemon from starting; the next operation on its domain says so.
        """
        for domain in records.domains(self.store):
            with contextlib.suppress(ModelsmithError):
                self._write(domain)

    def current(self, domain: str) -> CompiledDomain:
        """The domain as its folder is now, with the held-out set that is used now."""
        generation = measurements.generation(self.store, domain)
        return compile_domain(self.workspace, domain, domain_digest(self.workspace, domain, generation), generation)

    def propose(self, cluster: str, pattern: str | None, count: int, key: str | None) -> ProposalPage:
        """Drafts variants of a pattern's scenarios and stages the sound ones. Where a teacher is usable it is asked for some of them, in a run that
        stages them when it ends."""
        file = load_clusters(self.workspace)
        domain = named_cluster(file, cluster).domain
        evaluation_id, varied = self.diagnosing.pattern_to_vary(cluster, pattern)
        self._write(domain)
        compiled = self.current(domain)
        job = draft_job(
            self.workspace,
            self.store,
            drafters(file.models, compiled.domain),
            compiled,
            varied,
            evaluation_id=evaluation_id,
            count=for_a_teacher(count),
            seed=file.defaults.seed,
            device=self.machine.device(),
        )
        own = count - (0 if job is None else job.count)
        chosen, dropped = draft_for(self.store, compiled, varied, count=own, seed=file.defaults.seed)
        staged: tuple[str, ...] = ()
        asked = {"cluster": cluster, "pattern": pattern, "count": count}
        if chosen or (key is not None and self.store.answer_of(key) is not None):
            staged, dropped = records.stage(
                self.store, domain=domain, cluster=cluster, evaluation_id=evaluation_id, drafts=chosen, dropped=dropped, asked=asked, key=key
            )
        new = records.named(self.store, domain, staged)
        why = "" if new else " Nothing that is left of this pattern is new, valid and clear of the other items."
        run = None if job is None else self._ask(cluster, job, asked, key)
        rest = ALONE if run is None else f"A teacher rewords training rows about it in {run.id}, which stages its drafts."
        page = self._page(cluster, domain, f"Staged {len(new)} drafts for {varied.name}.{why} {rest}", shown=new, dropped=dropped, decide=new)
        if run is None:
            return page
        following = NextCall(tool="run_status", arguments={"run_id": run.id, "wait_seconds": 50}, why="what the teacher drafts")
        return page.model_copy(update={"next": (*page.next, following)})

    def listing(self, cluster: str) -> ProposalPage:
        """What has waited longest for a decision, and how the suite changed since the incumbent was measured. A decision brings up the next."""
        domain = self._domain_of(cluster)
        measured = measurements.latest(self.store, cluster, loop.cluster_state(self.store, cluster).incumbent)
        self._write(domain)
        waiting = records.proposals(self.store, domain, ("staged",))
        shown = waiting[:PAGE]
        part = "" if len(waiting) <= PAGE else f"; the oldest {PAGE} are shown"
        summary = f"{len(waiting)} proposed scenarios of {domain} wait for a decision{part}."
        return self._page(cluster, domain, summary + self._since(domain, measured), shown=shown, decide=shown)

    def decide(self, cluster: str, ids: Sequence[str], decision: Literal["accept", "decline"], *, by: str, reason: str) -> DecisionPage:
        """Accepts or declines proposals, all or none; accepting makes them core scenarios of the expansion layer."""
        domain = self._domain_of(cluster)
        chosen = records.named(self.store, domain, sorted(set(ids)))
        before = self.current(domain)
        refuse_agent(by, before)
        state: ProposalState = "accepted" if decision == "accept" else "declined"
        turning = [proposal for proposal in chosen if proposal.state != state]
        if state == "accepted":
            self._refuse_unsound(before, [proposal.draft for proposal in turning])
        if turning:
            seen = {proposal.draft.id: proposal.state for proposal in turning}
            records.decide(self.store, domain=domain, seen=seen, state=state, by=by, reason=reason)
        self._write(domain)
        diff = suite_diff(before, self.current(domain))
        summary = f"{state.capitalize()} {len(turning)} of {len(chosen)} proposals ({len(chosen) - len(turning)} were already)."
        if diff.before != diff.after:
            summary += f" The suite of {domain} is another version now: {diff.before[:12]} -> {diff.after[:12]}; measure again to compare."
        page = self._page(cluster, domain, summary, shown=records.named(self.store, domain, [each.draft.id for each in chosen]))
        following = (NextCall(tool="evaluate", arguments={"cluster": cluster}, why="measure on the suite as it is now"),)
        return DecisionPage(**dict(page) | {"suite": diff, "next": following if diff.before != diff.after else ()})

    # ---- parts -----------------------------------------------------------------------------------------------------------------------

    def _ask(self, cluster: str, job: DraftJob, asked: dict[str, Any], key: str | None) -> Run:
        """Submits the run in which a teacher drafts; under a key that comes again, the run that it made."""
        key = None if key is None else f"{key}/draft"
        return self.supervisor.submit("draft", cluster=cluster, job=job.model_dump(mode="json"), arguments=asked, key=key, seed=job.seed)

    def _domain_of(self, cluster: str) -> str:
        return named_cluster(load_clusters(self.workspace), cluster).domain

    @staticmethod
    def _refuse_unsound(compiled: CompiledDomain, drafts: Sequence[Draft]) -> None:
        """Raises StateConflict when the suite, the pool or the contract has changed so that a draft is no longer sound. Names no other item."""
        around = Surroundings(compiled.kept_apart, compiled.pool, (), compiled.domain.data.near_duplicate)
        kept_back, known = clashes(drafts, around)
        near = kept_back | known
        unsound = [draft.id for draft in drafts if draft.id in near or not has_parent(compiled, draft) or not is_valid(compiled.domain, draft)]
        if unsound:
            raise StateConflict(
                f"{', '.join(unsound[:5])}: the domain has changed since, and these no longer fit: near another item, broken by the output schema, "
                "or varying what is not there any more",
                next_step="Decline them; propose_scenario drafts new ones.",
                proposals=unsound[:20],
            )

    def _write(self, domain: str) -> None:
        """Brings the file in line. What was decided is read inside the lock, so that of two decisions at once the later write has both."""
        with self._writing:
            write_expansion(self.workspace, domain, records.proposals(self.store, domain))

    def _since(self, domain: str, evaluation_id: str | None) -> str:
        """How the suite changed since a measurement, in words; nothing when it did not, or what was measured is not kept any more."""
        if evaluation_id is None:
            return ""
        digest = measurements.domain_digest_of(self.store, evaluation_id)
        try:
            return diff_in_words(suite_diff(load_compiled(self.workspace, digest), self.current(domain)))
        except NotFound:
            return ""

    def _page(
        self,
        cluster: str,
        domain: str,
        summary: str,
        *,
        shown: Sequence[Proposal],
        dropped: Dropped | None = None,
        decide: Sequence[Proposal] = (),
    ) -> ProposalPage:
        rates = records.origin_rates(self.store, domain)
        return proposal_page(cluster, domain, summary, rates, shown=shown, dropped=dropped, decide=decide)


def has_parent(compiled: CompiledDomain, draft: Draft) -> bool:
    """Whether what a draft varies is still there: a core scenario; of a teacher's draft, a training row, or one that left the pool because another
    rewording of it was accepted."""
    if not draft.origin.startswith(TEACHER):
        return any(scenario.id == draft.parent for scenario in compiled.of_split("core"))
    reworded = {scenario.source for scenario in compiled.scenarios if scenario.layer == "expansion"}
    return draft.source in reworded or any(row.id == draft.parent for row in compiled.pool)


def refuse_agent(by: str, compiled: CompiledDomain) -> None:
    """Raises ApprovalNeeded when an agent decides and the domain has not delegated that. Absence of permission means no."""
    if by.startswith(AGENT) and compiled.domain.eval.expansion.accept != "delegated":
        raise ApprovalNeeded(
            f"scenarios of {compiled.name} are accepted and declined by a person (eval.expansion.accept is {compiled.domain.eval.expansion.accept})",
            next_step="Ask a person to run `modelsmith decide-scenario`. Only the domain's owner may delegate this, in domain.yaml.",
        )

