"""The event log: what changed, when, by whom and why. Append-only; written inside the command that makes the change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engine.base.record import Record
from engine.store.database import Cursor

if TYPE_CHECKING:
    from engine.store.store import Store


class Event(Record):
    """One change."""

    seq: int
    """Of the command that made it."""
    happened_at: str
    kind: str
    subject: str
    """What changed: a run, a version, a cluster."""
    actor: str
    """Who changed it: a surface, a run, the supervisor."""
    reason: str
    data: dict[str, Any]


def append_event(
    cursor: Cursor, *, seq: int, at: str, kind: str, subject: str, actor: str, reason: str = "", data: dict[str, Any] | None = None
) -> None:
    """Writes an event; called by reducers only."""
    cursor.execute(
        "INSERT INTO event SELECT ?, (SELECT count(*) FROM event WHERE seq = ?), ?, ?, ?, ?, ?, ?",
        [seq, seq, at, kind, subject, actor, reason, json.dumps(data or {}, sort_keys=True)],
    )


def events_of(store: Store, subject: str) -> list[Event]:
    """Everything that happened to `subject`, oldest first."""
    rows = store.read("SELECT seq, happened_at, kind, subject, actor, reason, data FROM event WHERE subject = ? ORDER BY seq, item", [subject])
    return [
        Event(seq=seq, happened_at=at, kind=kind, subject=name, actor=actor, reason=reason, data=json.loads(data))
        for seq, at, kind, name, actor, reason, data in rows
    ]
