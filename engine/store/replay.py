"""Applying commands: the one code path by which a command reaches the database, live or replayed.

A reducer is a function of the command and of what the database holds: no clock, no randomness, no network. Live, the command is first parsed
back from its journal line, so that what is replayed later is what was applied. The result is stored with the command; a retry with the same
key is answered from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import duckdb

from engine.base.digests import canonical_json
from engine.errors import StoreDamaged
from engine.store.database import Cursor, is_damage
from engine.store.journal import GENESIS, Entry, Journal
from engine.store.migrations import Migration

Reducer = Callable[[Cursor, dict[str, Any], str, int], dict[str, Any]]
"""`reducer(cursor, arguments, at, seq)` checks and writes, and returns the answer. An engine error refuses the command."""

BATCH = 500
"""Commands to a transaction while replaying; a crash repeats at most one batch."""


class StageTables(NamedTuple):
    """What a stage keeps in the store: the steps that make its tables, and the commands that write them."""

    migrations: tuple[Migration, ...]
    reducers: Mapping[str, Reducer]


def merge_reducers(stages: Sequence[StageTables]) -> dict[str, Reducer]:
    """All commands by name. Two stages with one name are a mistake in the code."""
    merged: dict[str, Reducer] = {}
    for stage in stages:
        for op, reducer in stage.reducers.items():
            if op in merged:
                raise ValueError(f"two stages define the command {op}")
            merged[op] = reducer
    return merged


def apply_entry(cursor: Cursor, entry: Entry, reducers: Mapping[str, Reducer]) -> dict[str, Any]:
    """Applies one command inside the transaction that is open on `cursor`, and records its answer."""
    result = canonical_json(reducers[entry.op](cursor, entry.arguments, entry.at, entry.seq)).decode()
    cursor.execute(
        "INSERT INTO command VALUES (?, ?, ?, ?, ?, ?, ?)", [entry.key, entry.seq, entry.op, entry.identity, result, entry.chain, entry.at]
    )
    answer: dict[str, Any] = json.loads(result)
    return answer


def replay(connection: duckdb.DuckDBPyConnection, journal: Journal, reducers: Mapping[str, Reducer]) -> int:
    """Brings the database up to the journal's end and returns how many commands that took.

    Raises StoreDamaged when the two do not belong together, or the journal holds a command that cannot be applied.
    """
    applied, chain = _position(connection)
    if (applied, chain) == (journal.seq, journal.head):
        return 0  # as at most starts; the journal was read once, when it was opened, and is not read again
    if applied > journal.seq:
        raise StoreDamaged(
            f"the database holds {applied} commands, but {journal.path.name} ends at {journal.seq}: acknowledged commands are missing from it",
            next_step=f"Put {journal.path.name} back from a backup. Only if there is none: `modelsmith store rebuild` keeps what the journal has.",
            applied=applied,
            journal=journal.seq,
        )
    entries = journal.entries(after=applied - 1) if applied else journal.entries()
    if applied and next(iter(entries)).chain != chain:
        raise StoreDamaged(
            f"the database was filled from another journal: they differ at command {applied}",
            next_step="Put back the database and the journal of one backup, or rebuild the database with `modelsmith store rebuild`.",
            line=applied,
        )
    count = 0
    while batch := list(islice(entries, BATCH)):
        _replay_batch(connection, batch, reducers)
        count += len(batch)
    if count:
        connection.execute("CHECKPOINT")
    return count


def _position(connection: duckdb.DuckDBPyConnection) -> tuple[int, str]:
    rows = connection.execute("SELECT seq, chain FROM command ORDER BY seq DESC LIMIT 1").fetchall()
    return rows[0] if rows else (0, GENESIS)


def _replay_batch(connection: duckdb.DuckDBPyConnection, batch: Iterable[Entry], reducers: Mapping[str, Reducer]) -> None:
    connection.execute("BEGIN")
    try:
        for entry in batch:
            _replay_entry(connection, entry, reducers)
        connection.execute("COMMIT")
    except BaseException:
        _roll_back_quietly(connection)
        raise


def _replay_entry(connection: duckdb.DuckDBPyConnection, entry: Entry, reducers: Mapping[str, Reducer]) -> None:
    if entry.op not in reducers:
        raise StoreDamaged(
            f"line {entry.seq} of the journal holds the command {entry.op[:80]!r}, which this version of Modelsmith does not know",
            next_step="Update Modelsmith.",
            line=entry.seq,
        )
    try:
        apply_entry(connection, entry, reducers)
    except Exception as error:
        if is_damage(error):
            raise
        raise StoreDamaged(
            f"line {entry.seq} of the journal ({entry.op}) was accepted once and is refused now: {type(error).__name__}: {str(error)[:300]}",
            next_step="If an artefact is missing, put .modelsmith/artifacts back from a backup; otherwise report this as a defect.",
            line=entry.seq,
            op=entry.op,
        ) from error


def _roll_back_quietly(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:
        return  # DuckDB rolled back by itself, or the error that brought us here says more
