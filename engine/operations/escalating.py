"""Escalations as operations: looking into what ended, opening by hand, and the way from a proposal to the close.

`scan` looks into each ended run once, in the order of their ends, and may be stopped anywhere: what it found is one command, and the run counts as
looked into in the same one. Evidence is stored before that command names it. The folders come after: one that is missing or behind, because the
power went or somebody edited it, is written again from the store at the next look.

A fix is made by whoever applies it, in the files; here it is compared with what was proposed and approved. Only a rule of the taxonomy is made here.
The resolution check is a call of a tool, so the surface makes it (`tools/escalate.py`); here it is judged.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from engine.base.clock import Clock, hours_after
from engine.base.digests import digest_of, file_sha256, sha256_hex
from engine.base.files import inside
from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid, BadInput, Conflict, Integrity, ModelsmithError, NotFound, StateConflict, StoreFailed
from engine.escalate import records
from engine.escalate.evidence import of_pattern_files, of_run_files
from engine.escalate.folder import REPORT, folder_of, is_whole, record_digest, write_folder
from engine.escalate.governed import is_governed, is_recognisable, recognises, setting_of, unmade
from engine.escalate.lifecycle import step_of
from engine.escalate.opening import Gathered, by_hand, failed_step, new_patterns, of_pattern, of_run
from engine.escalate.redaction import Redaction
from engine.escalate.reproduction import succeeds
from engine.escalate.resolution import unmet
from engine.escalate.types import (
    Action,
    Change,
    ConfigurationChange,
    DataChange,
    Escalation,
    EvidenceFile,
    Fix,
    FixRequest,
    Opening,
    PlanChange,
    ResolutionCheck,
    ScenarioChange,
    Severity,
    TaxonomyRule,
    ToCheck,
)
from engine.evaluate.proposals import records as proposals
from engine.iterate.types import IterateOutput
from engine.jobs import records as runs
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run
from engine.loading import load_clusters, load_domain
from engine.operations.diagnosing import FailureDiagnosing
from engine.operations.named import named_cluster
from engine.operations.signatures import Signatures
from engine.promote import records as promotions
from engine.promote.types import Approval
from engine.showing.escalations import escalation_page, escalations_page
from engine.store.artifacts import Artifacts
from engine.store.events import events_of
from engine.store.store import Store
from engine.views import EscalationPage

Asked = Literal["propose", "apply", "close", "reopen"]
CHANGE: TypeAdapter[Change] = TypeAdapter(Change)
BATCH = 50
EXAMPLES = 5
REQUEST_HOURS = 72.0
RULES = "escalation-fix@v1"
"""What a request for a signature on a fix stands under; another set of rules has another name."""

logger = logging.getLogger(__name__)


class Escalating:
    """The operations, over one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        artifacts: Artifacts,
        supervisor: Supervisor,
        diagnosing: FailureDiagnosing,
        signing: Signatures,
        clock: Clock,
        redaction: Redaction,
    ) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self.supervisor = supervisor
        self.diagnosing = diagnosing
        self.signing = signing
        self.clock = clock
        self.redaction = redaction
        self._scanning = threading.Lock()
        self._writing = threading.Lock()
        self._seen = 0
        """The command up to which ended runs were looked into since this start."""
        self._deferred: set[str] = set()
        """Runs that could not be looked into, and are tried again at each look."""
        self._written: dict[str, str] = {}
        """By escalation, the record that its folder was last found or written with."""

    # ---- looking into what ended -----------------------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Escalates what failed since the last look, and brings every folder up to the store. Called every few seconds."""
        with self._scanning:
            for run_id in sorted(self._deferred):
                self._look_into(run_id)
            while found := runs.ended(self.store, self._seen, BATCH):
                new = set(records.not_looked_into(self.store, [each.run_id for each in found]))
                for each in found:
                    if each.run_id in new:
                        self._look_into(each.run_id)
                    self._seen = each.seq
        self.keep_folders()

    def _look_into(self, run_id: str) -> None:
        """One that cannot be looked into now (a full disk, a domain that is gone) is tried again; the others do not wait for it."""
        try:
            run = self.supervisor.get(run_id)
            records.look_into(self.store, run_id, [self._failed(run)] if run.state == "failed" else self._left_over(run))
        except StoreFailed:
            raise
        except (ModelsmithError, OSError) as error:
            if run_id not in self._deferred:
                logger.error("%s cannot be looked into for escalations yet: %s", run_id, error)
            self._deferred.add(run_id)
        else:
            self._deferred.discard(run_id)

    def _failed(self, run: Run) -> Opening:
        run, steps = self._redacted(run), [self._redacted(step) for step in self.supervisor.list(parent=run.id)]
        log = self.workspace.run(failed_step(run, steps).id).log
        events = [event.model_dump(mode="json") for event in events_of(self.store, run.id)]
        gathered = self._gather(run.id, of_run_files(run, steps, events, log, self.redaction))
        return of_run(run, steps, gathered, records.rules(self.store))

    def _redacted(self, run: Run) -> Run:
        """The run with an error that may be shown."""
        if run.error is None:
            return run
        return run.model_copy(update={"error": run.error.model_validate(self.redaction.value(run.error.model_dump(mode="json")))})

    def _left_over(self, run: Run) -> list[Opening]:
        """What a finished iterate run neither explained nor moved; nothing where it reached the targets that it had."""
        output = IterateOutput.model_validate(run.output)
        if output.targets and output.targets_met:
            return []
        cluster, evaluation_id = output.cluster, output.final.evaluation_id
        _, diagnosis = self.diagnosing.diagnosis_of(cluster, evaluation_id)
        openings = []
        for number, pattern in enumerate(new_patterns(diagnosis), start=1):
            page = self.diagnosing.diagnose(cluster, evaluation_id, pattern.pattern, view="patterns", cursor=None, limit=EXAMPLES)
            files = of_pattern_files(pattern, [example.model_dump(mode="json") for example in page.examples], self.redaction)
            gathered = self._gather(f"{run.id}-{number}", files)
            openings.append(of_pattern(cluster, evaluation_id, diagnosis.graded, pattern, gathered, records.rules(self.store)))
        return openings

    def _gather(self, name: str, files: Mapping[str, tuple[str, bytes]]) -> Gathered:
        """Stores evidence, each file with what it is about."""
        folder = self.workspace.bundles / f"escalation-{name}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        try:
            for file, (_, data) in files.items():
                (folder / file).write_bytes(data)
            bundle = self.artifacts.put_directory(folder)
        finally:
            shutil.rmtree(folder)
        listed = (EvidenceFile(name=file, about=about, sha256=sha256_hex(data), bytes=len(data)) for file, (about, data) in files.items())
        return Gathered(tuple(listed), bundle)

    # ---- folders ---------------------------------------------------------------------------------------------------------------------

    def keep_folders(self) -> None:
        """Writes every folder that is not as the store has it."""
        for escalation in records.latest(self.store, closed=True):
            self._keep(escalation)

    def _keep(self, escalation: Escalation) -> None:
        """A folder that cannot be written waits for the next look: the store has what it would say."""
        with self._writing:
            if self._written.get(escalation.id) == record_digest(escalation):
                return
            try:
                folder = folder_of(self.workspace, escalation.id)
                if not is_whole(folder, escalation):
                    write_folder(folder, escalation, self._evidence(escalation))
                self._written[escalation.id] = record_digest(escalation)
            except (OSError, ModelsmithError) as error:
                logger.error("the folder of %s cannot be written: %s", escalation.id, error)

    def _evidence(self, escalation: Escalation) -> dict[str, bytes]:
        """Its files, as they were stored. One that is gone or was altered is left out; the record keeps its digest."""
        if escalation.bundle is None:
            return {}
        try:
            place = self.artifacts.path(escalation.bundle)
        except NotFound:
            return {}
        kept = {each.name: (place / each.name).read_bytes() for each in escalation.evidence if (place / each.name).is_file()}
        return {each.name: kept[each.name] for each in escalation.evidence if sha256_hex(kept.get(each.name, b"")) == each.sha256}

    # ---- looking ---------------------------------------------------------------------------------------------------------------------

    def escalations(self, name: str | None, *, closed: bool, limit: int) -> EscalationPage:
        """Escalations, newest first; or one."""
        if name is not None:
            return self._page(records.get(self.store, name))
        return escalations_page(records.latest(self.store, closed=closed, limit=limit), records.open_count(self.store))

    def _page(self, escalation: Escalation, said: str = "", unmet_: Sequence[str] = (), run_id: str | None = None) -> EscalationPage:
        """One escalation, after its folder was brought up to it."""
        self._keep(escalation)
        page = (self.workspace.escalation(escalation.id) / REPORT).relative_to(self.workspace.root)
        return escalation_page(escalation, page.as_posix(), said=said, unmet=unmet_, run_id=run_id)

    # ---- by hand ---------------------------------------------------------------------------------------------------------------------

    def escalate(
        self, problem: str, cluster: str | None, run_id: str | None, severity: Severity, check: Mapping[str, Any] | None, *, by: str
    ) -> EscalationPage:
        """Opens one for what somebody noticed. Its check is the one given, or that the run named ends well when it is asked for again."""
        if cluster is not None:
            named_cluster(load_clusters(self.workspace), cluster)
        run = None if run_id is None else self.supervisor.get(run_id)
        wanted = self._parsed_check(check) if check is not None else None if run is None else succeeds(run)
        if wanted is None:
            raise ArgumentInvalid(
                "an escalation is closed by a check, and none is named",
                next_step="Name the run_id of the run that shows it, or `check`: a tool, its arguments, and what its answer must be.",
            )
        files = {} if run is None else of_run_files(self._redacted(run), (), (), self.workspace.run(run.id).log, self.redaction)
        gathered = self._gather(run.id, files) if run is not None else Gathered()
        opening = by_hand(self.redaction.text(problem), cluster or (run.cluster if run else None), severity, wanted, gathered)
        name = records.open_by_hand(self.store, opening, by)
        return self._page(records.get(self.store, name), f"{name} is open.")

    def _parsed_check(self, check: Mapping[str, Any]) -> ResolutionCheck:
        try:
            return ResolutionCheck.model_validate(check)
        except ValidationError as error:
            raise _misshapen("check", error, "{tool, arguments, expected: [{path, comparison, value}]}") from None

    # ---- the way to the close --------------------------------------------------------------------------------------------------------

    def resolve(self, name: str, action: Asked, change: Mapping[str, Any] | None, *, by: str, reason: str) -> EscalationPage:
        """Proposes a fix, says that it was made, closes, or reopens."""
        seen, reason = records.get(self.store, name), self.redaction.text(reason)
        if action == "propose":
            return self._propose(seen, change, by, reason)
        step_of(seen.state, action, governed=seen.fix is not None and seen.fix.governed, name=seen.id)
        if action == "apply":
            self._refuse_unapplied(seen)
        if action == "reopen" and not reason:
            raise ArgumentInvalid("whoever reopens says why", next_step="Give a `reason`.")
        return self._moved(records.take(self.store, seen, action, actor=by, reason=reason))

    def _moved(self, after: Escalation) -> EscalationPage:
        return self._page(after, f"{after.id} is {after.state} now.")

    def _propose(self, seen: Escalation, change: Mapping[str, Any] | None, by: str, reason: str) -> EscalationPage:
        step_of(seen.state, "propose", governed=False, name=seen.id)
        parsed = self._parsed_change(seen, change)
        governed = is_governed(parsed, self._training_files(parsed))
        fix = Fix(change=parsed, governed=governed, digest=digest_of(parsed.model_dump(mode="json")), proposed_by=by, reason=reason)
        request = self._request(seen, fix, by) if governed else None
        after = records.propose(self.store, seen, fix, request)
        asked = "a person has to approve it" if governed else "it may be made and applied"
        return self._page(after, f"{after.id} has a fix of kind {parsed.kind}: {asked}.")

    def _parsed_change(self, seen: Escalation, change: Mapping[str, Any] | None) -> Change:
        """The change that was given; a rule of the taxonomy takes the escalation's own failure as its case."""
        given = dict(change or {})
        if given.get("kind") == "taxonomy":
            given.setdefault("case", seen.failure.model_dump(mode="json"))
        try:
            parsed = CHANGE.validate_python(given)
        except ValidationError as error:
            raise _misshapen("change", error, "kind: configuration, plan, data, scenario or taxonomy (docs/escalations.md)") from None
        if isinstance(parsed, TaxonomyRule) and not is_recognisable(seen.failure):
            raise ArgumentInvalid(f"no rule would know the failure of {seen.id} again", next_step="Propose a fix of another kind.")
        if isinstance(parsed, TaxonomyRule) and not recognises(parsed, seen.failure):
            raise ArgumentInvalid(f"the rule {parsed.name} does not recognise the failure of {seen.id}", next_step="Leave out its `case`.")
        return parsed

    def _training_files(self, change: Change) -> set[str]:
        if not isinstance(change, DataChange):
            return set()
        train = load_domain(self.workspace, change.domain).data.train
        return set() if train is None else {train.path}

    def _request(self, seen: Escalation, fix: Fix, by: str) -> FixRequest:
        """What a person signs: the change to the letter, for this escalation as it stands when it is proposed."""
        now, nonce, head = self.clock(), secrets.token_hex(16), self.signing.head()
        return FixRequest(
            id=f"fix-{now[5:7]}{now[8:10]}-{nonce[:8]}",
            policy=_policy(head),
            approvers_head=head,
            nonce=nonce,
            expires_at=hours_after(now, REQUEST_HOURS),
            proposed_by=by,
            created_at=now,
            approvals=1,
            level="ssh",
            role="approver",
            escalation=seen.id,
            revision=seen.revision + 1,
            fix=fix.digest,
            change=fix.change.model_dump(mode="json"),
        )

    # ---- people's approval -----------------------------------------------------------------------------------------------------------

    def approve(self, name: str, signature: str, *, by: str) -> EscalationPage:
        """Takes in a person's signature on a fix. One that does not count is refused, and the attempt is in the log."""
        seen = records.get(self.store, name)
        try:
            approval = self._verified(seen, signature)
            after = records.approve(self.store, seen, approval, by)
        except (BadInput, Conflict, Integrity) as error:
            request = seen.id if seen.request is None else seen.request.id
            promotions.record_refusal(self.store, request, by=by, code=error.code, reason=error.message, signature=signature)
            raise
        return self._page(after, f"{approval.approver} approved the fix of {after.id} ({approval.level}); it is {after.state}.")

    def _verified(self, seen: Escalation, signature: str) -> Approval:
        request = self._asked(seen, "approve")
        given = records.approvals(self.store, request.id)
        approval = self.signing.verify(request, signature, given, self.clock())
        self.signing.verify_again((*given, approval), request)
        return approval

    def _asked(self, seen: Escalation, action: Action) -> FixRequest:
        """What people are asked to sign, if it is still what they would sign now."""
        step_of(seen.state, action, governed=seen.fix is not None and seen.fix.governed, name=seen.id)
        fix, request = seen.fix, seen.request
        if fix is None or request is None or digest_of(fix.change.model_dump(mode="json")) != request.fix or request.fix != fix.digest:
            raise StateConflict(f"{seen.id} has no fix that a person is asked for", next_step="Propose its fix again.")
        if request.policy != _policy(self.signing.head()):
            raise StateConflict(
                f"the approver list has changed since the fix of {seen.id} was proposed", next_step="Reopen it and propose the fix again."
            )
        return request

    # ---- whether a fix was made ------------------------------------------------------------------------------------------------------

    def _refuse_unapplied(self, seen: Escalation) -> None:
        """Raises where the fix is not there as it was proposed, or people's signature on it does not hold."""
        fix = seen.fix
        if fix is None:
            raise StateConflict(f"{seen.id} has no fix", next_step="Propose one.")
        if is_governed(fix.change, self._training_files(fix.change)):
            request = self._asked(seen, "apply")
            self.signing.verify_again(records.approvals(self.store, request.id), request)
        if why := self._unmade(fix.change):
            raise StateConflict(f"the fix of {seen.id} is not there: {why}", next_step="Make the change as it was proposed, then apply again.")

    def _unmade(self, change: Change) -> str:
        """Why a change is not there as it was proposed; empty where it is."""
        match change:
            case ConfigurationChange() | PlanChange():
                return unmade(change, self._document(setting_of(change)[0]))
            case DataChange():
                return self._other_rows(change)
            case ScenarioChange():
                found = proposals.named(self.store, change.domain, change.proposals)
                waiting = [each.draft.id for each in found if each.state != change.decision]
                return f"{', '.join(waiting)} are not {change.decision}" if waiting else ""
        return ""

    def _document(self, file: str) -> dict[str, Any]:
        """A file of the configuration as it is read, defaults included."""
        parts = Path(file).parts
        loaded = load_clusters(self.workspace) if len(parts) == 1 else load_domain(self.workspace, parts[1])
        return loaded.model_dump(mode="json")

    def _other_rows(self, change: DataChange) -> str:
        path = inside(self.workspace.domain(change.domain), change.file)
        if not path.is_file():
            return f"{change.file} is not there"
        digest = file_sha256(path)
        return "" if digest == change.sha256 else f"{change.file} has the SHA-256 {digest}"

    # ---- the resolution check --------------------------------------------------------------------------------------------------------

    def to_check(self, name: str) -> ToCheck:
        """The check that is to be made now. StateConflict where nothing is to be checked."""
        seen = records.get(self.store, name)
        step_of(seen.state, "verify", governed=seen.fix is not None and seen.fix.governed, name=seen.id)
        return ToCheck(seen.check, seen.revision, f"{seen.id}/verify/{seen.revision}")

    def checking(self, name: str, run_id: str) -> EscalationPage:
        """The check has started a run, and waits for its end."""
        return self._page(records.get(self.store, name), f"The check of {name} goes on as {run_id}.", run_id=run_id)

    def judge(self, name: str, made: ToCheck, answer: Mapping[str, Any], *, by: str) -> EscalationPage:
        """Takes in what the check answered: verified, or what it found otherwise."""
        seen = records.get(self.store, name)
        if seen.revision != made.revision:
            raise StateConflict(f"{name} is {seen.state} by now, and was moved while it was checked", next_step="Check it again.")
        wrong = unmet(seen.check, answer)
        reason = self.redaction.text("; ".join(wrong)) if wrong else "its resolution check has passed"
        after = records.take(self.store, seen, "fail" if wrong else "verify", actor=by, reason=reason)
        said = f"The check of {name} does not pass; it is {after.state}." if wrong else f"{name} is verified: its check has passed."
        return self._page(after, said, unmet_=[self.redaction.text(each) for each in wrong])


def _policy(head: str) -> str:
    """The digest of the rules that a request for a fix stands under."""
    return digest_of({"rules": RULES, "approvers_head": head})


def _misshapen(what: str, error: ValidationError, wanted: str) -> ArgumentInvalid:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"])) or what
    return ArgumentInvalid(f"the {what} does not fit at {place}: {first['msg']}", next_step=f"Give it as {wanted}.")
