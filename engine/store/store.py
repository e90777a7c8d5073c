"""The store: one owner, one writer, and a command that was answered is never lost.

    WORKSPACE/.modelsmith/
      owner.lock              held by the owner
      journal.jsonl           every accepted command; the truth
      journal.jsonl.torn-…    ends that crashes tore off, kept for inspection
      state.duckdb(.wal)      what one queries; rebuildable
      state.duckdb.aside-…    databases that turned out damaged, kept
      state.duckdb.suspect    damage was found while running; the next start sets the database aside

A command takes this way, one at a time: BEGIN, the reducer checks and writes, the journal line is written and synced, COMMIT, answer. What
the next start sees after a crash:

    before the line is on disk      nothing happened; a retry with the same key applies it once
    after that, before COMMIT       the command is replayed; a retry gets the recorded answer
    COMMIT or sync failed           the outcome is unknown, so this store refuses everything (StoreFailed) and its process must exit
    the database is damaged         it is set aside and filled again from the journal and the workers' spools
    the journal is damaged          inside: refused, with the line; at its torn end: cut
    the journal is gone             refused: an empty one in its place would pass for the truth

Workers never come here. They append to a spool of their own, which `ingest_spool` takes in exactly once: rows and position are committed
together, after the spool was synced, so that no power cut leaves a spool that ends before its position. Spools are not journalled and not
deleted, so that a rebuilt database takes them in again.

Reading goes beside writing: each read has a cursor of its own and sees the last commit.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import duckdb

from engine.base.clock import Clock, utc_now
from engine.base.digests import digest_of
from engine.base.files import SpoolLine, read_spool, sync_file, write_atomic
from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid, KeyReused, ModelsmithError, ResourceExhausted, StoreDamaged, StoreFailed
from engine.store.database import Cursor, connect, forbid_reaching_out, insert_rows, is_damage, is_full, set_aside, write_ahead_log
from engine.store.journal import Journal, Line
from engine.store.migrations import STORE, Migration, migrate
from engine.store.ownership import OwnerLock, refuse_network_filesystem
from engine.store.replay import Reducer, StageTables, apply_entry, merge_reducers, replay

__all__ = ["Cursor", "StageTables", "Store"]

MAX_KEY_CHARACTERS = 200
SPOOL_BATCH = 5000


class Store:
    """The open store of a workspace. Safe to use from many threads."""

    def __init__(
        self,
        workspace: Workspace,
        lock: OwnerLock,
        journal: Journal,
        connection: duckdb.DuckDBPyConnection,
        reducers: Mapping[str, Reducer],
        clock: Clock,
    ) -> None:
        self.workspace = workspace
        self._lock = lock
        self._journal = journal
        self._connection = connection
        self._reducers = reducers
        self._clock = clock
        self._writing = threading.Lock()
        self._writer = connection.cursor()
        self._readers: list[duckdb.DuckDBPyConnection] = []
        self._failure: StoreFailed | None = None

    @classmethod
    def open(cls, workspace: Workspace, stages: Sequence[StageTables], clock: Clock = utc_now) -> Store:
        """Becomes the owner and brings the database up to the journal.

        Raises StoreOwned when another process is the owner, StoreDamaged when the journal or a newer format cannot be trusted, PathRefused on a
        network file system.
        """
        workspace.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_network_filesystem(workspace.state)
        reducers = merge_reducers(stages)
        with contextlib.ExitStack() as undo:
            lock = OwnerLock(workspace.owner_lock)
            undo.callback(lock.release)
            if workspace.database.exists() and not workspace.journal.exists():
                raise StoreDamaged(
                    f"{workspace.journal.name} is not there, but {workspace.database.name} is: every accepted command is missing from it",
                    next_step=f"Put {workspace.journal.name} back from a backup; the database was not touched.",
                    path=str(workspace.journal),
                )
            journal = Journal.open(workspace.journal)
            undo.callback(journal.close)
            connection = _open_or_refill(workspace, journal, stages, reducers)
            undo.callback(connection.close)
            store = cls(workspace, lock, journal, connection, reducers, clock)
            store.ingest_all_spools()
            forbid_reaching_out(connection)
            undo.pop_all()
        return store

    # ---- commands --------------------------------------------------------------------------------------------------------------------

    def submit(self, op: str, arguments: dict[str, Any], *, key: str | None = None, asked: Any = None) -> dict[str, Any]:
        """Runs a command and returns its answer; it is on disk when this returns.

        A key that was used before returns the recorded answer when it asks for the same, and raises KeyReused otherwise. "The same" means equal
        `asked`, for a command whose arguments hold more than the caller asked for; by default it means equal arguments. A refusal by the
        reducer changes nothing and is not recorded.
        """
        if op not in self._reducers:
            raise ValueError(f"there is no command {op}")
        if key is not None and not 0 < len(key) <= MAX_KEY_CHARACTERS:
            raise ArgumentInvalid(
                f"an idempotency key has 1 to {MAX_KEY_CHARACTERS} characters; this one has {len(key)}", next_step="Use a short key, such as a UUID."
            )
        identity = digest_of({"op": op, "asked": arguments if asked is None else asked})
        with self._writing:
            self._refuse_after_failure()
            if key is not None:
                recorded = self._recorded(key, identity)
                if recorded is not None:
                    return recorded
            line = self._journal.line(at=self._clock(), key=key or secrets.token_hex(16), op=op, identity=identity, arguments=arguments)
            return self._accept(line)

    def answer_of(self, key: str) -> dict[str, Any] | None:
        """The recorded answer of the command that had `key`; None when there was none."""
        rows = self.read("SELECT result FROM command WHERE key = ?", [key])
        answer: dict[str, Any] | None = json.loads(rows[0][0]) if rows else None
        return answer

    def _recorded(self, key: str, identity: str) -> dict[str, Any] | None:
        rows = self._writer.execute("SELECT op, identity, result, accepted_at FROM command WHERE key = ?", [key]).fetchall()
        if not rows:
            return None
        op, known, result, accepted_at = rows[0]
        if known != identity:
            raise KeyReused(
                f"the idempotency key {key!r} was used at {accepted_at} for {op} with other arguments",
                next_step="Repeat the same arguments to get the same answer, or use a new key.",
                key=key,
            )
        answer: dict[str, Any] = json.loads(result)
        return answer

    def _accept(self, line: Line) -> dict[str, Any]:
        try:
            self._writer.execute("BEGIN")
            answer = apply_entry(self._writer, line.entry, self._reducers)
        except BaseException as error:
            self._undo(error)
            raise
        try:
            self._journal.append(line)
        except ResourceExhausted as error:
            self._undo(error)
            raise
        except BaseException as error:
            self._fail(error)
        try:
            self._writer.execute("COMMIT")
        except BaseException as error:
            self._fail(error)
        return answer

    # ---- reading ---------------------------------------------------------------------------------------------------------------------

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query over what is committed now."""
        self._refuse_after_failure()
        try:
            cursor = self._readers.pop()
        except IndexError:
            cursor = self._connection.cursor()
        try:
            rows = cursor.execute(sql, list(parameters)).fetchall()
        except duckdb.Error as error:
            cursor.close()
            if is_damage(error):
                self._fail(error)
            raise
        self._readers.append(cursor)
        return rows

    # ---- spools ----------------------------------------------------------------------------------------------------------------------

    def ingest_spool(self, writer: str, path: Path) -> int:
        """Takes in the lines of a worker's spool that are new, and returns how many there were."""
        with self._writing:
            self._refuse_after_failure()
            rows = self._writer.execute("SELECT end_offset, seq FROM spool WHERE writer = ?", [writer]).fetchall()
            offset, seq = rows[0] if rows else (0, 0)
            lines = [line for line in islice(read_spool(path, offset), SPOOL_BATCH) if line.seq > seq]
            if lines:
                sync_file(path)  # the worker does not; without its lines, its next attempt would write new ones before the recorded position
                self._take_in(writer, lines)
        return len(lines)

    def ingest_all_spools(self) -> None:
        """Takes in what is new in the spools of all run directories: everything, for a database that was just made."""
        positions = dict(self.read("SELECT writer, end_offset FROM spool"))
        for path in sorted(self.workspace.runs.glob("*/progress.jsonl")):
            if path.stat().st_size > positions.get(path.parent.name, 0):
                while self.ingest_spool(path.parent.name, path):
                    continue

    def _take_in(self, writer: str, lines: list[SpoolLine]) -> None:
        last = lines[-1]
        try:
            self._writer.execute("BEGIN")
            insert_rows(
                self._writer,
                "progress",
                ("writer", "seq", "reported_at", "data"),
                [(writer, line.seq, line.at, json.dumps(line.data, sort_keys=True)) for line in lines],
            )
            self._writer.execute(
                "INSERT INTO spool VALUES (?, ?, ?, ?, ?) ON CONFLICT (writer) DO UPDATE SET end_offset = excluded.end_offset, "
                "seq = excluded.seq, latest = excluded.latest, latest_at = excluded.latest_at",
                [writer, last.end_offset, last.seq, json.dumps(last.data, sort_keys=True), last.at],
            )
            self._writer.execute("COMMIT")
        except BaseException as error:
            self._undo(error)
            raise

    # ---- the end ---------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Gives the store up. What was answered is on disk already; this only saves the next start some work."""
        with self._writing:
            if self._failure is None:
                try:
                    self._connection.execute("CHECKPOINT")
                except duckdb.Error as error:  # the next start replays the log, or sets the database aside
                    self._suspect(error)
            self._failure = self._failure or StoreFailed("the store is closed", next_step="Open it again.")
            for cursor in (*self._readers, self._writer, self._connection):
                cursor.close()
            self._readers.clear()
            self._journal.close()
            self._lock.release()

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _undo(self, cause: BaseException) -> None:
        """Rolls back after `cause`. Turns a full disk into ResourceExhausted and damage or a failed rollback into StoreFailed."""
        if is_damage(cause):
            self._fail(cause)
        try:
            self._writer.execute("ROLLBACK")
        except duckdb.TransactionException:
            pass  # a failed COMMIT has rolled back by itself, and a failed BEGIN has nothing to roll back
        except duckdb.Error:
            self._fail(cause)
        if is_full(cause) and not isinstance(cause, ModelsmithError):
            raise ResourceExhausted(
                f"the database cannot be written: {str(cause)[:300]}", next_step="Free disk space or memory, then try again; nothing was changed."
            ) from cause

    def _fail(self, cause: BaseException) -> NoReturn:
        """Refuses everything from now on: what is on disk is known only to the next start."""
        self._failure = (
            cause
            if isinstance(cause, StoreFailed)
            else StoreFailed(
                f"a write to the store failed in a way that leaves its outcome open: {type(cause).__name__}: {str(cause)[:300]}",
                next_step="The daemon stops; the next start takes up from the journal.",
            )
        )
        self._suspect(cause)
        if self._failure is cause:
            raise self._failure
        raise self._failure from cause

    def _suspect(self, cause: BaseException) -> None:
        """Leaves word for the next start when `cause` proves the database damaged."""
        if is_damage(cause):
            with contextlib.suppress(OSError):
                write_atomic(_suspect_flag(self.workspace), str(cause)[:1000].encode())


