"""A loop that teaches a teacher's answers, and what it keeps of its best: end to end over the scripted double."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.base.digests import sha256_hex
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


def workspace_with(root: Path, *teachers: dict[str, Any], source: str = "teacher", **changes: Any) -> Workspace:
    """A workspace whose domain may ask `sage`, which is mostly right, and `parrot`, which is below any floor."""
    workspace = make_workspace(root, profile={"base_skill": 0.3})
    clusters = json.loads(workspace.clusters_file.read_text())
    clusters["models"] |= {"sage": {"kind": "scripted", "base_skill": 0.9}, "parrot": {"kind": "scripted", "base_skill": 0.0}}
    workspace.clusters_file.write_text(json.dumps(clusters))
    domain = domain_file(**{"teachers": list(teachers), "train": {"source": source}} | changes)
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
        assert by_origin["training"].keys() == trained
    finally:
        engine.close()


def test_golden_answers_of_a_teacher_are_the_examples_of_the_trial_and_the_better_side_of_pairs_and_the_run_says_so(tmp_path: Path) -> None:
    trying = {"try_cheap": True, "trial_items": 24, "examples": 2}
    terms = {"name": "sage", "max_answers": 80}
    engine = Engine.open(workspace_with(tmp_path, terms, train={"source": "teacher", "method": "dpo"}, diagnose=trying))
    try:
        run = finish(engine, engine.iterate("tickets").id, seconds=300)
        assert run.state == "succeeded", run.error
        output, done = IterateOutput.model_validate(run.output), steps(engine, run)
        compiled = load_compiled(engine.workspace, done["0.teach_1"].output["domain"])
        kept = curation.golden_items(engine.store, "tickets", compiled.grading_digest, "training")

        (iteration,) = output.iterations
        trial = iteration.tried[0]
        assert set(trial.examples) <= kept.keys()
        assert trial.golden
        assert any("2 worked examples in the prompt (golden answers)" in note for note in output.notes)

        counts, dataset = done["1.pairs"].output["counts"], done["1.pairs"].output["artifacts"]["dataset"]
        preferred = [row for row in read_jsonl(engine.artifacts.path(dataset)) if row["id"] in kept]
        assert 0 < counts["golden_chosen"] == len(preferred) < counts["pairs"]
        assert all(kept[row["id"]] == sha256_hex(row["chosen"].encode()) for row in preferred)
        assert any(f"a teacher's golden answer in {counts['golden_chosen']}" in note for note in output.notes)
        edges = {(edge.relation, edge.parent) for edge in lineage.ancestors(engine.store, dataset)}
        assert ("answers_from", done["0.teach_1"].output["artifacts"]["results"]) in edges
        assert done["1.pairs"].output["golden"] == trial.golden
    finally:
        engine.close()


def test_core_items_that_were_golden_once_and_are_lost_are_named_in_the_runs_output(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, source="labels")
    engine = Engine.open(workspace)
    try:
        first = IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id, seconds=300).output)
        assert len(first.accepted) == 1
        clusters = json.loads(workspace.clusters_file.read_text())
        clusters["models"]["double"]["trained_skill"] = 0.5
        workspace.clusters_file.write_text(json.dumps(clusters))
        second = IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id, seconds=300).output)
        lost = second.iterations[-1].once_golden
        assert not first.iterations[-1].once_golden
        assert any(note.startswith("Once golden and failed by the challenger of round 1:") and lost[0] in note for note in second.notes)
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
