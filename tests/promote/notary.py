"""Signatures and evidence for tests of promotion, in place of key pairs and bundles: what only its holder can make, over exactly what is asked."""

from __future__ import annotations

from collections.abc import Sequence

from engine.base.digests import canonical_json, digest_of, sha256_hex
from engine.errors import ApprovalNeeded, BadInput
from engine.promote.types import Approval, Chain, Evidence, Passkeys, PromotionRequest

SECRETS = {"Ada": "a", "Bob": "b"}


class Notary:
    """Verifies for those on its list; `list_of` may be changed, which changes its head."""

    def __init__(self) -> None:
        self.list_of = ["Ada", "Bob"]

    def head(self) -> str:
        return digest_of(self.list_of)

    def rules(self, chain: Chain, head: str) -> str:
        return digest_of([chain.model_dump(mode="json"), head])

    def statement(self, request: PromotionRequest) -> bytes:
        return canonical_json(request.model_dump(mode="json"))

    def how_to_sign(self, request: PromotionRequest) -> str:
        return f"sign {request.id}"

    def passkeys(self, request: PromotionRequest) -> Passkeys:
        return Passkeys((), True)

    def sign(self, request: PromotionRequest, by: str, secret: str | None = None) -> str:
        return f"{by}:{sha256_hex((secret or SECRETS[by]).encode() + self.statement(request))}"

    def verify(self, request: PromotionRequest, signature: str, earlier: Sequence[Approval], now: str) -> Approval:
        name = signature.partition(":")[0]
        if name not in self.list_of or signature != self.sign(request, name):
            raise BadInput(f"the signature of {name} does not verify", next_step="Sign what is shown.")
        return Approval(
            request=request.id, approver=name, role=request.role, level="ssh", key=f"SHA256:{name}", signature=signature, received_at=now
        )  # fmt: skip

    def verify_again(self, approvals: Sequence[Approval], request: PromotionRequest) -> None:
        for approval in approvals:
            self.verify(request, approval.signature, (), approval.received_at)
        if not approvals:
            raise ApprovalNeeded("nobody signed", next_step="Sign it.")


class Clerk:
    """Makes evidence and remembers about which versions."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, cluster: str, version: str) -> Evidence:
        self.made.append(version)
        return Evidence(digest=self.digest_of(len(self.made)), artifact="0" * 64)

    def digest_of(self, number: int) -> str:
        return digest_of(["evidence", number, self.made[number - 1]])
