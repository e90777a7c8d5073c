"""The DuckDB file: opened with nothing that reaches out, and set aside only on proof that it is damaged.

The file is never touched by file operations while it is open (`ownership.py` says why). When DuckDB says that the bytes are not what it wrote, the
file is renamed, never deleted, and a new one is filled from the journal. Any other error (a full disk, a lock, a newer format, a mistake in
our SQL) leaves it as it is: quarantining on a typo would throw away a healthy file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb

from engine.base.files import fsync_directory

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "memory_limit": "1GB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}

PROOFS = (
    "corrupt",
    "Corrupt",
    "CORRUPT",
    "Could not read enough bytes",
    "it is not a valid DuckDB",
    "WAL checkpoint iteration does not match",
)
"""What DuckDB says, and says only, of bytes that it did not write. Found by damaging files on purpose (`tests/store/test_damage.py`)."""

ABOUT_VALUES = (duckdb.ProgrammingError, duckdb.DataError, duckdb.IntegrityError, duckdb.NotSupportedError)


class Cursor(Protocol):
    """What stages see of the database: SQL with parameters. Always fetch all: an unread result blocks the cursor."""

    def execute(self, query: str, parameters: object = ..., /) -> Cursor: ...

    def fetchall(self) -> list[Any]: ...


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Opens or makes the database."""
    return duckdb.connect(str(path), config=CONFIG)


def forbid_reaching_out(connection: duckdb.DuckDBPyConnection) -> None:
    """From here on no SQL can read or write another file, load an extension, or change that."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def is_damage(error: BaseException) -> bool:
    """Whether DuckDB found bytes that it did not write.

    It reports that under many classes, from IOException to TransactionException. Errors about statements and values may quote any text,
    and prove nothing.
    """
    text = str(error)
    if not isinstance(error, duckdb.Error) or isinstance(error, ABOUT_VALUES) or "constraint" in text:
        return False
    return any(proof in text for proof in PROOFS)


def is_full(error: BaseException) -> bool:
    """Whether DuckDB ran out of disk or memory."""
    return isinstance(error, duckdb.OutOfMemoryException) or (isinstance(error, duckdb.IOException) and "No space left" in str(error))


def write_ahead_log(database: Path) -> Path:
    """The file beside the database with what is committed but not yet in it."""
    return database.with_name(database.name + ".wal")


def set_aside(database: Path) -> list[Path]:
    """Renames the database and its log, so that a new one can be made; returns the new names.

    The log goes first. Stopped in between, the next start finds a database that lacks its last commits, and gets them from the journal;
    the other way round it would find a log without its database, and might apply it to a new one.
    """
    number = 1
    while any(database.with_name(f"{database.name}.aside-{number}{ending}").exists() for ending in ("", ".wal")):
        number += 1
    kept: list[Path] = []
    for path, ending in ((write_ahead_log(database), ".wal"), (database, "")):
        if path.exists():
            target = database.with_name(f"{database.name}.aside-{number}{ending}")
            os.rename(path, target)
            fsync_directory(database.parent)
            kept.append(target)
    return kept


def insert_rows(cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Inserts many rows in one statement, about ten times as fast as one statement a row. `table` and `columns` are names in our own code."""
    if not rows:
        return
    values = ", ".join("unnest(?)" for _ in columns)
    cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values}", [list(column) for column in zip(*rows, strict=True)])
