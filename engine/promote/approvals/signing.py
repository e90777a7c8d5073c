"""Signatures as promotion uses them: the approver list as it lies on disk now, in front of what decides.

The list is read and verified from its first entry each time it is asked for, so a change of the file counts at once. Where no list is named,
nothing can be signed: absence of permission means no.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.errors import ApprovalNeeded
from engine.promote.approvals.approvers import Approvers
from engine.promote.approvals.approvers_file import ENVIRONMENT, RECOMMENDED, read_approvers
from engine.promote.approvals.roster import Passkey
from engine.promote.approvals.statement import policy_digest, statement_of
from engine.promote.approvals.verify import counters_of, verify_again, verify_approval
from engine.promote.types import Approval, Chain, Passkeys, SignedRequest


class ListedSignatures:
    """Whose signatures count, and for what. `locate` says where the list lies; `kept` gives every approval that the store has, for their counters."""

    def __init__(self, locate: Callable[[], Path | None], kept: Callable[[], Sequence[Approval]]) -> None:
        self.locate = locate
        self.kept = kept

    def approvers(self) -> Approvers:
        """The list as it is now."""
        path = self.locate()
        if path is None:
            raise ApprovalNeeded(
                "people sign before a version goes into use, and no approver list is named, so nobody can",
                next_step=f'Put "approvers": "{RECOMMENDED}" into clusters.json or set {ENVIRONMENT}; `modelsmith approvers init` makes the list.',
            )
        return read_approvers(path)

    def head(self) -> str:
        """The head of the list as it is now."""
        return self.approvers().head

    def rules(self, chain: Chain, head: str) -> str:
        """The digest of the rules that a request stands under."""
        return policy_digest(chain, head)

    def statement(self, request: SignedRequest) -> bytes:
        """What is signed."""
        return statement_of(request)

    def how_to_sign(self, request: SignedRequest) -> str:
        """The command that signs it, for people."""
        return f"modelsmith approve {request.id} --key PATH"

    def passkeys(self, request: SignedRequest) -> Passkeys:
        """The passkeys of everybody in the list who has the role that the request needs."""
        roster = self.approvers().roster
        keys = (key for person in roster.people if request.role in person.roles for key in person.keys)
        return Passkeys(tuple(key.credential for key in keys if isinstance(key, Passkey)), roster.user_verification)

    def verify(self, request: SignedRequest, signature: str, earlier: Sequence[Approval], now: str) -> Approval:
        """The approval that a signature is worth. Raises an engine error with its reason where it is worth none."""
        return verify_approval(request, signature, self.approvers(), now, earlier=earlier, counters=counters_of(self.kept()))

    def verify_again(self, approvals: Sequence[Approval], request: SignedRequest) -> None:
        """Raises where approvals, made anew from their signatures, do not open the request."""
        verify_again(approvals, request, self.approvers())
