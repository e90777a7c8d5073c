"""A loop that teaches a teacher's answers, and what it keeps of its best: end to end over the scripted double."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.base.files import read_jsonl
from engine.base.paths import Workspace
from engine.curate import records as curation
from engine.engine import Engine
from engine.errors import NotFound
from engine.evaluate.compile import load_compiled
from engine.iterate.types import IterateOutput
from engine.jobs.types import Run
from engine.store import lineage
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain

pytestmark = pytest.mark.processes


def workspace_with(root: Path, *teachers: dict[str, Any], source: str = "teacher") -> Workspace:
    """A workspace whose domain may ask `sage`, which is mostly right, and `parrot`, which is below any floor."""
    workspace = make_workspace(root)
    clusters = json.loads(workspace.clusters_file.read_text())
    clusters["models"] |= {"sage": {"kind": "scripted", "base_skill": 0.9}, "parrot": {"kind": "scripted", "base_skill": 0.0}}
    workspace.clusters_file.write_text(json.dumps(clusters))
    domain = domain_file(teachers=list(teachers), train={"source": source})
    write_domain(workspace, "tickets", domain, train=rows(0, 160), evaluation=rows(1000, 240))
    return workspace


def steps(engine: Engine, run: Run) -> dict[str, Run]:
    return {str(child.step): child for child in engine.supervisor.list(parent=run.id)}


def test_the_first_teacher_that_is_not_below_the_floor_is_taught_and_the_run_says_what_each_is_worth(tmp_path: Path) -> None:
    engine = Engine.open(workspace_with(tmp_path, {"name": "parrot", "max_answers": 40}, {"name": "sage", "max_answers": 80, "trust": "both"}))
    try:
        run = finish(engine, engine.iterate("tickets").id, seconds=300)
        assert run.state == "succeeded", run.error
        output = IterateOutput.model_validate(run.output)
        done = steps(engine, run)
        assert (done["0.teach_1"].output["usable"], done["0.teach_2"].output["usable"]) == (False, True)
        assert [note.partition(" has")[0] for note in output.notes if note.startswith("Teacher")] == ["Teacher parrot", "Teacher sage"]
        taught, curated = done["0.teach_2"].output, done["1.curate"].output
        trained = {row["id"] for row in read_jsonl(engine.artifacts.path(curated["artifacts"]["dataset"]))}
        assert trained == {row["id"] for row in read_jsonl(engine.artifacts.path(taught["artifacts"]["dataset"]))}
        edges = {(edge.relation, edge.parent) for edge in lineage.ancestors(engine.store, curated["artifacts"]["dataset"])}
        assert ("answers_from", taught["artifacts"]["dataset"]) in edges
        assert ("made_by", done["0.teach_2"].id) in edges

        # What it answered without a fault is golden: to training prompts the teacher, to core items the accepted version.
        compiled = load_compiled(engine.workspace, taught["domain"])
        by_origin = {origin: curation.golden_items(engine.store, "tickets", compiled.grading_digest, origin) for origin in ("core", "training")}
        core = {scenario.id for scenario in compiled.of_split("core")}
        assert 0 < len(by_origin["core"]) < len(core)
        assert by_origin["core"].keys() <= core
        material = curation.golden_to_teach(engine.store, engine.artifacts, compiled)
        assert {one.row.id for one in material} == by_origin["training"].keys() == trained
        assert all(json.loads(one.answer) == one.row.expected for one in material)
    finally:
        engine.close()


def test_with_no_usable_teacher_the_labels_are_taught_and_the_run_says_so(tmp_path: Path) -> None:
    engine = Engine.open(workspace_with(tmp_path, {"name": "parrot", "max_answers": 40}))
    try:
        run = finish(engine, engine.iterate("tickets").id, seconds=300)
        output = IterateOutput.model_validate(run.output)
        assert "No teacher is usable: the labels are taught." in output.notes
        curated = steps(engine, run)["1.curate"].output
        assert (curated["distinct_rows"], curated["taught"]) == (160, 0)
        version = curation.golden_version(engine.store, "tickets", steps(engine, run)["0.teach_1"].output["grading"])

        # Asked by itself: the answers are in the cache, and the floor is the one that the loop has fitted.
        alone = finish(engine, engine.evaluate("tickets", "teacher:parrot").id, seconds=120)
        assert alone.state == "succeeded", alone.error
        assert (alone.kind, alone.output["usable"], alone.output["generated"]) == ("teach", False, 0)
        assert "below the floor" in engine.run_status(alone.id).summary
        assert curation.golden_version(engine.store, "tickets", alone.output["grading"]) == version
    finally:
        engine.close()


def test_a_teacher_asked_before_there_is_a_floor_is_reported_and_not_used(tmp_path: Path) -> None:
    engine = Engine.open(workspace_with(tmp_path, {"name": "sage", "max_answers": 30}, {"name": "nobody"}, source="labels"))
    try:
        run = finish(engine, engine.evaluate("tickets", "teacher:sage").id, seconds=120)
        assert run.output is not None, run.error
        assert not run.output["usable"]
        assert "no floor yet" in run.output["reason"]
        assert run.output["agreement"]["n"] == 30
        with pytest.raises(NotFound, match="no such model"):
            engine.evaluate("tickets", "teacher:nobody")
        with pytest.raises(NotFound, match="has no teacher"):
            engine.evaluate("tickets", "teacher:stranger")
    finally:
        engine.close()
