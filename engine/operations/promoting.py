"""Promotion as an operation: where a version may go, whether its gate is open, and either the transition or the request that people sign.

Chains, gates and what a request is worth are pure (`engine/promote/`); here they meet the store, the configuration, the evidence and the
signatures. `signing` verifies signatures against the approver list; where no list is named, it lets nothing be asked for that people sign.
`evidence` makes the bundle whose digest is signed, anew for each request.

What anybody can do with this, an agent included: bring an accepted version into shadow or export, take one back, and ask. Who asks is taken as
given, so that a name there proves nothing; who approves is what the signature proves. A signature that does not count is refused, and the attempt
is in the log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from engine.base.clock import Clock, hours_after
from engine.base.paths import Workspace
from engine.config import Cluster
from engine.errors import BadInput, Conflict, Integrity, NotFound, StateConflict
from engine.iterate import records as loop
from engine.iterate.measure import BASE
from engine.jobs.types import Run
from engine.loading import load_clusters, load_domain
from engine.operations.evidencing import page_of
from engine.operations.named import named_cluster, why_the_base
from engine.operations.signatures import Signatures
from engine.promote import records
from engine.promote.chains import chain_for, step_of
from engine.promote.checks import gate
from engine.promote.cost import hourly_price
from engine.promote.grounds import grounds_of
from engine.promote.requests import has_expired, is_complete, is_same_wish, refuse_moved, refuse_spent, request_id, status_of, takes_over
from engine.promote.types import Chain, Evidence, Gate, Grounds, Passkeys, PromotionRequest, Transition, VersionState
from engine.showing.promotions import (
    ToSign,
    approvals_page,
    approved_page,
    moved_page,
    request_line,
    request_page,
    requested_page,
    signing_page,
    stopped_page,
)
from engine.store.store import Store
from engine.train import records as versions
from engine.views import ApprovalsPage, PromotionPage, RequestLine, SigningPage

LOOKED_AT = 200
"""Requests that a list looks at for those that still wait."""


class Signing(Signatures, Protocol):
    """What promotion asks besides: the rules that a request stands under, and how people sign it."""

    def rules(self, chain: Chain, head: str) -> str:
        """The digest of the rules that a request stands under."""

    def statement(self, request: PromotionRequest) -> bytes:
        """What is signed."""

    def how_to_sign(self, request: PromotionRequest) -> str:
        """The command that signs it, for people."""

    def passkeys(self, request: PromotionRequest) -> Passkeys:
        """The passkeys that a page may ask for a signature on it."""


MakeReady = Callable[[str, str], object]
"""Starts what a cluster's version is answered from, where it is served here, and proves by fingerprint that it does answer."""
MakeEvidence = Callable[[str, str], Evidence]
"""Makes and keeps the bundle that a version of a cluster is judged on (`evidencing.py`)."""
MakeExport = Callable[[Grounds], Run | None]
"""Starts the export of a version, unless it could only find what the newest one found (`exporting.py`)."""


