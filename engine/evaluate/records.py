"""Tables of measuring: one row a measurement, one row a scenario's result.

A measurement is ingested in the command that finishes its run, so it is there exactly when the run has succeeded. Its rows come from the
results artefact, which holds them in full (answers, checks); the table holds what one queries: score, pass, outcome, observations. A rebuild
of the database therefore needs the artefacts.

Held-out rows are in both. What an agent may see of them is decided above, in the engine's answers, which hold only aggregates.

Each measurement that includes held-out is a row of `look`, written in the same command. A look is an answer about held-out that somebody or
the loop can act on. Every row is one for the record; those count against the budget (`counted`) that answer something new about a challenger:

- a version's measurement counts the first time. Made again with the same suite, rubric, prompt, settings and generator it gives the same
  answers, mostly from the cache, so nothing new is learnt;
- the base and the floors do not count. Nobody chose them by held-out: they are where the ladder starts (`engine/evaluate/holdout.py`);
- the loop's own measurements count like a caller's, since the loop chooses by them;
- one that stopped early counts too, and for every item of the set: it says what the whole would have said. When the same version is measured in
  full later, that is another answer.

Looks are counted by item, known by the digest of its input, so that an edit of the suite, a new id, or a second cluster on the same rows does
not start a new count. A rotation is one row of `rotation` and an event, by the command `rotate_held_out`; the generation of a domain's
held-out set is how many there are.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NamedTuple

from engine.base.files import read_jsonl
from engine.errors import NotFound
from engine.evaluate.holdout import middle_looks
from engine.evaluate.jobs import EvaluateOutput, FloorOutput, StructuredEffect
from engine.evaluate.types import EvaluationSummary, ItemResult, Look, PairedComparison, Split
from engine.store import lineage
from engine.store.artifacts import Artifacts
from engine.store.database import Cursor, insert_rows
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import StageTables, Store

NO_SCORE = 0.0
"""In the look of a measurement that stopped early; nobody reads it."""
_ITEM_COLUMNS = ("evaluation_id", "scenario_id", "split", "outcome", "score", "passed", "observations", "item")


# ---- writing, inside the command that finishes a run -----------------------------------------------------------------------------------


def ingest_evaluation(artifacts: Artifacts, cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records a finished measurement of a model."""
    made = EvaluateOutput.model_validate({name: value for name, value in output.items() if name != "artifacts"})
    _insert(artifacts, cursor, run_id, cluster, made, output["artifacts"]["results"], at, seq)


