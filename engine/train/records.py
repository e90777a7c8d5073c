"""Tables of training: versions, and which run made which.

A version is named by its adapter's content (`v-` and twelve digits of the digest). A run that trains the same weights again adds no version: it
is recorded as another run of the same one. States: `candidate` after training; the loop's decision makes it `accepted` or `rejected`.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from engine.base.digests import canonical_json
from engine.base.record import Record
from engine.errors import ArtifactCorrupt, NotFound
from engine.store import lineage
from engine.store.database import Cursor
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import StageTables, Store
from engine.train.types import TrainOutput, TrainPlan

VersionState = Literal["candidate", "accepted", "rejected"]
_COLUMNS = ("id", "cluster", "adapter", "merged", "fingerprint", "base", "dataset", "plan", "run_id", "state", "created_at")


class Version(Record):
    """A content-addressed adapter with what it was made of."""

    id: str
    cluster: str | None
    adapter: str
    """Digest of the adapter directory."""
    merged: str | None
    """Digest of the merged weights, where this machine serves those."""
    fingerprint: str
    """Digest of the fingerprint file."""
    base: str
    """Digest of the base model."""
    dataset: str
    """Digest of the training rows."""
    plan: TrainPlan
    run_id: str
    """The run that made it first."""
    state: VersionState
    created_at: str


def version_id(adapter: str) -> str:
    """The name of the version whose adapter has this digest."""
    return f"v-{adapter[:12]}"


def version(store: Store, version_id: str) -> Version:
    """One version. NotFound names the newest ones."""
    found = _versions(store, "id = ?", [version_id])
    if not found:
        newest = [row[0] for row in store.read("SELECT id FROM version ORDER BY created_at DESC, id LIMIT 5")]
        raise NotFound(
            f"there is no version {version_id[:80]!r}",
            next_step=f"The newest versions are {', '.join(newest)}." if newest else "No version has been trained yet: start an iterate run.",
            version=version_id[:80],
        )
    return found[0]


def version_of_run(store: Store, run_id: str) -> Version:
    """The version that a training run made."""
    rows = store.read("SELECT version FROM training WHERE run_id = ?", [run_id])
    if not rows:
        raise NotFound(f"the run {run_id[:80]!r} has made no version", next_step="Only a training run that succeeded makes one.", run_id=run_id[:80])
    return version(store, rows[0][0])


def versions(store: Store, cluster: str) -> list[Version]:
    """The versions of a cluster, newest first."""
    return _versions(store, "cluster = ? ORDER BY created_at DESC, id", [cluster])


def accepted(store: Store) -> frozenset[str]:
    """Every version that a round has accepted."""
    return frozenset(row[0] for row in store.read("SELECT id FROM version WHERE state = 'accepted'"))


def _versions(store: Store, where: str, parameters: list[Any]) -> list[Version]:
    rows = store.read(f"SELECT {', '.join(_COLUMNS)} FROM version WHERE {where}", parameters)  # noqa: S608 - both parts are this file's own
    found = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    return [Version.model_validate({**columns, "plan": json.loads(columns["plan"])}) for columns in found]


def ingest_training(cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records what a finished training run made; part of the command that finishes the run."""
    stored: dict[str, str] = output["artifacts"]
    made = TrainOutput.model_validate({name: value for name, value in output.items() if name != "artifacts"})
    if stored["adapter"] != made.adapter:
        raise ArtifactCorrupt(
            f"the stored adapter of {run_id} has the digest {stored['adapter'][:12]}, the trained one {made.adapter[:12]}",
            next_step="The disk changed what was written: check it, then train again.",
            run_id=run_id,
        )
    name = version_id(made.adapter)
    cursor.execute("INSERT INTO training (run_id, version) VALUES (?, ?)", [run_id, name])
    if cursor.execute("SELECT 1 FROM version WHERE id = ?", [name]).fetchall():
        append_event(cursor, seq=seq, at=at, kind="version_trained_again", subject=name, actor=run_id, reason="the same weights came out")
        return
    plan = canonical_json(made.plan.model_dump(mode="json")).decode()
    cursor.execute(
        f"INSERT INTO version ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'candidate', ?)",  # noqa: S608
        [name, cluster, made.adapter, stored.get("merged"), stored["fingerprint"], made.base, made.dataset, plan, run_id, at],
    )
    reason = f"{made.steps} steps, loss {made.first_loss:.3f} to {made.final_loss:.3f}"
    append_event(cursor, seq=seq, at=at, kind="version_candidate", subject=name, actor=run_id, reason=reason, data={"adapter": made.adapter})
    edges = [(name, "is", made.adapter), (made.adapter, "trained_from", made.base), (made.adapter, "trained_on", made.dataset)]
    edges += [(made.adapter, "made_by", run_id)]
    if made.warm_start is not None:
        edges.append((made.adapter, "went_on_from", made.warm_start))
    if "stable" in stored:
        edges.append((made.adapter, "decayed_from", stored["stable"]))
    if "merged" in stored:
        edges.append((stored["merged"], "merged_from", made.adapter))
    for child, relation, parent in edges:
        lineage.record(cursor, seq=seq, child=child, relation=relation, parent=parent)


def version_with(store: Store, digest: str) -> Version | None:
    """A version whose adapter or merged weights have this digest."""
    found = _versions(store, "adapter = ? OR merged = ? ORDER BY created_at, id LIMIT 1", [digest, digest])
    return found[0] if found else None


def mark_altered(store: Store, version: str, *, by: str, reason: str) -> None:
    """Notes that a version's weights are no longer what was judged, once for each step that found it."""
    store.submit("mark_version", {"version": version, "by": by, "reason": reason}, key=f"{by}/altered")


def _mark_version(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    append_event(
        cursor, seq=seq, at=at, kind="version_altered", subject=arguments["version"], actor=arguments["by"], reason=arguments["reason"]
    )
    return {}


def set_state(cursor: Cursor, name: str, state: VersionState) -> None:
    """Moves a version to `state`; called within the command that decided it. A version accepted by one round stays so when another rejects it."""
    if not cursor.execute("SELECT 1 FROM version WHERE id = ?", [name]).fetchall():
        raise NotFound(f"there is no version {name[:80]!r}", next_step="Name a version that a training run made.", version=name[:80])
    cursor.execute("UPDATE version SET state = ? WHERE id = ? AND state <> 'accepted'", [state, name])


TABLES = StageTables(
    migrations=(
        Migration(
            "train-1",
            (
                "CREATE TABLE version (id VARCHAR PRIMARY KEY, cluster VARCHAR, adapter VARCHAR NOT NULL, merged VARCHAR, "
                "fingerprint VARCHAR NOT NULL, base VARCHAR NOT NULL, dataset VARCHAR NOT NULL, plan VARCHAR NOT NULL, run_id VARCHAR NOT NULL, "
                "state VARCHAR NOT NULL, created_at VARCHAR NOT NULL)",
                "CREATE TABLE training (run_id VARCHAR PRIMARY KEY, version VARCHAR NOT NULL)",
            ),
        ),
    ),
    reducers={"mark_version": _mark_version},
)
