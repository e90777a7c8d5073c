"""A store with the tables of promotion, and the commands of the loop and of people that fill it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from engine.base.clock import hours_after, utc_now
from engine.base.digests import sha256_hex
from engine.base.paths import Workspace
from engine.config import PromotionPolicy
from engine.generate.types import FingerprintReport
from engine.iterate import records as loop
from engine.promote import records
from engine.promote.chains import chain_for, serves, transition_between
from engine.promote.requests import request_id
from engine.promote.types import Approval, Check, PromotionRequest, Transition, VersionState
from engine.store.store import Cursor, StageTables, Store
from engine.train import records as versions
from tests.promote.judged import decision, iteration

CLUSTER = "travel"


def _add_version(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    name = arguments["version"]
    cursor.execute("INSERT INTO version VALUES (?, ?, ?, NULL, 'f', 'b', 'd', '{}', 'r', 'candidate', ?)", [name, CLUSTER, name * 4, at])
    return {}


VERSIONS = StageTables(versions.TABLES.migrations, {"add_version": _add_version})
STAGES = (VERSIONS, loop.tables(records.ingest_verdict), records.TABLES)
BEFORE = (VERSIONS, loop.tables(lambda *_: None))
"""As stores were before there was promotion."""


class Taken(NamedTuple):
    """A transition that was taken."""

    seq: int
    chain: str
    source: str
    target: str
    actor: str
    request: str | None
    checks: list[dict[str, Any]]
    moved_at: str


def transitions_of(store: Store, version: str, cluster: str = CLUSTER) -> list[Taken]:
    """Every transition of a version, oldest first."""
    columns = "seq, chain, source, target, actor, request, checks, moved_at"
    rows = store.read(f"SELECT {columns} FROM transition WHERE cluster = ? AND version = ? ORDER BY seq", [cluster, version])
    return [Taken(*row[:6], json.loads(row[6]), row[7]) for row in rows]


def open_promotions(workspace: Workspace) -> Store:
    return Store.open(workspace, STAGES)


def judge(store: Store, version: str, *, accepted: bool = True, cluster: str = CLUSTER) -> VersionState:
    """The loop accepts or rejects a version."""
    record_verdict(store, version, accepted, cluster)
    return records.state_of(store, cluster, version)


def record_verdict(store: Store, version: str, accepted: bool, cluster: str = CLUSTER) -> None:
    """The round's command, for a version that is made first where it is new."""
    if not store.read("SELECT 1 FROM version WHERE id = ?", [version]):
        store.submit("add_version", {"version": version})
    number = int(store.read("SELECT count(*) FROM iteration")[0][0]) + 1
    verdict = decision() if accepted else decision(0.3)
    row = iteration(verdict, iteration=number, challenger=version, incumbent=loop.cluster_state(store, cluster).incumbent)
    loop.record_iteration(store, f"iterate-{cluster}", cluster, row)


def passed(transition: Transition) -> list[Check]:
    """An open gate."""
    return [Check(name=name, passed=True, figure=1.0, limit=0.0, sentence="it holds") for name in transition.checks]


def edge(source: str, target: str, policy: PromotionPolicy | None = None, chain: str = "standard") -> Transition:
    return transition_between(chain_for(chain, policy or PromotionPolicy()), source, target)


def move(store: Store, version: str, target: str, **changes: Any) -> VersionState:
    """An agent takes a transition from where the version stands."""
    standing = records.state_of(store, CLUSTER, version).model_copy(update=changes)
    transition = edge(standing.state, target)
    return records.take(store, standing, transition, chain="standard", actor="agent:mcp", checks=passed(transition))


def wish(store: Store, version: str, target: str, **changes: Any) -> PromotionRequest:
    """What would be asked for now."""
    policy = changes.pop("rules", PromotionPolicy())
    standing = records.state_of(store, CLUSTER, version)
    transition = edge(standing.state, target, policy)
    made = store.read("SELECT count(*) FROM promotion_request")[0][0]
    now, nonce = changes.pop("now", utc_now()), sha256_hex(f"{made} {version}".encode())[:32]
    fields = {
        "id": request_id(now, nonce),
        "cluster": CLUSTER,
        "version": version,
        "adapter": version * 4,
        "chain": "standard",
        "source": standing.state,
        "target": target,
        "evidence": "e" * 64,
        "policy": "p" * 64,
        "nonce": nonce,
        "expires_at": hours_after(now, 72),
        "proposed_by": "agent:mcp",
        "created_at": now,
        "approvals": transition.approvals,
        "level": transition.level,
        "role": transition.role,
        "revision": standing.revision,
        "replaces": records.serving(store).get(CLUSTER, "") if serves("standard", target) else "",
    }
    return PromotionRequest(**(fields | changes))


def ask(store: Store, version: str, target: str, **changes: Any) -> PromotionRequest:
    wanted = wish(store, version, target, **changes)
    transition = edge(wanted.source, target)
    return records.request(store, wanted, transition, passed(transition))


def approval(request: PromotionRequest, by: str = "Ada", **changes: Any) -> Approval:
    """An approval as it is after its signature was verified."""
    fields = {
        "request": request.id, "approver": by, "role": request.role, "level": request.level, "key": f"SHA256:{by}",
        "signature": f"{by} signs {request.id}", "received_at": request.created_at,
    }  # fmt: skip
    return Approval(**(fields | changes))


def sign(store: Store, request: PromotionRequest, by: str = "Ada", **changes: Any) -> VersionState:
    return records.approve(store, approval(request, by, **changes), passed(edge(request.source, request.target)), by="cli")


MATCH = FingerprintReport(verdict="match", mean_difference=0.03, limit=0.2)


def roll_back(store: Store, version: str, *, drill: bool = False, **changes: Any) -> VersionState:
    """A version brought back, as whoever asks has seen it and what serves."""
    replaces = changes.pop("replaces", records.serving(store).get(CLUSTER, ""))
    proof = changes.pop("proof", MATCH)
    target = records.state_of(store, CLUSTER, version).model_copy(update=changes)
    return records.roll_back(store, replaces, target, proof, drill=drill, actor="agent:mcp", reason="it drifted")


def promoted(store: Store, version: str) -> VersionState:
    """A version brought to production, by people where it takes them."""
    judge(store, version)
    move(store, version, "shadow")
    sign(store, ask(store, version, "canary"))
    return sign(store, ask(store, version, "production-accepted"))