class Promoting:
    """The operations, over one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        clock: Clock,
        signing: Signing,
        evidence: MakeEvidence,
        export: MakeExport,
        make_ready: MakeReady,
    ) -> None:
        self.workspace = workspace
        self.store = store
        self.clock = clock
        self.signing = signing
        self.evidence = evidence
        self.export = export
        self.make_ready = make_ready

    # ---- moving ----------------------------------------------------------------------------------------------------------------------

    def promote(self, cluster: str, version: str | None, to: str | None, *, by: str, reason: str) -> PromotionPage:
        """Moves a version on, or to `to`, where its gate is open and nobody has to sign; or makes the request that people sign."""
        entry = named_cluster(load_clusters(self.workspace), cluster)
        standing = self._standing(cluster, version)
        chain, transition = step_of(standing, chain_for(entry.chain, entry.policy), to)
        if transition.by == "agent" and not transition.checks:  # back: not even a domain that does not load stands in the way
            return self._take(standing, chain, Gate(transition=transition, checks=()), by, reason)
        grounds = self._grounds(entry, standing)
        found = gate(transition, grounds, self.clock())
        if not found.open:
            return stopped_page(standing, chain, found, self._lacking_export(grounds, found))
        if transition.by == "agent":
            return self._take(standing, chain, found, by, reason)
        request = self._asked(entry, standing, chain, found, by)
        return requested_page(standing, chain, found, self._line(request.id), self._to_sign(request))

    def _lacking_export(self, grounds: Grounds, found: Gate) -> Run | None:
        """The export that a gate wants to see, started where nothing else keeps it closed: it takes minutes."""
        closed = {check.name for check in found.checks if not check.passed}
        return self.export(grounds) if closed == {"export_parity"} else None

    def _take(self, standing: VersionState, chain: Chain, found: Gate, by: str, reason: str) -> PromotionPage:
        moved = records.take(self.store, standing, found.transition, chain=chain.name, actor=by, reason=reason, checks=found.checks)
        return moved_page(moved, chain, found)

    def _standing(self, cluster: str, version: str | None) -> VersionState:
        """Where the version stands that was named, or the accepted one. NotFound when it is none of this cluster."""
        name = version or loop.cluster_state(self.store, cluster).incumbent
        if name == BASE:
            raise StateConflict(
                why_the_base(self.store, cluster),
                next_step=f"Name a version, or call iterate(cluster={cluster!r}): it makes and judges versions.",
            )
        found = versions.version(self.store, name)
        standing = records.state_of(self.store, cluster, name)
        if found.cluster != cluster and standing.revision == 0:
            raise NotFound(
                f"{name} is a version of {found.cluster}, and {cluster} has not judged it", next_step=f"Name a version of {cluster}, or none."
            )
        return standing

    def _grounds(self, entry: Cluster, standing: VersionState) -> Grounds:
        domain = load_domain(self.workspace, entry.domain)
        price = hourly_price(load_clusters(self.workspace), standing.cluster)
        return grounds_of(self.store, standing.cluster, standing.version, domain, entry.policy.evidence_days, price)

    def _asked(self, entry: Cluster, standing: VersionState, chain: Chain, found: Gate, by: str) -> PromotionRequest:
        """The request for a transition: the one that waits already, or a new one with evidence of its own."""
        wanted = self._wish(entry, standing, chain, found.transition, by)
        for each in records.requests(self.store, [standing.cluster], open_only=True, limit=LOOKED_AT):
            if is_same_wish(each.stored.request, wanted) and not has_expired(each.stored.request, wanted.created_at):
                return each.stored.request
        made = self.evidence(standing.cluster, standing.version)
        return records.request(self.store, wanted.model_copy(update={"evidence": made.digest}), found.transition, found.checks)

    def _wish(self, entry: Cluster, standing: VersionState, chain: Chain, transition: Transition, by: str) -> PromotionRequest:
        """What is asked for, under the rules as they are; the evidence comes in when it is made."""
        now, nonce, head = self.clock(), secrets.token_hex(16), self.signing.head()
        serving = records.serving(self.store).get(standing.cluster, "")
        wanted = PromotionRequest(
            id=request_id(now, nonce),
            cluster=standing.cluster,
            version=standing.version,
            adapter=versions.version(self.store, standing.version).adapter,
            chain=chain.name,
            source=transition.source,
            target=transition.target,
            evidence="",
            policy=self.signing.rules(chain, head),
            approvers_head=head,
            nonce=nonce,
            expires_at=hours_after(now, entry.policy.request_hours),
            proposed_by=by,
            created_at=now,
            approvals=transition.approvals,
            level=transition.level,
            role=transition.role,
            revision=standing.revision,
            separate_duties=entry.policy.separate_duties,
        )
        return wanted.model_copy(update={"replaces": serving}) if takes_over(wanted) else wanted

    # ---- signing ---------------------------------------------------------------------------------------------------------------------

    def approve(self, request: str, signature: str, *, by: str) -> PromotionPage:
        """Takes in a signature, and the transition with the last one that was needed. What is refused is refused in the log too.

        A version that comes to serve is started and proved before; a signature under which that fails was not used, and may be handed in again.
        """
        try:
            return self._approve(request, signature, by)
        except (BadInput, Conflict, Integrity) as error:
            records.record_refusal(self.store, request, by=by, code=error.code, reason=error.message, signature=signature)
            raise

    def _approve(self, name: str, signature: str, by: str) -> PromotionPage:
        stored, standing = records.stored_request(self.store, name)
        request, now = stored.request, self.clock()
        refuse_spent(stored, now)
        refuse_moved(standing, request.source, request.revision, "moved since")
        entry = named_cluster(load_clusters(self.workspace), request.cluster)
        chain, transition = step_of(standing, chain_for(entry.chain, entry.policy), request.target)
        self._refuse_other_rules(chain, request)
        approval = self.signing.verify(request, signature, stored.approvals, now)
        given = (*stored.approvals, approval)
        if is_complete(request, given):
            self.signing.verify_again(given, request)
        found = gate(transition, self._grounds(entry, standing), now)
        if found.open and is_complete(request, given) and takes_over(request):
            self.make_ready(request.cluster, request.version)
        after = records.approve(self.store, approval, found.checks, by)
        return approved_page(after, chain, found, self._line(request.id), approval)

    def _refuse_other_rules(self, chain: Chain, request: PromotionRequest) -> None:
        """Raises StateConflict when the policy, the chain or the approver list is another than the request was made under."""
        if self.signing.rules(chain, self.signing.head()) != request.policy:
            raise StateConflict(
                f"the chain, its policy or the approver list has changed since request {request.id} was made",
                next_step=f"promote(cluster={request.cluster!r}, version={request.version!r}) makes a request under the rules as they are.",
            )

    # ---- looking ---------------------------------------------------------------------------------------------------------------------

    def approvals(self, cluster: str | None, request: str | None, *, waiting: bool, limit: int) -> ApprovalsPage:
        """Requests, newest first; or one in full, with what is signed."""
        if request is not None:
            found = records.stored_request(self.store, request).stored.request
            return request_page(self._line(request), found, self._to_sign(found))
        file = load_clusters(self.workspace)
        clusters = list(file.clusters) if cluster is None else [cluster] if named_cluster(file, cluster) else []
        return approvals_page(self._lines(clusters, waiting=waiting)[:limit])

    def signing_page(self, name: str) -> SigningPage:
        """A request for the page on which a passkey signs."""
        request, line = records.stored_request(self.store, name).stored.request, self._line(name)
        return signing_page(line, request.evidence, self._to_sign(request), self.signing.passkeys(request))

    def pending(self, clusters: Sequence[str]) -> tuple[RequestLine, ...]:
        """The requests of these clusters that wait for signatures."""
        return self._lines(clusters, waiting=True)

    def _lines(self, clusters: Sequence[str], *, waiting: bool) -> tuple[RequestLine, ...]:
        serving, now = records.serving(self.store), self.clock()
        lines = (
            request_line(stored, status_of(stored, standing, serving.get(standing.cluster, ""), now))
            for stored, standing in records.requests(self.store, clusters, open_only=waiting, limit=LOOKED_AT)
        )
        return tuple(line for line in lines if line.status == "waiting" or not waiting)

    def _line(self, request: str) -> RequestLine:
        stored, standing = records.stored_request(self.store, request)
        return request_line(stored, status_of(stored, standing, records.serving(self.store).get(standing.cluster, ""), self.clock()))

    def _to_sign(self, request: PromotionRequest) -> ToSign:
        return ToSign(
            statement=self.signing.statement(request).decode(),
            how_to_sign=self.signing.how_to_sign(request),
            evidence_page=page_of(self.workspace, self.store, request.evidence),
        )
