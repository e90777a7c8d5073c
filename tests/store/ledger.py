"""A small stage for tests of the store: notes that must not be lost or doubled, and a compare-and-set that one racer wins."""

from __future__ import annotations

from typing import Any

from engine.base.paths import Workspace
from engine.errors import StateConflict
from engine.store import lineage
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.rebuild import VerifyReport, verify
from engine.store.store import Cursor, StageTables, Store


def _note(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    if arguments.get("refuse"):
        raise StateConflict("no such note", next_step="None.")
    cursor.execute("INSERT INTO note VALUES (?, ?, ?)", [seq, arguments["text"], at])
    append_event(cursor, seq=seq, at=at, kind="noted", subject=arguments["text"][:20], actor="test", data=arguments)
    lineage.record(cursor, seq=seq, child=f"n{seq}", relation="after", parent=f"n{seq - 1}")
    if arguments.get("break"):
        raise ZeroDivisionError
    return {"seq": seq, "at": at}


def _promote(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    rows = cursor.execute("SELECT version FROM serving WHERE domain = 'd'").fetchall()
    version = rows[0][0] if rows else 0
    if version != arguments["expected"]:
        raise StateConflict(f"version is {version}", next_step="Look again.")
    cursor.execute("INSERT INTO serving VALUES ('d', ?) ON CONFLICT (domain) DO UPDATE SET version = excluded.version", [version + 1])
    return {"version": version + 1}


LEDGER = StageTables(
    (
        Migration(
            "ledger-1",
            ("CREATE TABLE note (seq BIGINT, text VARCHAR, noted_at VARCHAR)", "CREATE TABLE serving (domain VARCHAR PRIMARY KEY, version INTEGER)"),
        ),
    ),
    {"note": _note, "promote": _promote},
)


def open_store(workspace: Workspace) -> Store:
    return Store.open(workspace, (LEDGER,))


def keys(store: Store) -> set[str]:
    """The keys of all commands that the store knows."""
    return {key for (key,) in store.read("SELECT key FROM command")}


def verify_ledger(workspace: Workspace) -> VerifyReport:
    return verify(workspace, (LEDGER,))
