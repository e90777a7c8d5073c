"""Tables of measuring: one row a measurement, one row a scenario's result.

A measurement is ingested in the command that finishes its run, so it is there exactly when the run has succeeded. Its rows come from the
results artefact, which holds them in full (answers, checks); the table holds what one queries: score, pass, outcome, observations. A rebuild
of the database therefore needs the artefacts.

Held-out rows are in both. What an agent may see of them is decided above, in the engine's answers, which hold only aggregates.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from engine.base.files import read_jsonl
from engine.errors import NotFound
from engine.evaluate.jobs import EvaluateOutput, FloorOutput, StructuredEffect
from engine.evaluate.types import EvaluationSummary, ItemResult, PairedComparison, Split
from engine.store import lineage
from engine.store.artifacts import Artifacts
from engine.store.database import Cursor, insert_rows
from engine.store.migrations import Migration
from engine.store.store import StageTables, Store

_ITEM_COLUMNS = ("evaluation_id", "scenario_id", "split", "outcome", "score", "passed", "observations")


# ---- writing, inside the command that finishes a run -----------------------------------------------------------------------------------


def ingest_evaluation(artifacts: Artifacts, cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records a finished measurement of a model."""
    made = EvaluateOutput.model_validate({name: value for name, value in output.items() if name != "artifacts"})
    _insert(artifacts, cursor, run_id, cluster, made, output["artifacts"]["results"], at, seq)


