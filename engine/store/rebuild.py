"""Making the database again from the journal, and proving that it says the same as the one in use.

Both need to be the owner: stop the daemon first. `rebuild` sets the database aside and opens the store, which fills a new one; stopped half
way, the next start goes on with what was filled. `verify` fills a database in a folder of its own, compares every table, and leaves the one
in use alone.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from engine.base.clock import Clock, utc_now
from engine.base.digests import digest_of
from engine.base.paths import Workspace
from engine.base.record import Record
from engine.errors import StoreDamaged
from engine.store.database import set_aside
from engine.store.journal import Journal
from engine.store.ownership import OwnerLock
from engine.store.store import StageTables, Store


class RebuildReport(Record):
    """What a rebuild did."""

    commands: int
    """Taken from the journal."""
    seconds: float
    kept: tuple[str, ...]
    """Names of the files that were set aside."""


class VerifyReport(Record):
    """How a rebuilt database compares with the one in use."""

    commands: int
    tables: dict[str, int]
    """Rows by table."""
    differing: tuple[str, ...]
    """Tables that differ; none when all is well."""


def rebuild(workspace: Workspace, stages: Sequence[StageTables], clock: Clock = utc_now) -> RebuildReport:
    """Replaces the database by a new one, filled from the journal and the spools."""
    started = time.monotonic()
    if not workspace.journal.exists():
        raise _nothing_to_rebuild_from(workspace, "is not there")
    lock = OwnerLock(workspace.owner_lock)
    try:
        journal = Journal.open(workspace.journal)  # a damaged journal is refused before the database is set aside
        journal.close()
        if journal.seq == 0 and workspace.database.exists():
            raise _nothing_to_rebuild_from(workspace, "holds no command")
        kept = set_aside(workspace.database)
    finally:
        lock.release()
    store = Store.open(workspace, stages, clock)
    try:
        ((commands,),) = store.read("SELECT count(*) FROM command")
    finally:
        store.close()
    return RebuildReport(commands=commands, seconds=round(time.monotonic() - started, 3), kept=tuple(path.name for path in kept))


def verify(workspace: Workspace, stages: Sequence[StageTables], clock: Clock = utc_now) -> VerifyReport:
    """Rebuilds beside the store and compares. Raises StoreDamaged when the journal itself is not sound."""
    scratch = workspace.state / "verify"
    shutil.rmtree(scratch, ignore_errors=True)
    copy = Workspace(scratch)
    copy.state.mkdir(parents=True)
    try:
        live = Store.open(workspace, stages, clock)
        try:
            live.ingest_all_spools()
            shutil.copyfile(workspace.journal, copy.journal)
            _link_spools(workspace.runs, copy.runs)
            again = Store.open(copy, stages, clock)
            try:
                return compare_stores(live, again)
            finally:
                again.close()
        finally:
            live.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def compare_stores(live: Store, again: Store) -> VerifyReport:
    """Compares two stores table by table, whatever the order of their rows."""
    digests, others = (table_digests(store) for store in (live, again))
    ((commands,),) = live.read("SELECT count(*) FROM command")
    return VerifyReport(
        commands=commands,
        tables={name: rows for name, (rows, _) in digests.items()},
        differing=tuple(sorted(name for name in digests.keys() | others.keys() if digests.get(name) != others.get(name))),
    )


def table_digests(store: Store) -> dict[str, tuple[int, str]]:
    """Rows and a digest of the content of every table. The record of migrations is left out: it names the DuckDB that ran them."""
    names = [name for (name,) in store.read("SELECT table_name FROM duckdb_tables() ORDER BY table_name") if name != "migration"]
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        rows = store.read(f"SELECT * FROM {name} ORDER BY ALL")  # noqa: S608 - names from our own migrations
        found[name] = (len(rows), digest_of([[str(value) for value in row] for row in rows]))
    return found


def _nothing_to_rebuild_from(workspace: Workspace, why: str) -> StoreDamaged:
    return StoreDamaged(
        f"{workspace.journal.name} {why}, so nothing can be rebuilt from it", next_step="Put it back from a backup; the database was not touched."
    )


def _link_spools(runs: Path, target: Path) -> None:
    for path in runs.glob("*/progress.jsonl"):
        folder = target / path.parent.name
        folder.mkdir(parents=True)
        (folder / path.name).symlink_to(path)
