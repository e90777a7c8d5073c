"""What a promotion request is worth at a moment, and whose approval counts for it. Pure.

A request is used once. It is worth nothing after its time, when the version has moved since, or when another version serves than the one whose
place it was to take: people signed for what stood then.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.base.clock import seconds_between
from engine.errors import ApprovalNeeded, RequestSpent, StateConflict
from engine.promote.chains import serves
from engine.promote.types import Approval, PromotionRequest, RequestStatus, SignedRequest, State, StoredRequest, VersionState

ASK_AGAIN = "Ask for it again with promote; a new request says what stands now."


def status_of(stored: StoredRequest, standing: VersionState, serving: str, now: str) -> RequestStatus:
    """Where a request stands, given where its version stands and which version serves."""
    request = stored.request
    if stored.outcome is not None:
        return stored.outcome
    if has_expired(request, now):
        return "expired"
    stands = (standing.state, standing.revision) == (request.source, request.revision) and (not takes_over(request) or serving == request.replaces)
    return "waiting" if stands else "overtaken"


def request_id(created_at: str, nonce: str) -> str:
    """A name for people: month and day, and the first digits of the nonce."""
    return f"promote-{created_at[5:7]}{created_at[8:10]}-{nonce[:8]}"


def has_expired(request: SignedRequest, now: str) -> bool:
    """Whether its time is over; at the last moment it is."""
    return seconds_between(now, request.expires_at) <= 0


def is_complete(request: SignedRequest, approvals: Sequence[Approval]) -> bool:
    """Whether enough people have signed; without anybody it never is."""
    return len({approval.approver for approval in approvals}) >= max(1, request.approvals)


def takes_over(request: PromotionRequest) -> bool:
    """Whether its transition makes the version the one that serves."""
    return serves(request.chain, request.target)


def is_same_wish(request: PromotionRequest, other: PromotionRequest) -> bool:
    """Whether two requests ask for the same under the same rules, so that the earlier one, which people may be signing, can stay."""
    rules = (
        "cluster", "version", "adapter", "chain", "source", "target", "revision", "replaces",
        "policy", "approvals", "level", "role", "separate_duties",
    )  # fmt: skip
    return all(getattr(request, name) == getattr(other, name) for name in rules)


# ---- refusals --------------------------------------------------------------------------------------------------------------------------


def refuse_spent(stored: StoredRequest, now: str) -> None:
    """Raises RequestSpent when a request was used or replaced, or its time is over."""
    request = stored.request
    if stored.outcome == "used":
        raise RequestSpent(f"request {request.id} was used: {request.version} went to {request.target}", next_step=ASK_AGAIN, request=request.id)
    if stored.outcome == "replaced":
        raise RequestSpent(f"request {request.id} was replaced by a later one", next_step="approvals shows the one that stands.", request=request.id)
    if has_expired(request, now):
        raise RequestSpent(f"request {request.id} expired at {request.expires_at}", next_step=ASK_AGAIN, request=request.id)


def refuse_moved(standing: VersionState, source: State, revision: int, moved_by: str) -> None:
    """Raises StateConflict when a version stands elsewhere than whoever asked has seen it. `moved_by` says who moved it last."""
    if (standing.state, standing.revision) != (source, revision):
        raise StateConflict(
            f"{standing.version} is {standing.state} in {standing.cluster} by now ({moved_by}), and was {source} when this was asked",
            next_step=ASK_AGAIN,
            state=standing.state,
            revision=standing.revision,
        )


def refuse_other_serving(cluster: str, serving: str, replaces: str) -> None:
    """Raises StateConflict when another version serves than the one whose place was to be taken."""
    if serving != replaces:
        raise StateConflict(
            f"{serving or 'no version'} serves {cluster} by now; this was asked when {replaces or 'no version'} did",
            next_step=ASK_AGAIN,
            serving=serving,
        )


def refuse_uncounted(request: SignedRequest, earlier: Sequence[Approval], approval: Approval) -> None:
    """Raises ApprovalNeeded when an approval, though its signature holds, does not count beside the others."""
    why = ""
    if approval.request != request.id:
        why = f"it is for request {approval.request[:80]}"
    elif request.separate_duties and approval.approver.casefold() == request.proposed_by.casefold():
        why = f"{approval.approver} asked for this, and whoever asks does not approve"
    elif any(approval.approver == other.approver for other in earlier):
        why = f"{approval.approver} has approved already"
    elif any(approval.key == other.key for other in earlier):
        why = f"the key {approval.key} has signed already, as {next(other.approver for other in earlier if other.key == approval.key)}"
    if why:
        raise ApprovalNeeded(
            f"the approval does not count for request {request.id}: {why}", next_step=f"Another person with the role {request.role} has to sign."
        )