def _suspect_flag(workspace: Workspace) -> Path:
    return workspace.database.with_name(workspace.database.name + ".suspect")


def _open_or_refill(
    workspace: Workspace, journal: Journal, stages: Sequence[StageTables], reducers: Mapping[str, Reducer]
) -> duckdb.DuckDBPyConnection:
    """The database at the journal's end. Sets a damaged one aside, at most once."""
    database = workspace.database
    orphaned = write_ahead_log(database).exists() and not database.exists()
    if orphaned or _suspect_flag(workspace).exists():
        set_aside(database)
        _suspect_flag(workspace).unlink(missing_ok=True)
    try:
        return _open_database(database, journal, stages, reducers)
    except duckdb.Error as error:
        if not is_damage(error):
            raise _unusable(database, error) from error
    set_aside(database)
    try:
        return _open_database(database, journal, stages, reducers)
    except duckdb.Error as error:
        raise _unusable(database, error) from error


def _open_database(path: Path, journal: Journal, stages: Sequence[StageTables], reducers: Mapping[str, Reducer]) -> duckdb.DuckDBPyConnection:
    """The database at `path`, with its tables up to date and every command of the journal applied."""
    migrations: list[Migration] = [STORE, *(migration for stage in stages for migration in stage.migrations)]
    connection = connect(path)
    try:
        migrate(connection, migrations)
        replay(connection, journal, reducers)
    except BaseException:
        connection.close()
        raise
    return connection


def _unusable(path: Path, error: duckdb.Error) -> ModelsmithError:
    if is_full(error):
        return ResourceExhausted(f"{path.name} cannot be opened: {str(error)[:300]}", next_step="Free disk space or memory, then start again.")
    return StoreFailed(
        f"{path.name} cannot be opened: {type(error).__name__}: {str(error)[:300]}",
        next_step="The file was left as it is. If a newer Modelsmith wrote it, update; otherwise report this as a defect.",
    )
