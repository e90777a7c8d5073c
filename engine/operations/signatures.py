"""What operations ask of signatures: whose count, and what one is worth. `engine/promote/approvals` gives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.promote.types import Approval, SignedRequest


class Signatures(Protocol):
    """Signatures, and the list of those whose count."""

    def head(self) -> str:
        """The head of the approver list as it is now."""

    def verify(self, request: SignedRequest, signature: str, earlier: Sequence[Approval], now: str) -> Approval:
        """The approval that a signature is worth. Raises an engine error with its reason where it is worth none."""

    def verify_again(self, approvals: Sequence[Approval], request: SignedRequest) -> None:
        """Raises where approvals, made anew from their signatures, do not open the request."""