def ingest_floor(artifacts: Artifacts, cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records the chosen baseline as a measurement; nothing when no baseline fits."""
    made = FloorOutput.model_validate({name: value for name, value in output.items() if name != "artifacts"})
    if made.summary is not None:
        measured = EvaluateOutput(summary=made.summary, domain_digest=made.domain_digest, generation=made.generation)
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
    rows = _read_results(artifacts, results)
    insert_rows(cursor, "item_result", _ITEM_COLUMNS, [_item_row(run_id, row) for row in rows])
    _record_look(cursor, run_id, cluster, made, [row.get("item", "") for row in rows if row["split"] == "held_out"], seq)
    for relation, parent in (
        ("measured_on", identity.suite),
        ("graded_by", identity.grading),
        ("answered_by", identity.generator),
        ("made_by", run_id),
    ):
        lineage.record(cursor, seq=seq, child=results, relation=relation, parent=parent)


def _record_look(cursor: Cursor, run_id: str, cluster: str | None, made: EvaluateOutput, items: list[str], seq: int) -> None:
    held_out = next((split for split in made.summary.splits if split.split == "held_out"), None)
    stopped = made.summary.stopped_early
    subject, identity = made.summary.subject, made.summary.identity
    whole = "/".join((identity.grading, identity.prompt, identity.settings, identity.generator))
    if held_out is not None:
        answers, items_of, score, sources = whole, None, held_out.score.mean, held_out.score.clusters
    elif stopped is not None:
        answers, items_of, score = f"{whole}/{stopped.asked}", stopped.against, NO_SCORE
        ((sources,),) = cursor.execute("SELECT sources FROM look WHERE evaluation_id = ?", [items_of]).fetchall()
        items = [item for (item,) in cursor.execute(_HELD_OUT_ITEMS, [items_of]).fetchall()]
    else:
        return
    seen = cursor.execute("SELECT 1 FROM look WHERE suite = ? AND answers IN (?, ?)", [identity.suite, answers, whole]).fetchall()
    counted = subject != "base" and not subject.startswith("floor:") and not seen
    row = [run_id, cluster, identity.suite, subject, answers, made.generation, score, sources, counted, seq, items_of]
    cursor.execute(
        "INSERT INTO look (evaluation_id, cluster, suite, subject, answers, generation, score, sources, counted, seq, items_of) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )
    used, exposed = _wear(cursor, items)
    cursor.execute("UPDATE look SET looks = ?, exposed = ? WHERE evaluation_id = ?", [used, exposed, run_id])


def _wear(cursor: Cursor, items: Collection[str]) -> tuple[int, int]:
    """How often a set of items was asked about, and how many of them some measurement had as core."""
    named = sorted({item for item in items if item})
    counts = dict(cursor.execute(_LOOKS_OF_ITEMS, [named]).fetchall())
    ((exposed,),) = cursor.execute(_EXPOSED, [named]).fetchall()
    return middle_looks([counts.get(item, 0) for item in named]), int(exposed)


_HELD_OUT_ITEMS = "SELECT item FROM item_result WHERE evaluation_id = ? AND split = 'held_out'"
_LOOKS_OF_ITEMS = (
    "SELECT r.item, count(DISTINCT l.evaluation_id) FROM item_result r JOIN look l ON coalesce(l.items_of, l.evaluation_id) = r.evaluation_id "
    "WHERE l.counted AND r.split = 'held_out' AND list_contains(?, r.item) GROUP BY r.item"
)
_EXPOSED = "SELECT count(DISTINCT item) FROM item_result WHERE split = 'core' AND list_contains(?, item)"


def _rotate_held_out(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    domain = arguments["domain"]
    ((generation,),) = cursor.execute("SELECT count(*) FROM rotation WHERE domain = ?", [domain]).fetchall()
    if generation != arguments["generation"]:  # another cluster of the domain was faster: its rotation serves this one
        return {"generation": generation}
    cursor.execute(
        "INSERT INTO rotation (domain, generation, cluster, suite, reason, created_at, seq) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [domain, generation + 1, arguments["cluster"], arguments["suite"], arguments["reason"], at, seq],
    )
    append_event(
        cursor, seq=seq, at=at, kind="held_out_rotated", subject=domain, actor=arguments["actor"], reason=arguments["reason"],
        data={"generation": generation + 1, "suite": arguments["suite"]},
    )
    return {"generation": generation + 1}


def _read_results(artifacts: Artifacts, digest: str) -> list[dict[str, Any]]:
    artifacts.verify(digest)
    rows: list[dict[str, Any]] = read_jsonl(artifacts.path(digest))
    return rows


def _item_row(run_id: str, row: dict[str, Any]) -> tuple[Any, ...]:
    return run_id, row["scenario_id"], row["split"], row["outcome"], row["score"], row["passed"], json.dumps(row["observations"]), row.get("item", "")


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
        Migration(
            "evaluate-3",
            (
                "ALTER TABLE item_result ADD COLUMN item VARCHAR DEFAULT ''",
                "CREATE TABLE look (evaluation_id VARCHAR PRIMARY KEY, cluster VARCHAR, suite VARCHAR NOT NULL, subject VARCHAR NOT NULL, "
                "answers VARCHAR NOT NULL, generation INTEGER NOT NULL, score DOUBLE NOT NULL, sources INTEGER NOT NULL, "
                "counted BOOLEAN NOT NULL, looks INTEGER, exposed INTEGER, seq BIGINT NOT NULL)",
                # Of what was measured before: as replaying its commands gives it. Its items have no digest, so no item has looks from then.
                "INSERT INTO look SELECT id, cluster, suite, subject, answers, 0, CAST(held_out->>'$.score.mean' AS DOUBLE), "
                "CAST(held_out->>'$.score.clusters' AS INTEGER), subject <> 'base' AND NOT starts_with(subject, 'floor:') "
                "AND row_number() OVER (PARTITION BY suite, answers ORDER BY seq) = 1, 0, 0, seq FROM (SELECT *, "
                "grading || '/' || prompt || '/' || settings || '/' || generator AS answers, list_filter(CAST(summary->'$.splits' AS JSON[]), "
                "lambda s: s->>'$.split' = 'held_out')[1] AS held_out FROM evaluation) WHERE held_out IS NOT NULL",
                "CREATE TABLE rotation (domain VARCHAR, generation INTEGER, cluster VARCHAR, suite VARCHAR NOT NULL, reason VARCHAR NOT NULL, "
                "created_at VARCHAR NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (domain, generation))",
            ),
        ),
        # Of a look that stopped early: the incumbent's measurement, which has all items of the set.
        Migration("evaluate-4", ("ALTER TABLE look ADD COLUMN items_of VARCHAR",)),
    ),
    reducers={"rotate_held_out": _rotate_held_out},
)


# ---- reading ---------------------------------------------------------------------------------------------------------------------------


def count(store: Store) -> int:
    """Measurements in the store."""
    return int(store.read("SELECT count(*) FROM evaluation")[0][0])


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


def results_digest(store: Store, evaluation_id: str) -> str:
    """The artefact with every result of a measurement."""
    return str(_column(store, "results", evaluation_id))


def structured_effect(store: Store, evaluation_id: str) -> PairedComparison | None:
    """What decoding under the schema bought in this measurement, paired on core (before: free), where it was measured."""
    effect = _column(store, "structured_effect", evaluation_id)
    return None if effect is None else StructuredEffect.model_validate_json(effect).comparison


def latest(store: Store, cluster: str, subject: str) -> str | None:
    """The newest standard measurement of a subject of a cluster: core and held-out, with the domain's own schema switch."""
    rows = store.read("SELECT id FROM evaluation WHERE cluster = ? AND subject = ? AND standard ORDER BY seq DESC LIMIT 1", [cluster, subject])
    return rows[0][0] if rows else None


class Measurement(NamedTuple):
    """A measurement with when it was recorded."""

    evaluation_id: str
    summary: EvaluationSummary
    recorded_at: str


def measurements_of(store: Store, cluster: str, subject: str) -> list[Measurement]:
    """The standard measurements of a subject of a cluster, newest first."""
    rows = store.read(
        "SELECT id, summary, created_at FROM evaluation WHERE cluster = ? AND subject = ? AND standard ORDER BY seq DESC", [cluster, subject]
    )
    return [Measurement(evaluation_id, EvaluationSummary.model_validate_json(text), at) for evaluation_id, text, at in rows]


def latest_of_all(store: Store) -> dict[tuple[str | None, str], str]:
    """The newest standard measurement of every subject of every cluster, in one query."""
    rows = store.read("SELECT cluster, subject, arg_max(id, seq) FROM evaluation WHERE standard GROUP BY cluster, subject")
    return {(cluster, subject): evaluation_id for cluster, subject, evaluation_id in rows}


class Alike(NamedTuple):
    """A measurement of the same suite, graded the same way."""

    evaluation_id: str
    subject: str
    generator: str
    prompt: str
    settings: str


def measured_alike(store: Store, evaluation_id: str, limit: int) -> list[Alike]:
    """Measurements of this one's cluster, suite and grading, itself included, newest first: standard ones, and those asked in the same way."""
    rows = store.read(
        "SELECT e.id, e.subject, e.generator, e.prompt, e.settings FROM evaluation e JOIN evaluation o ON o.id = ? WHERE e.cluster = o.cluster "
        "AND e.suite = o.suite AND e.grading = o.grading AND (e.standard OR (e.generator = o.generator AND e.prompt = o.prompt AND "
        "e.settings = o.settings)) ORDER BY e.seq DESC LIMIT ?",
        [evaluation_id, limit],
    )
    return [Alike(*row) for row in rows]


class Newest(NamedTuple):
    """The newest standard measurement of a subject of a cluster on one suite."""

    cluster: str
    subject: str
    evaluation_id: str


def newest_on(store: Store, suite: str, grading: str) -> list[Newest]:
    """The newest standard measurements on a suite, graded one way, of every subject of every cluster."""
    rows = store.read(
        "SELECT cluster, subject, arg_max(id, seq) FROM evaluation WHERE standard AND cluster IS NOT NULL AND suite = ? AND grading = ? "
        "GROUP BY cluster, subject ORDER BY cluster, subject",
        [suite, grading],
    )
    return [Newest(*row) for row in rows]


def summaries(store: Store, evaluation_ids: Collection[str]) -> dict[str, EvaluationSummary]:
    """The figures of those measurements that are there, in one query."""
    rows = store.read("SELECT id, summary FROM evaluation WHERE list_contains(?, id)", [sorted(evaluation_ids)])
    return {evaluation_id: EvaluationSummary.model_validate_json(text) for evaluation_id, text in rows}


def item_results(store: Store, artifacts: Artifacts, evaluation_id: str, split: Split) -> list[ItemResult]:
    """Every result of one split in full, in the suite's order, from the artefact."""
    rows = _read_results(artifacts, _column(store, "results", evaluation_id))
    return [ItemResult.model_validate(row) for row in rows if row["split"] == split]


# ---- looks and rotations ---------------------------------------------------------------------------------------------------------------


class Use(NamedTuple):
    """How a cluster's held-out set stood after its latest look."""

    suite: str
    generation: int
    sources: int
    looks: int
    exposed: int


def looks(store: Store, suite: str) -> list[Look]:
    """Every look at the held-out set of a suite, oldest first, whichever cluster asked."""
    rows = store.read("SELECT evaluation_id, subject, score, sources, answers, items_of IS NULL FROM look WHERE suite = ? ORDER BY seq", [suite])
    return [Look(*row) for row in rows]


def wear(store: Store, items: Collection[str]) -> tuple[int, int]:
    """How often a set of items (by digest) was asked about, and how many of them some measurement had as core."""
    named = sorted(set(items))
    counts = dict(store.read(_LOOKS_OF_ITEMS, [named]))
    ((exposed,),) = store.read(_EXPOSED, [named])
    return middle_looks([counts.get(item, 0) for item in named]), int(exposed)


def latest_use(store: Store) -> dict[str, Use]:
    """How the held-out set of each cluster stood after the latest look at it, in one query."""
    rows = store.read(
        "SELECT mine.cluster, mine.suite, arg_max(l.generation, l.seq), arg_max(l.sources, l.seq), arg_max(l.looks, l.seq), "
        "arg_max(l.exposed, l.seq) FROM (SELECT cluster, arg_max(suite, seq) AS suite FROM evaluation "
        "WHERE standard AND cluster IS NOT NULL GROUP BY cluster) mine "
        "JOIN look l ON l.suite = mine.suite GROUP BY mine.cluster, mine.suite"
    )
    return {cluster: Use(*use) for cluster, *use in rows}


def look_before(store: Store, cluster: str, subject: str, generation: int) -> str | None:
    """The newest measurement of a subject on all of held-out before this generation of it."""
    rows = store.read(
        "SELECT evaluation_id FROM look WHERE cluster = ? AND subject = ? AND generation < ? AND items_of IS NULL ORDER BY seq DESC LIMIT 1",
        [cluster, subject, generation],
    )
    return rows[0][0] if rows else None


def generation(store: Store, domain: str) -> int:
    """How often the held-out set of a domain has been rotated."""
    return int(store.read("SELECT count(*) FROM rotation WHERE domain = ?", [domain])[0][0])


def rotate_held_out(store: Store, *, domain: str, generation: int, cluster: str, suite: str, actor: str, reason: str) -> int:
    """Rotates once however often it is called by one actor, and returns the generation that stands."""
    arguments = {"domain": domain, "generation": generation, "cluster": cluster, "suite": suite, "actor": actor, "reason": reason}
    answer = store.submit("rotate_held_out", arguments, key=f"{actor}/rotate_held_out", asked={"domain": domain})
    return int(answer["generation"])


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