def ingest_floor(artifacts: Artifacts, cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records the chosen baseline as a measurement; nothing when no baseline fits."""
    made = FloorOutput.model_validate({name: value for name, value in output.items() if name != "artifacts"})
    if made.summary is not None:
        measured = EvaluateOutput(summary=made.summary, domain_digest=made.domain_digest)
        _insert(artifacts, cursor, run_id, cluster, measured, output["artifacts"]["results"], at, seq)


def _insert(artifacts: Artifacts, cursor: Cursor, run_id: str, cluster: str | None, made: EvaluateOutput, results: str, at: str, seq: int) -> None:
    identity = made.summary.identity
    row = {
        "id": run_id,
        "cluster": cluster,
        "subject": made.summary.subject,
        "suite": identity.suite,
        "grading": identity.grading,
        "prompt": identity.prompt,
        "settings": identity.settings,
        "generator": identity.generator,
        "domain_digest": made.domain_digest,
        "summary": made.summary.model_dump_json(),
        "structured_effect": None if made.structured_effect is None else made.structured_effect.model_dump_json(),
        "standard": made.standard,
        "results": results,
        "created_at": at,
        "seq": seq,
    }
    marks = ", ".join("?" for _ in row)
    cursor.execute(f"INSERT INTO evaluation ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # noqa: S608 - names of this file
    insert_rows(cursor, "item_result", _ITEM_COLUMNS, [_item_row(run_id, row) for row in _read_results(artifacts, results)])
    for relation, parent in (
        ("measured_on", identity.suite),
        ("graded_by", identity.grading),
        ("answered_by", identity.generator),
        ("made_by", run_id),
    ):
        lineage.record(cursor, seq=seq, child=results, relation=relation, parent=parent)


def _read_results(artifacts: Artifacts, digest: str) -> list[dict[str, Any]]:
    artifacts.verify(digest)
    rows: list[dict[str, Any]] = read_jsonl(artifacts.path(digest))
    return rows


def _item_row(run_id: str, row: dict[str, Any]) -> tuple[Any, ...]:
    return run_id, row["scenario_id"], row["split"], row["outcome"], row["score"], row["passed"], json.dumps(row["observations"])


TABLES = StageTables(
    migrations=(
        Migration(
            "evaluate-1",
            (
                "CREATE TABLE evaluation (id VARCHAR PRIMARY KEY, cluster VARCHAR, subject VARCHAR NOT NULL, suite VARCHAR NOT NULL, "
                "grading VARCHAR NOT NULL, prompt VARCHAR NOT NULL, settings VARCHAR NOT NULL, generator VARCHAR NOT NULL, "
                "domain_digest VARCHAR NOT NULL, summary VARCHAR NOT NULL, structured_effect VARCHAR, results VARCHAR NOT NULL, "
                "created_at VARCHAR NOT NULL, seq BIGINT NOT NULL)",
                # No key: the evaluation's own key lets these rows in only once, and an index over them would cost more than it finds.
                "CREATE TABLE item_result (evaluation_id VARCHAR NOT NULL, scenario_id VARCHAR NOT NULL, split VARCHAR NOT NULL, "
                "outcome VARCHAR NOT NULL, score DOUBLE NOT NULL, passed BOOLEAN NOT NULL, observations VARCHAR NOT NULL)",
            ),
        ),
        Migration("evaluate-2", ("ALTER TABLE evaluation ADD COLUMN standard BOOLEAN DEFAULT true",)),
    ),
    reducers={},
)


# ---- reading ---------------------------------------------------------------------------------------------------------------------------


def count(store: Store) -> int:
    """Measurements in the store."""
    return int(store.read("SELECT count(*) FROM evaluation")[0][0])


def count_results(store: Store) -> int:
    """Scenario results in the store, of all measurements."""
    return int(store.read("SELECT count(*) FROM item_result")[0][0])


def find_summary(store: Store, evaluation_id: str) -> EvaluationSummary | None:
    """A measurement's figures, or None; a floor run in which no baseline fitted has none."""
    rows = store.read("SELECT summary FROM evaluation WHERE id = ?", [evaluation_id])
    return EvaluationSummary.model_validate_json(rows[0][0]) if rows else None


def summary(store: Store, evaluation_id: str) -> EvaluationSummary:
    """A measurement's figures. NotFound names the latest measurements."""
    return EvaluationSummary.model_validate_json(_column(store, "summary", evaluation_id))


def cluster_of(store: Store, evaluation_id: str) -> str | None:
    """Which cluster a measurement was made for."""
    cluster: str | None = _column(store, "cluster", evaluation_id)
    return cluster


def domain_digest_of(store: Store, evaluation_id: str) -> str:
    """The compiled domain that a measurement used."""
    return str(_column(store, "domain_digest", evaluation_id))


def structured_effect(store: Store, evaluation_id: str) -> PairedComparison | None:
    """What decoding under the schema bought in this measurement, paired on core (before: free), where it was measured."""
    effect = _column(store, "structured_effect", evaluation_id)
    return None if effect is None else StructuredEffect.model_validate_json(effect).comparison


def latest(store: Store, cluster: str, subject: str) -> str | None:
    """The newest standard measurement of a subject of a cluster: core and held-out, with the domain's own schema switch."""
    rows = store.read("SELECT id FROM evaluation WHERE cluster = ? AND subject = ? AND standard ORDER BY seq DESC LIMIT 1", [cluster, subject])
    return rows[0][0] if rows else None


def latest_of_all(store: Store) -> dict[tuple[str | None, str], str]:
    """The newest standard measurement of every subject of every cluster, in one query."""
    rows = store.read("SELECT cluster, subject, arg_max(id, seq) FROM evaluation WHERE standard GROUP BY cluster, subject")
    return {(cluster, subject): evaluation_id for cluster, subject, evaluation_id in rows}


def summaries(store: Store, evaluation_ids: Collection[str]) -> dict[str, EvaluationSummary]:
    """The figures of those measurements that are there, in one query."""
    rows = store.read("SELECT id, summary FROM evaluation WHERE list_contains(?, id)", [sorted(evaluation_ids)])
    return {evaluation_id: EvaluationSummary.model_validate_json(text) for evaluation_id, text in rows}


def item_results(store: Store, artifacts: Artifacts, evaluation_id: str, split: Split) -> list[ItemResult]:
    """Every result of one split in full, in the suite's order, from the artefact."""
    rows = _read_results(artifacts, _column(store, "results", evaluation_id))
    return [ItemResult.model_validate(row) for row in rows if row["split"] == split]


def suites_with_held_out_of(store: Store, suite: str) -> list[str]:
    """Every suite that was measured whose held-out items are those of `suite`, itself included: scenarios that join core make another suite, and
    leave the held-out items as used as they were."""
    rows = store.read(
        "WITH one AS (SELECT suite, arg_min(id, seq) AS id FROM evaluation WHERE standard GROUP BY suite), "
        "items AS (SELECT one.suite AS suite, string_agg(r.scenario_id, chr(10) ORDER BY r.scenario_id) AS ids FROM one "
        "JOIN item_result r ON r.evaluation_id = one.id WHERE r.split = 'held_out' GROUP BY one.suite) "
        "SELECT suite FROM items WHERE ids IN (SELECT ids FROM items WHERE suite = ?)",
        [suite],
    )
    return sorted({suite, *(name for (name,) in rows)})


def _column(store: Store, column: str, evaluation_id: str) -> Any:
    rows = store.read(f"SELECT {column} FROM evaluation WHERE id = ?", [evaluation_id])  # noqa: S608 - the column is named in this file
    if rows:
        return rows[0][0]
    newest = [row[0] for row in store.read("SELECT id FROM evaluation ORDER BY seq DESC LIMIT 5")]
    raise NotFound(
        f"there is no measurement {evaluation_id[:80]!r}",
        next_step=f"The newest are: {', '.join(newest)}." if newest else "Nothing has been measured yet: call evaluate or iterate.",
        evaluation_id=evaluation_id[:80],
    )
