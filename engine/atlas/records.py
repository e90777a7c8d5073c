"""The decision history: questions about models, hardware and training with the answers that they had, and what people noted.

    decision_record   one row a question and answer; asked again with the same answer it is the same row
    decision_note     notes, oldest first

What is kept is what the tool answered, not what a caller says that it did.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from engine.base.digests import digest_of
from engine.errors import NotFound
from engine.store.database import Cursor
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import StageTables, Store


class Note(NamedTuple):
    """What somebody wrote beside a decision."""

    by: str
    at: str
    text: str


class DecisionRecord(NamedTuple):
    """A question with its answer."""

    id: str
    question: str
    """The tool that was asked."""
    arguments: dict[str, Any]
    answer: dict[str, Any]
    by: str
    at: str
    notes: tuple[Note, ...]


def keep(store: Store, question: str, arguments: dict[str, Any], answer: dict[str, Any], *, note: str, by: str) -> str:
    """Keeps an answer, with a note where there is one; its id. The same question with the same answer has the same id."""
    name = f"d-{digest_of([question, arguments, answer])[:12]}"
    made = {"id": name, "question": question, "arguments": arguments, "answer": answer, "note": note, "by": by}
    store.submit("keep_decision", made)
    return name


def add_note(store: Store, decision: str, *, note: str, by: str) -> None:
    """Adds a note. NotFound where there is no such decision."""
    store.submit("note_decision", {"id": decision, "note": note, "by": by})


def decisions(store: Store, *, offset: int, limit: int) -> list[DecisionRecord]:
    """Those that were kept, newest first."""
    rows = store.read(_SELECT + "ORDER BY seq DESC LIMIT ? OFFSET ?", [limit, offset])
    return [_with_notes(store, row) for row in rows]


def count(store: Store) -> int:
    """How many are kept."""
    return int(store.read("SELECT count(*) FROM decision_record")[0][0])


def decision(store: Store, name: str) -> DecisionRecord:
    """One of them. NotFound names the newest."""
    rows = store.read(_SELECT + "WHERE id = ?", [name])
    if not rows:
        raise _unknown(name, [row[0] for row in store.read("SELECT id FROM decision_record ORDER BY seq DESC LIMIT 5")])
    return _with_notes(store, rows[0])


def _with_notes(store: Store, row: tuple[Any, ...]) -> DecisionRecord:
    notes = store.read("SELECT written_by, created_at, note FROM decision_note WHERE decision = ? ORDER BY seq", [row[0]])
    name, question, arguments, answer, by, at = row
    return DecisionRecord(name, question, json.loads(arguments), json.loads(answer), by, at, tuple(Note(*note) for note in notes))


def _unknown(name: str, known: list[str]) -> NotFound:
    step = f"The newest are {', '.join(known)}." if known else "None has been kept yet: call record_decision."
    return NotFound(f"there is no decision {name[:80]!r}", next_step=step, known=known)


_SELECT = "SELECT id, question, arguments, answer, written_by, created_at FROM decision_record "


# ---- within commands -------------------------------------------------------------------------------------------------------------------


def _keep_decision(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    name, by = arguments["id"], arguments["by"]
    known = cursor.execute("SELECT 1 FROM decision_record WHERE id = ?", [name]).fetchall()
    if not known:
        cursor.execute(
            "INSERT INTO decision_record (id, question, arguments, answer, written_by, created_at, seq) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [name, arguments["question"], json.dumps(arguments["arguments"]), json.dumps(arguments["answer"]), by, at, seq],
        )
        append_event(cursor, seq=seq, at=at, kind="decision_recorded", subject=name, actor=by, reason=arguments["note"])
    if arguments["note"]:
        _write_note(cursor, name, arguments["note"], by, at, seq)
    return {"id": name}


def _note_decision(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    name = arguments["id"]
    if not cursor.execute("SELECT 1 FROM decision_record WHERE id = ?", [name]).fetchall():
        newest = cursor.execute("SELECT id FROM decision_record ORDER BY seq DESC LIMIT 5").fetchall()
        raise _unknown(name, [row[0] for row in newest])
    _write_note(cursor, name, arguments["note"], arguments["by"], at, seq)
    append_event(cursor, seq=seq, at=at, kind="decision_noted", subject=name, actor=arguments["by"], reason=arguments["note"])
    return {"id": name}


def _write_note(cursor: Cursor, name: str, note: str, by: str, at: str, seq: int) -> None:
    cursor.execute("INSERT INTO decision_note (decision, note, written_by, created_at, seq) VALUES (?, ?, ?, ?, ?)", [name, note, by, at, seq])


TABLES = StageTables(
    migrations=(
        Migration(
            "atlas-1",
            (
                "CREATE TABLE decision_record (id VARCHAR PRIMARY KEY, question VARCHAR NOT NULL, arguments JSON NOT NULL, answer JSON NOT NULL, "
                "written_by VARCHAR NOT NULL, created_at VARCHAR NOT NULL, seq BIGINT NOT NULL)",
                "CREATE TABLE decision_note (decision VARCHAR NOT NULL, note VARCHAR NOT NULL, written_by VARCHAR NOT NULL, "
                "created_at VARCHAR NOT NULL, seq BIGINT NOT NULL)",
            ),
        ),
    ),
    reducers={"keep_decision": _keep_decision, "note_decision": _note_decision},
)
