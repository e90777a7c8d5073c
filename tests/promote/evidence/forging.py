"""Bundles as somebody makes them who holds a key and changes what is in them: every digest and both signatures are right."""

from __future__ import annotations

import base64
import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.base.digests import canonical_json, sha256_hex
from engine.promote.evidence.bundle import FILES, MANIFEST, PAGE, STATEMENT
from engine.promote.evidence.dsse import sign
from engine.promote.evidence.page import render_page
from engine.promote.evidence.types import EvidencePredicate
from engine.promote.types import Approval, PromotionRequest

ITEMS = "items.jsonl"
Change = Callable[[Any], None]


def payload_of(bundle: Path, name: str = STATEMENT) -> Any:
    """What an envelope says."""
    return json.loads(base64.b64decode(json.loads((bundle / name).read_bytes())["payload"]))


def forged(
    bundle: Path,
    target: Path,
    key: Ed25519PrivateKey,
    *,
    state: Change = lambda predicate: None,
    items: Callable[[list[Any]], Any] = lambda rows: None,
    files: dict[str, bytes] | None = None,
) -> Path:
    """The bundle with its predicate, its items or whole files changed, its page drawn anew, all of it signed by `key`."""
    shutil.copytree(bundle, target)
    rows = [json.loads(line) for line in (target / ITEMS).read_bytes().splitlines()]
    items(rows)
    (target / ITEMS).write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    statement = copy.deepcopy(payload_of(bundle))
    state(statement["predicate"])
    statement["subject"] = [
        {"name": "adapter", "digest": {"modelsmith-tree-sha256": statement["predicate"]["lineage"]["adapter"]}},
        {"name": ITEMS, "digest": {"sha256": sha256_hex((target / ITEMS).read_bytes())}},
    ]
    payload = canonical_json(statement)
    (target / STATEMENT).write_bytes(sign(payload, key))
    (target / PAGE).write_bytes(render_page(EvidencePredicate.model_validate(statement["predicate"]), sha256_hex(payload), ()).encode())
    for name, content in (files or {}).items():
        (target / name).write_bytes(content)
    manifest = payload_of(bundle, MANIFEST)
    contents = {name: (target / name).read_bytes() for name in FILES}
    manifest["subject"] = [{"name": name, "digest": {"sha256": sha256_hex(content)}} for name, content in sorted(contents.items())]
    manifest["predicate"] = {"evidence": sha256_hex(payload), "bytes": {name: len(content) for name, content in contents.items()}}
    (target / MANIFEST).write_bytes(sign(canonical_json(manifest), key))
    return target


def asked(**changes: Any) -> PromotionRequest:
    """A promotion request about the bundle that `bench.verify_bundle.synthetic_inputs` gives."""
    from bench.verify_bundle import ADAPTER

    return PromotionRequest.model_validate(
        {
            "id": "promote-1121-a1b2c3d4", "cluster": "tickets", "version": f"v-{ADAPTER[:12]}", "adapter": ADAPTER, "chain": "standard",
            "source": "canary", "target": "production-accepted", "evidence": "e" * 64, "policy": "p" * 64, "nonce": "n" * 32,
            "expires_at": "2026-11-22T10:00:00.000Z", "proposed_by": "agent:mcp", "created_at": "2026-11-21T10:00:00.000Z", "approvals": 1,
            "level": "ssh-sk", "role": "approver",
        }
        | changes
    )  # fmt: skip


def approved(**changes: Any) -> Approval:
    """An approval of that request."""
    return Approval.model_validate(
        {
            "request": "promote-1121-a1b2c3d4", "approver": "Ada", "role": "approver", "level": "ssh-sk", "key": "SHA256:abc",
            "signature": "-----BEGIN SSH SIGNATURE-----", "received_at": "2026-11-21T11:00:00.000Z",
        }
        | changes
    )  # fmt: skip
