"""What needs the store to itself: comparing the database with its journal, and making it again.

Runs in the process that asks, as the owner of the store, while no daemon runs.
"""

from __future__ import annotations

from typing import Any

from engine.base.paths import Workspace
from engine.engine import stage_tables
from engine.errors import StoreDamaged
from engine.store.rebuild import rebuild, verify


def verify_store(workspace: Workspace) -> dict[str, Any]:
    """Whether a database made from the journal says the same as the one in use. Raises StoreDamaged when it does not."""
    found = verify(workspace, stage_tables(workspace))
    if found.differing:
        raise StoreDamaged(
            f"the database differs from its journal in {', '.join(found.differing)}",
            next_step="Run `modelsmith store rebuild`: the journal is the truth; the database is kept aside.",
            differing=list(found.differing),
        )
    rows = sum(found.tables.values())
    return {"summary": f"{found.commands} commands and {rows} rows: the database says what its journal says.", **found.model_dump(mode="json")}


def rebuild_store(workspace: Workspace) -> dict[str, Any]:
    """The database, made again from the journal."""
    made = rebuild(workspace, stage_tables(workspace))
    kept = f" The old one is kept as {', '.join(made.kept)}." if made.kept else ""
    return {"summary": f"Made again from {made.commands} commands in {made.seconds} s.{kept}", **made.model_dump(mode="json")}
