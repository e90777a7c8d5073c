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


_EVENT = "SELECT seq, happened_at, kind, subject, actor, reason, data FROM event "
_NEWEST_OF_ITS_SUBJECT = "QUALIFY row_number() OVER (PARTITION BY subject ORDER BY seq DESC, item DESC) = 1"


def newest_of_kind(store: Store, kind: str, limit: int) -> list[Event]:
    """The newest events of a kind, newest first."""
    return [_event(row) for row in store.read(_EVENT + "WHERE kind = ? ORDER BY seq DESC, item DESC LIMIT ?", [kind, limit])]


def newest_of_subject(store: Store, beginning: str) -> dict[str, Event]:
    """The newest event of each subject whose name begins so."""
    rows = store.read(_EVENT + "WHERE starts_with(subject, ?) " + _NEWEST_OF_ITS_SUBJECT, [beginning])
    return {event.subject: event for event in map(_event, rows)}


def events_of(store: Store, subject: str) -> list[Event]:
    """Everything that happened to `subject`, oldest first."""
    return [_event(row) for row in store.read(_EVENT + "WHERE subject = ? ORDER BY seq, item", [subject])]


def _event(row: tuple[Any, ...]) -> Event:
    seq, at, kind, subject, actor, reason, data = row
    return Event(seq=seq, happened_at=at, kind=kind, subject=subject, actor=actor, reason=reason, data=json.loads(data))
