"""What came from what: edges between runs, versions, measurements and artefacts, recorded in the command that makes the child."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from engine.store.database import Cursor

if TYPE_CHECKING:
    from engine.store.store import Store


class Edge(NamedTuple):
    """`child` has `parent` as its `relation`: an adapter `trained_on` a data set, an artefact `made_by` a run."""

    child: str
    relation: str
    parent: str


def record(cursor: Cursor, *, seq: int, child: str, relation: str, parent: str) -> None:
    """Writes an edge; called by reducers only. An edge that is there already stays."""
    cursor.execute("INSERT INTO lineage VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", [child, relation, parent, seq])


def ancestors(store: Store, name: str) -> list[Edge]:
    """Every edge above `name` (a digest or an id), nearest first."""
    found: list[Edge] = []
    seen, level = {name}, [name]
    while level:
        marks = ", ".join("?" for _ in level)
        rows = store.read(f"SELECT child, relation, parent FROM lineage WHERE child IN ({marks}) ORDER BY seq, child, relation, parent", level)  # noqa: S608
        edges = [Edge(*row) for row in rows]
        found.extend(edges)
        level = [parent for parent in dict.fromkeys(edge.parent for edge in edges) if parent not in seen]
        seen.update(level)
    return found
