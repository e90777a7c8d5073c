"""What the store keeps of a curation run and of pairs: where a training set came from. No table of its own; the rows are an artefact."""

from __future__ import annotations

from typing import Any

from engine.store import lineage
from engine.store.database import Cursor


def ingest_curation(cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records the training set's lineage; part of the command that finishes the run."""
    dataset = output["artifacts"]["dataset"]
    for relation, parent in (("selected_from", output["domain"]), ("kept_apart_from", output["suite"]), ("made_by", run_id)):
        lineage.record(cursor, seq=seq, child=dataset, relation=relation, parent=parent)


def ingest_pairs(cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records the pairs' lineage; part of the command that finishes the run. The answers themselves go into no table."""
    dataset = output["artifacts"]["dataset"]
    edges = (("paired_from", output["rows_from"]), ("answered_by", output["weights"]), ("kept_apart_from", output["suite"]), ("made_by", run_id))
    for relation, parent in edges:
        lineage.record(cursor, seq=seq, child=dataset, relation=relation, parent=parent)
