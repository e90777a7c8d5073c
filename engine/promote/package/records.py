"""Table of exports: what each one's replay found, and its package where every form agreed. Rows are never changed; the newest counts."""

from __future__ import annotations

import json
from typing import Any

from engine.base.digests import canonical_json
from engine.promote.package.jobs import ExportOutput
from engine.promote.types import Exported
from engine.store import lineage
from engine.store.database import Cursor
from engine.store.events import append_event
from engine.store.migrations import Migration
from engine.store.store import StageTables, Store


def newest(store: Store, cluster: str, version: str) -> Exported | None:
    """The newest export of a version in a cluster."""
    rows = store.read("SELECT found FROM package WHERE cluster = ? AND version = ? ORDER BY seq DESC LIMIT 1", [cluster, version])
    return Exported.model_validate(json.loads(rows[0][0])) if rows else None


def ingest_export(cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    """Records what a finished export found; part of the command that finishes the run."""
    made = ExportOutput.model_validate(output)
    package = made.artifacts.get("package")
    found = Exported(
        run_id=run_id,
        evaluation_id=made.evaluation_id,
        prompt=made.prompt,
        sources=made.sources,
        forms=made.forms,
        absent=made.absent,
        package=package,
    )
    cursor.execute(
        "INSERT INTO package (seq, run_id, cluster, version, found, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        [seq, run_id, cluster, made.version, canonical_json(found.model_dump(mode="json")).decode(), at],
    )
    kind, reason = ("version_exported", "every form agrees") if package else ("export_disagrees", _disagreement(found))
    append_event(cursor, seq=seq, at=at, kind=kind, subject=made.version, actor=run_id, reason=reason, data={"package": package})
    if package is not None:
        lineage.record(cursor, seq=seq, child=package, relation="package_of", parent=made.version)


def _disagreement(found: Exported) -> str:
    return "; ".join(f"{form.form}: {figure.sentence}" for form in found.forms for figure in form.figures if not figure.holds)[:500]


TABLES = StageTables(
    migrations=(
        Migration(
            "package-1",
            (
                "CREATE TABLE package (seq BIGINT PRIMARY KEY, run_id VARCHAR NOT NULL, cluster VARCHAR, version VARCHAR NOT NULL, "
                "found VARCHAR NOT NULL, created_at VARCHAR NOT NULL)",
            ),
        ),
    ),
    reducers={},
)
