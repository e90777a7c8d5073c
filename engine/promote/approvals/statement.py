"""What an approver signs: a request, word for word, as bytes that a person can read and any program can make again.

The statement is JSON with sorted keys, one field a line, and nothing but ASCII: what a terminal shows is what is signed, with no letter that
looks like another and no escape sequence. It holds every field of the request. So a signature binds the version and its adapter, the transition,
the evidence, the policy, the approver list, how many people must sign and by when; whoever changes any of them in the database has a request
that nobody signed. The nonce makes each request's statement its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from engine.base.digests import digest_of
from engine.promote.types import Chain, SignedRequest

NAMESPACE = "modelsmith-approval@v1"
"""Signatures of this namespace approve requests, and nothing else; one made for another purpose does not verify under it."""
WORDS = {"id": "request", "source": "from", "target": "to"}
"""Fields that the statement names as a reader would."""


def statement_of(request: SignedRequest) -> bytes:
    """The bytes that are signed to approve `request`."""
    fields = {WORDS.get(name, name): value for name, value in request.model_dump(mode="json").items()}
    return signed_text({"statement": NAMESPACE, "meaning": request.meaning, **fields})


def challenge_of(request: SignedRequest) -> bytes:
    """The SHA-256 of the statement, 32 bytes: what a passkey signs. Its first digits are what two screens are compared by."""
    return hashlib.sha256(statement_of(request)).digest()


def policy_digest(chain: Chain, approvers_head: str) -> str:
    """The digest of the rules that a request stands under: the chain's table and the approver list as they are now."""
    return digest_of({"chain": chain.model_dump(mode="json"), "approvers_head": approvers_head})


def signed_text(fields: Mapping[str, Any]) -> bytes:
    """`fields` in the one spelling in which they are signed."""
    return (json.dumps(fields, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")
