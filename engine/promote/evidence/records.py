"""Table of evidence: which bundle was made for a version, from which sources.

A bundle is an artefact; its row says what its statement's digest is, so that a promotion request that names a digest leads to the bundle. Rows are
never changed: sources that have changed since (a newer measurement of the base, a rollback target that is gone) make another row, and so do
approvals that were given since, with the same statement.
"""

from __future__ import annotations

import json
from typing import Any

from engine.promote.types import Evidence
from engine.store import lineage
from engine.store.database import Cursor
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import StageTables, Store


def of_sources(store: Store, sources: str) -> Evidence | None:
    """The newest bundle from sources of this digest, whatever approvals it holds."""
    return _newest(store, "sources = ?", [sources])


def with_approvals(store: Store, sources: str, approvals: str) -> Evidence | None:
    """The newest bundle from sources of this digest that holds the approvals of that digest."""
    return _newest(store, "sources = ? AND approvals = ?", [sources, approvals])


def of_digest(store: Store, evidence: str) -> Evidence | None:
    """The newest bundle with the statement of this digest."""
    return _newest(store, "digest = ?", [evidence])


def sources_of(store: Store, evidence: str) -> str | None:
    """Digest of the sources that the statement of this digest was made from; null where no such statement is known."""
    rows = store.read("SELECT sources FROM evidence WHERE digest = ? ORDER BY seq LIMIT 1", [evidence])
    return str(rows[0][0]) if rows else None


def record(store: Store, *, cluster: str, version: str, sources: str, approvals: str, evidence: Evidence) -> None:
    """Writes a bundle's row, once however often it is called."""
    store.submit(
        "record_evidence",
        {"cluster": cluster, "version": version, "sources": sources, "approvals": approvals, "evidence": evidence.model_dump(mode="json")},
        key=f"evidence/{evidence.artifact}",
    )


def _newest(store: Store, where: str, values: list[str]) -> Evidence | None:
    rows = store.read(f"SELECT digest, artifact, summary FROM evidence WHERE {where} ORDER BY seq DESC LIMIT 1", values)  # noqa: S608 - this file's own
    return Evidence(digest=rows[0][0], artifact=rows[0][1], summary=json.loads(rows[0][2])) if rows else None


def _record_evidence(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    evidence, version = arguments["evidence"], arguments["version"]
    cursor.execute(
        "INSERT INTO evidence (seq, cluster, version, sources, approvals, digest, artifact, summary, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            seq, arguments["cluster"], version, arguments["sources"], arguments["approvals"], evidence["digest"], evidence["artifact"],
            json.dumps(evidence["summary"]), at,
        ],
    )  # fmt: skip
    append_event(
        cursor, seq=seq, at=at, kind="evidence_made", subject=version, actor="caller", reason="for a promotion", data={"evidence": evidence["digest"]}
    )
    lineage.record(cursor, seq=seq, child=evidence["artifact"], relation="evidence_of", parent=version)
    return {}


TABLES = StageTables(
    migrations=(
        Migration(
            "evidence-1",
            (
                "CREATE TABLE evidence (seq BIGINT PRIMARY KEY, cluster VARCHAR NOT NULL, version VARCHAR NOT NULL, sources VARCHAR NOT NULL, "
                "approvals VARCHAR NOT NULL, digest VARCHAR NOT NULL, artifact VARCHAR NOT NULL, summary VARCHAR NOT NULL, "
                "created_at VARCHAR NOT NULL)",
            ),
        ),
    ),
    reducers={"record_evidence": _record_evidence},
)
