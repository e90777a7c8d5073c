"""What the store keeps of curation: where a training set came from, what a teacher was worth, and golden answers.

Rows and answers are artefacts. The table `golden` names each golden answer by its item and digest, under the domain and the rubric that found it
without a fault; another rubric begins anew. It is written in the command that finishes a teaching run, and by `keep_golden` for a version that is
about to be accepted: once however often it is called, so that a loop which is killed in between only says it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from engine.base.files import read_jsonl
from engine.curate.golden import golden_answers, golden_digest
from engine.curate.types import GoldenSource, GoldenSources
from engine.evaluate.types import ItemResult
from engine.store import lineage
from engine.store.artifacts import Artifacts
from engine.store.database import Cursor, insert_rows
from engine.store.migrations import Migration
from engine.store.store import StageTables, Store

Origin = Literal["core", "training"]
_COLUMNS = ("domain", "grading", "item", "answer", "origin", "made_by", "results", "created_at", "seq")


def ingest_curation(cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records the training set's lineage; part of the command that finishes the run."""
    dataset = output["artifacts"]["dataset"]
    edges = [("selected_from", output["domain"]), ("kept_apart_from", output["suite"]), ("made_by", run_id)]
    if output.get("answers"):
        edges.append(("answers_from", output["answers"]))
    for relation, parent in edges:
        lineage.record(cursor, seq=seq, child=dataset, relation=relation, parent=parent)


def ingest_pairs(cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records the pairs' lineage; part of the command that finishes the run. The answers themselves go into no table."""
    dataset = output["artifacts"]["dataset"]
    edges = [("paired_from", output["rows_from"]), ("answered_by", output["weights"]), ("kept_apart_from", output["suite"]), ("made_by", run_id)]
    if output["counts"]["golden_chosen"]:
        edges += [("answers_from", digest) for digest in output["golden_from"]]
    for relation, parent in edges:
        lineage.record(cursor, seq=seq, child=dataset, relation=relation, parent=parent)


def ingest_teaching(artifacts: Artifacts, cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records the lineage of a usable teacher's answers and keeps the golden ones; of a teacher that is not used, nothing."""
    if not output["usable"]:
        return
    dataset, results = output["artifacts"]["dataset"], output["artifacts"]["results"]
    edges = (("selected_from", output["domain"]), ("kept_apart_from", output["suite"]), ("answered_by", output["generator"]), ("made_by", run_id))
    for relation, parent in edges:
        lineage.record(cursor, seq=seq, child=dataset, relation=relation, parent=parent)
    artifacts.verify(results)
    answers = golden_answers([ItemResult.model_validate(row) for row in read_jsonl(artifacts.path(results))])
    by = f"teacher:{output['teacher']}"
    _keep(cursor, output["domain_name"], output["grading"], "training", by, results, answers, at, seq)


def keep_golden(store: Store, *, domain: str, grading: str, by: str, results: str, answers: Mapping[str, str], key: str) -> None:
    """Keeps golden answers of a version to core items. `results`: digest of the measurement's rows; `answers`: digest of each answer, by item."""
    store.submit("keep_golden", {"domain": domain, "grading": grading, "by": by, "results": results, "answers": dict(answers)}, key=key)


def _keep_golden(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    _keep(cursor, arguments["domain"], arguments["grading"], "core", arguments["by"], arguments["results"], arguments["answers"], at, seq)
    return {"golden": len(arguments["answers"])}


def _keep(
    cursor: Cursor, domain: str, grading: str, origin: Origin, by: str, results: str, answers: Mapping[str, str], at: str, seq: int
) -> None:
    """Adds the answers that are not kept yet; one that is keeps its first maker."""
    rows = cursor.execute("SELECT item, answer FROM golden WHERE domain = ? AND grading = ? AND origin = ?", [domain, grading, origin]).fetchall()
    known = {(item, answer) for item, answer in rows}
    new = [(domain, grading, item, answer, origin, by, results, at, seq) for item, answer in answers.items() if (item, answer) not in known]
    if new:
        insert_rows(cursor, "golden", _COLUMNS, new)


TABLES = StageTables(
    migrations=(
        Migration(
            "curate-1",
            (
                "CREATE TABLE golden (domain VARCHAR NOT NULL, grading VARCHAR NOT NULL, item VARCHAR NOT NULL, answer VARCHAR NOT NULL, "
                "origin VARCHAR NOT NULL, made_by VARCHAR NOT NULL, results VARCHAR NOT NULL, created_at VARCHAR NOT NULL, seq BIGINT NOT NULL)",
            ),
        ),
    ),
    reducers={"keep_golden": _keep_golden},
)


# ---- reading ---------------------------------------------------------------------------------------------------------------------------


def golden_items(store: Store, domain: str, grading: str, origin: Origin) -> dict[str, str]:
    """Items with a golden answer, and the digest of the newest one of each."""
    rows = store.read("SELECT item, answer FROM golden WHERE domain = ? AND grading = ? AND origin = ? ORDER BY seq", [domain, grading, origin])
    return dict(rows)


def golden_version(store: Store, domain: str, grading: str) -> str:
    """Names the golden answers of a domain under a rubric as they are now."""
    kept = [golden_items(store, domain, grading, origin) for origin in ("core", "training")]
    return golden_digest({f"{number}/{item}": answer for number, items in enumerate(kept) for item, answer in items.items()})


def golden_to_teach(store: Store, artifacts: Artifacts, domain: str, grading: str) -> GoldenSources | None:
    """Where the golden answers to training prompts are: the material of examples and of pairs. None where there are none."""
    rows = store.read(
        "SELECT results FROM golden WHERE domain = ? AND grading = ? AND origin = 'training' GROUP BY results ORDER BY min(seq)", [domain, grading]
    )
    if not rows:
        return None
    sources = tuple(GoldenSource(results=str(artifacts.path(digest)), digest=digest) for (digest,) in rows)
    return GoldenSources(version=golden_version(store, domain, grading), sources=sources)
