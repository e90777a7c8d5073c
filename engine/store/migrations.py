"""The shape of the tables, as small ordered steps, each recorded in the transaction that makes it.

Steps only add tables and columns. A step is never changed once a store may hold it: its digest is recorded, and another digest under the same
name is refused. A store with a step that this code does not know was written by a newer version, and is refused too. No foreign keys (DuckDB
refuses harmless updates of referenced rows), no secondary indexes on columns that change, no column named `at` (a reserved word).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import duckdb

from engine.base.digests import digest_of
from engine.errors import StoreDamaged


class Migration(NamedTuple):
    """One step: a name, unique over all stages, and the statements that make it."""

    name: str
    statements: tuple[str, ...]


STORE = Migration(
    "store-1",
    (
        # `seq` of the last row is how far the journal has been applied; `chain` ties the database to that very journal.
        "CREATE TABLE command (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, op VARCHAR NOT NULL, identity VARCHAR NOT NULL, "
        "result VARCHAR NOT NULL, chain VARCHAR NOT NULL, accepted_at VARCHAR NOT NULL)",
        "CREATE TABLE event (seq BIGINT NOT NULL, item INTEGER NOT NULL, happened_at VARCHAR NOT NULL, kind VARCHAR NOT NULL, "
        "subject VARCHAR NOT NULL, actor VARCHAR NOT NULL, reason VARCHAR NOT NULL, data VARCHAR NOT NULL, PRIMARY KEY (seq, item))",
        "CREATE TABLE lineage (child VARCHAR NOT NULL, relation VARCHAR NOT NULL, parent VARCHAR NOT NULL, seq BIGINT NOT NULL, "
        "PRIMARY KEY (child, relation, parent))",
        "CREATE TABLE spool (writer VARCHAR PRIMARY KEY, end_offset BIGINT NOT NULL, seq BIGINT NOT NULL, latest VARCHAR NOT NULL, "
        "latest_at VARCHAR NOT NULL)",
        "CREATE TABLE progress (writer VARCHAR NOT NULL, seq BIGINT NOT NULL, reported_at VARCHAR NOT NULL, data VARCHAR NOT NULL, "
        "PRIMARY KEY (writer, seq))",
    ),
)


def migrate(connection: duckdb.DuckDBPyConnection, migrations: Sequence[Migration]) -> list[str]:
    """Applies the steps that are missing, all or none, and returns their names."""
    connection.execute("BEGIN")
    try:
        applied = _apply_missing(connection, migrations)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    if applied:
        connection.execute("CHECKPOINT")  # a change of tables must not wait in the log for a crash to replay it
    return applied


def _apply_missing(connection: duckdb.DuckDBPyConnection, migrations: Sequence[Migration]) -> list[str]:
    connection.execute("CREATE TABLE IF NOT EXISTS migration (name VARCHAR PRIMARY KEY, digest VARCHAR NOT NULL, duckdb_version VARCHAR NOT NULL)")
    recorded = dict(connection.execute("SELECT name, digest FROM migration").fetchall())
    unknown = sorted(set(recorded) - {migration.name for migration in migrations})
    if unknown:
        raise StoreDamaged(
            f"the store was written by a newer version of Modelsmith: it holds {', '.join(unknown)}",
            next_step="Update Modelsmith, or rebuild the database from its journal with `modelsmith store rebuild`.",
            migrations=unknown,
        )
    applied: list[str] = []
    for migration in migrations:
        digest = digest_of(migration.statements)
        if migration.name in recorded:
            if recorded[migration.name] != digest:
                raise StoreDamaged(
                    f"the tables of {migration.name} were made by another version of that step",
                    next_step="Rebuild the database from its journal with `modelsmith store rebuild`.",
                    migration=migration.name,
                )
            continue
        for statement in migration.statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migration VALUES (?, ?, ?)", [migration.name, digest, duckdb.__version__])
        applied.append(migration.name)
    return applied
