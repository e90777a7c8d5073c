"""Pairs from the incumbent's answers to training prompts: the better side passes, the other failed, and nothing of it is an evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base.digests import file_sha256
from engine.base.files import read_jsonl, write_json
from engine.base.paths import Workspace
from engine.config import ScriptedProfile
from engine.curate.jobs import PairsJob
from engine.curate.pairs import Answered, enough, pairs_of, sampled_rows
from engine.curate.types import PairCounts
from engine.evaluate.types import ItemResult
from engine.generate.scripted import scripted_base
from engine.jobs.types import RunConfig
from tests import workspaces
from tests.curate.test_worker import curated

ROOT = Path(__file__).resolve().parents[2]

RESULTS = st.builds(
    lambda outcome, text, score, finish: ItemResult(
        scenario_id="x", split="core", outcome=outcome, score=score, passed=score == 1.0, answer=text, finish_reason=finish
    ),
    st.sampled_from(("graded", "graded", "graded", "error")),
    st.sampled_from(("", " ", "yes", "no", "maybe", "reference")),
    st.sampled_from((0.0, 0.5, 1.0)),
    st.sampled_from(("stop", "stop", "length")),
)
ANSWERED = st.lists(
    st.builds(
        lambda results, golden: Answered("row", "reference", tuple(results), golden),
        st.lists(RESULTS, min_size=1, max_size=4),
        st.sampled_from(("", "", "golden", "maybe")),
    ),
    max_size=6,
).map(lambda rows: [row._replace(row=f"row{at}") for at, row in enumerate(rows)])


@given(ANSWERED, st.integers(1, 3))
def test_every_pair_sets_a_golden_answer_a_passing_one_or_the_reference_against_a_whole_one_that_failed(answered: list[Answered], per_row: int) -> None:
    pairs, counts = pairs_of(answered, per_row=per_row)
    by_row = {row.row: row for row in answered}
    for pair in pairs:
        results = by_row[pair.row].results
        passing = any(result.passed and result.answer == pair.chosen for result in results)
        assert pair.chosen == by_row[pair.row].golden if by_row[pair.row].golden else passing or pair.chosen == "reference"
        failed = [result for result in results if result.outcome == "graded" and not result.passed and result.finish_reason == "stop"]
        assert pair.rejected in {result.answer for result in failed}
        assert pair.rejected.strip() not in ("", pair.chosen.strip())
    assert len(set(pairs)) == len(pairs) == counts.pairs
    assert all(sum(pair.row == name for pair in pairs) <= per_row for name in by_row)
    assert counts.passed + counts.failed + counts.lost == sum(len(row.results) for row in answered)
    assert counts.golden_chosen == sum(bool(by_row[pair.row].golden) for pair in pairs)
    assert counts.own_chosen <= counts.pairs - counts.golden_chosen


@given(st.lists(st.integers(0, 20).map(str), max_size=20), st.integers(1, 40), st.integers(0, 5))
def test_the_draw_of_rows_has_no_repetition_and_does_not_depend_on_what_else_is_there(rows: list[str], most: int, seed: int) -> None:
    drawn = sampled_rows(rows, most, seed)
    assert len(drawn) == len(set(drawn)) == min(most, len(set(rows)))
    assert set(drawn) == set(sampled_rows(rows[::-1], most, seed))
    assert set(sampled_rows(drawn, most, seed)) == set(drawn)


def test_a_model_that_gets_nothing_right_or_everything_has_no_use_for_pairs() -> None:
    def counts(passed: int, failed: int, pairs: int) -> PairCounts:
        return PairCounts(prompts=50, passed=passed, failed=failed, lost=0, left_out=0, pairs=pairs, golden_chosen=0, own_chosen=0)

    assert "SFT first" in enough(counts(1, 99, 60), least_pairs=8, least_passed=0.1)
    assert "8 pairs are needed" in enough(counts(97, 3, 3), least_pairs=8, least_passed=0.1)
    assert enough(counts(50, 50, 40), least_pairs=8, least_passed=0.1) == ""


def paired(workspace: Workspace, name: str, **profile: Any) -> tuple[Path, dict[str, Any]]:
    """A run of kind `pairs` over a curated set, in a process of its own, with the scripted double as incumbent."""
    made, result = curated(workspace, f"{name}-rows", patterns=(), max_rows=80)
    dataset = made.outputs / "dataset.jsonl"
    double = ScriptedProfile.model_validate(profile)
    job = PairsJob(
        domain_digest=result["output"]["domain"],
        dataset=str(dataset),
        dataset_digest=file_sha256(dataset),
        model="double",
        profile=double,
        base=scripted_base(workspace, "double", double),
        weights=None,
        subject="base",
        seed=3,
        device="cpu",
    )
    config = RunConfig(run_id=name, kind="pairs", cluster="tickets", workspace=str(workspace.root), seed=3, job=job.model_dump(mode="json"))
    paths = workspace.run(name)
    write_json(paths.config, config.model_dump(mode="json"))
    command = [sys.executable, "-m", "engine.curate.pairs_worker", str(paths.root), "1"]
    subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60)
    return paths.outputs / "pairs.jsonl", json.loads(paths.result.read_text())


@pytest.mark.processes
def test_the_incumbent_is_asked_training_prompts_only_and_its_failures_become_pairs(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    file, result = paired(workspace, "pairs-one", base_skill=0.4)
    output = result["output"]
    pairs = read_jsonl(file)
    assert len(pairs) == output["counts"]["pairs"] > 20
    assert output["counts"]["passed"] > 0
    assert output["pairs"] == file_sha256(file)
    pool = {row["id"]: row for row in workspaces.rows(0, 160)}
    for pair in pairs:
        assert pair["messages"][-1]["content"] == pool[pair["id"]]["input"]["message"]
        assert json.loads(pair["chosen"]) == pool[pair["id"]]["expected"]
        assert pair["rejected"] != pair["chosen"]
    kept = "".join(path.read_text() for path in workspace.answers.glob("*.jsonl"))
    assert not any(row["id"] in kept for row in workspaces.rows(1000, 240))
    assert set(output["artifacts"]) == {"dataset", "manifest"}  # no results: nothing that a table of measurements could take in


@pytest.mark.processes
def test_an_incumbent_that_is_right_too_seldom_is_refused_with_the_figures(tmp_path: Path) -> None:
    _, result = paired(workspaces.make_workspace(tmp_path), "pairs-none", base_skill=0.0)
    assert result["error"]["code"] == "nothing_to_learn"
    assert "0% of the incumbent's answers pass" in result["error"]["message"]
