"""Rounds of an iterate run that train with another method than SFT, with the scripted double."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.base.files import read_json
from engine.engine import Engine
from engine.evaluate import records as measurements
from engine.iterate.types import IterateOutput
from engine.store import lineage
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain

pytestmark = pytest.mark.processes


def play(root: Path, method: str, rounds: int = 2, **profile: float):
    """A finished iterate run of a domain that asks for `method`."""
    workspace = make_workspace(root, profile=profile, max_iterations=rounds)
    write_domain(workspace, "tickets", domain_file(train={"method": method}), train=rows(0, 160), evaluation=rows(1000, 240))
    engine = Engine.open(workspace)
    run = finish(engine, engine.iterate("tickets").id)
    assert run.state == "succeeded", run.error
    return engine, run, IterateOutput.model_validate(run.output), {step.step: step for step in engine.supervisor.list(parent=run.id)}


def test_a_dpo_round_asks_the_incumbent_training_prompts_pairs_its_failures_and_goes_on_from_its_adapter(tmp_path: Path) -> None:
    engine, _, output, steps = play(tmp_path, "dpo", base_skill=0.3)
    try:
        first, second = output.iterations
        assert (first.plan.method, first.plan.warm_start) == ("dpo", False)
        assert first.decision.verdict == "accept"
        assert (second.plan.method, second.plan.warm_start) == ("dpo", True)
        told = read_json(engine.workspace.run(steps["2.train"].id).config)["job"]
        assert told["warm_start"]
        assert steps["2.pairs"].output["subject"] == first.challenger
        dataset = steps["1.pairs"].output["artifacts"]["dataset"]
        assert ("paired_from", steps["1.curate"].output["artifacts"]["dataset"]) in {edge[1:] for edge in lineage.ancestors(engine.store, dataset)}
        assert measurements.find_summary(engine.store, steps["1.pairs"].id) is None
    finally:
        engine.close()


def test_a_grpo_round_is_told_the_rubric_and_the_adapter_to_go_on_from(tmp_path: Path) -> None:
    engine, _, output, steps = play(tmp_path, "grpo", base_skill=0.3)
    try:
        assert [iteration.plan.method for iteration in output.iterations] == ["grpo", "grpo"]
        told = [read_json(engine.workspace.run(steps[f"{number}.train"].id).config)["job"] for number in (1, 2)]
        assert told[0]["domain_digest"] == steps["1.curate"].output["domain"]
        assert told[0]["warm_start"] is None
        assert Path(told[1]["warm_start"]).is_dir()
    finally:
        engine.close()


def test_where_there_is_nothing_to_prefer_the_round_is_sft_and_the_plan_says_why(tmp_path: Path) -> None:
    engine, _, output, steps = play(tmp_path, "dpo", rounds=1, base_skill=0.0)
    try:
        (iteration,) = output.iterations
        assert iteration.plan.method == "sft"
        assert any("SFT instead of DPO" in reason for reason in iteration.plan.reasons)
        assert (steps["1.pairs"].state, steps["1.train_sft"].state) == ("failed", "succeeded")
    finally:
        engine.close()
