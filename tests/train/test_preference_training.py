"""GRPO and DPO for real: TRL on a random model of a few thousand parameters. Rewards rise, kills change nothing, the watchdog acts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.base.digests import tree_sha256
from engine.base.files import read_json, read_spool
from engine.base.paths import Workspace
from engine.config import Lora, TrainOverrides
from engine.errors import ArtifactCorrupt, NothingToLearn, TrainingCollapsed
from engine.evaluate.compile import CompiledDomain
from engine.generate.types import PreparedBase
from engine.jobs.types import Progress
from engine.train.plan import plan_training
from engine.train.types import TrainPlan
from tests.train.tiny import job_of, letters_domain, pairs_file, prompts_file, run_of, tiny_base, tiny_profile
from tests.train.workers import run, signal_when, start

pytestmark = pytest.mark.model

CALM = {
    "outside_fall": 2.0,
    "hacked_distinct": 0.0,
    "hacked_length": 100.0,
    "solved": 0.0,
    "collapsed_distinct": 0.0,
    "collapsed_length": 100.0,
    "reward_fall": 1.0,
}
"""Limits that nothing reaches: most of these tests are about training."""


@dataclass
class Setting:
    """What the tests train on."""

    workspace: Workspace
    compiled: CompiledDomain
    base: PreparedBase
    rows: Path
    pairs: Path

    def plan(self, method: str, *, watch: dict[str, Any] | None = None, **grpo: Any) -> TrainPlan:
        plan = plan_training(tiny_profile(), TrainOverrides(), rows=24, device="cpu", seed=17, merge=False, method=method, max_tokens=6)  # type: ignore[arg-type]
        if plan.grpo is None:
            return plan
        limits = plan.grpo.watch.model_copy(update=CALM if watch is None else watch)
        return plan.model_copy(update={"grpo": plan.grpo.model_copy(update={"watch": limits, **grpo}), "learning_rate": 0.03})

    def grpo(self, plan: TrainPlan, work: Path, report: Any = lambda _: None, warm: Path | None = None):
        from engine.train.grpo import train_grpo
        from engine.train.reward import Rubric
        from engine.train.rows import read_dataset

        job = job_of(self.base, tiny_profile(), self.rows, plan, self.compiled, warm)
        rows = read_dataset(self.rows, job.dataset_digest)
        return train_grpo(job, rows, Rubric(self.compiled, [row.id for row in rows]), work, report, lambda: None)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """A model this small is slower on two threads, and far slower on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    root = tmp_path_factory.mktemp("tiny")
    workspace, compiled = letters_domain(root)
    base = tiny_base(root / "base")
    return Setting(workspace, compiled, base, prompts_file(root / "rows.jsonl", compiled), pairs_file(root / "pairs.jsonl", compiled))


def weights(model: Any) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    return {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}


def saved_weights(directory: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(directory / "adapter_model.safetensors")


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(bool((left[name] == right[name]).all()) for name in left)


def test_rewards_rise_and_the_curve_is_whole(setting: Setting, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = setting.grpo(setting.plan("grpo", steps=14), tmp_path, seen.append)
    assert [figures.step for figures in result.curve] == list(range(1, 15))
    first, last = result.curve[:4], result.curve[-4:]
    assert sum(figures.reward for figures in last) > sum(figures.reward for figures in first) + 0.6
    assert result.preflight.advice == "go"
    assert (result.finding, result.kept_step) == (None, None)
    assert len(result.trained.losses) == 14
    assert any(progress.score is not None and progress.phase == "training" for progress in seen)


class Killed(BaseException):
    """Stands for the end of a process."""


def test_a_run_that_ends_anywhere_and_is_started_again_has_the_same_curve_and_weights(setting: Setting, tmp_path: Path) -> None:
    plan = setting.plan("grpo", steps=7)
    whole = setting.grpo(plan, tmp_path / "whole")

    def die_at(step: int, what: str):
        def report(progress: Progress) -> None:
            if progress.phase == what and (progress.step or 0) >= step:
                raise Killed

        return report

    with pytest.raises(Killed):
        setting.grpo(plan, tmp_path / "killed", die_at(8, "pre-flight"))
    with pytest.raises(Killed):
        setting.grpo(plan, tmp_path / "killed", die_at(3, "training"))
    resumed = setting.grpo(plan, tmp_path / "killed")
    assert resumed.trained.resumed_from_step > 0
    assert resumed.curve == whole.curve
    assert resumed.trained.losses == whole.trained.losses
    assert resumed.trained.tokens == whole.trained.tokens
    assert same(weights(resumed.trained.model), weights(whole.trained.model))


def test_a_finding_stops_the_training_and_the_best_sound_checkpoint_is_the_result(setting: Setting, tmp_path: Path) -> None:
    plan = setting.plan("grpo", steps=24, watch={**CALM, "window": 2, "reward_rise": 0.05, "hacked_length": 1.001, "reward_fall": 1.0})
    result = setting.grpo(plan, tmp_path)
    assert result.finding is not None
    assert result.finding.kind == "reward_hacking"
    assert len(result.curve) == result.finding.step < 24
    assert result.kept_step is not None
    assert result.kept_step < result.finding.since
    assert not (tmp_path / f"checkpoints/checkpoint-{result.finding.step}").exists()
    assert same(weights(result.trained.model), saved_weights(tmp_path / f"checkpoints/checkpoint-{result.kept_step}"))
    later = tmp_path / f"checkpoints/checkpoint-{result.kept_step + 2}"
    assert not later.exists() or not same(weights(result.trained.model), saved_weights(later))


def test_a_finding_before_any_sound_checkpoint_is_an_error_with_its_figures(setting: Setting, tmp_path: Path) -> None:
    plan = setting.plan("grpo", steps=8, watch={**CALM, "window": 1, "zero_spread": 0.0, "solved": 1.0})
    with pytest.raises(TrainingCollapsed, match="nearly all groups of answers score alike") as failure:
        setting.grpo(plan, tmp_path)
    assert failure.value.details["signal"] == "zero_spread"


def test_it_goes_on_from_an_adapter_and_refuses_one_of_another_base_or_shape(setting: Setting, tmp_path: Path) -> None:
    from engine.train.weights import save_adapter

    first = setting.grpo(setting.plan("grpo", steps=14), tmp_path / "first")
    adapter, foreign = tmp_path / "adapter", tmp_path / "foreign"
    save_adapter(first.trained.model, adapter, base_digest=setting.base.digest)
    save_adapter(first.trained.model, foreign, base_digest="0" * 64)
    second = setting.grpo(setting.plan("grpo", steps=1, preflight_spread=0.01), tmp_path / "second", warm=adapter)
    assert second.preflight.reward > first.preflight.reward + 0.1
    with pytest.raises(ArtifactCorrupt, match="does not fit"):
        setting.grpo(setting.plan("grpo"), tmp_path / "third", warm=foreign)
    other = setting.plan("grpo").model_copy(update={"lora": Lora(rank=2, alpha=4)})
    with pytest.raises(ArtifactCorrupt, match="rank 4"):
        setting.grpo(other, tmp_path / "fourth", warm=adapter)
    with pytest.raises(ArtifactCorrupt, match="no adapter"):
        setting.grpo(setting.plan("grpo"), tmp_path / "fifth", warm=tmp_path / "nowhere")


def test_sft_first_is_said_before_a_step_is_taken(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(NothingToLearn, match="SFT first"):
        setting.grpo(setting.plan("grpo", preflight_spread=1.0), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_with_a_reference_the_divergence_is_measured_and_begins_at_zero(setting: Setting, tmp_path: Path) -> None:
    result = setting.grpo(setting.plan("grpo", steps=3, beta=0.05, preflight_prompts=0), tmp_path)
    divergences = [figures.kl for figures in result.curve]
    assert divergences[0] == pytest.approx(0.0, abs=1e-6)
    assert divergences[-1] > 0
    assert result.preflight is None


def test_the_worker_killed_in_the_middle_leaves_what_a_whole_training_gives(setting: Setting, tmp_path: Path) -> None:
    from engine.train.weights import save_adapter

    plan = setting.plan("grpo", steps=16)
    whole = setting.grpo(plan, tmp_path / "work")
    save_adapter(whole.trained.model, tmp_path / "adapter", base_digest=setting.base.digest)
    killed = run_of(setting.workspace, "train-killed", job_of(setting.base, tiny_profile(), setting.rows, plan, setting.compiled))

    def trained_steps() -> int:
        return max((line.data["step"] for line in read_spool(killed.progress) if line.data["phase"] == "training"), default=0)

    signal_when(start(killed, 1), signal.SIGKILL, lambda: trained_steps() >= 4)
    result = run(killed, 2)
    assert result["state"] == "succeeded", killed.log.read_text()[-2000:]
    output = result["output"]
    assert output["resumed_from_step"] > 0
    assert output["adapter"] == tree_sha256(tmp_path / "adapter") == tree_sha256(killed.outputs / "adapter")
    assert read_json(killed.outputs / "rewards.json") == [figures.model_dump(mode="json") for figures in whole.curve]
    assert output["preflight"] == whole.preflight.model_dump(mode="json")
    assert set(output["artifacts"]) == {"adapter", "fingerprint", "losses", "rewards"}


def test_dpo_prefers_what_was_chosen_goes_on_from_an_adapter_and_resumes_exactly(setting: Setting, tmp_path: Path) -> None:
    from engine.train.dpo import train_dpo
    from engine.train.rows import read_pairs
    from engine.train.weights import save_adapter

    def train(work: Path, report: Any = lambda _: None, warm: Path | None = None):
        job = job_of(setting.base, tiny_profile(), setting.pairs, setting.plan("dpo").model_copy(update={"learning_rate": 0.05}), setting.compiled, warm)
        return train_dpo(job, read_pairs(setting.pairs, job.dataset_digest), work, report, lambda: None)

    first = train(tmp_path / "first")
    assert first.losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert first.losses[-1] < 0.6
    save_adapter(first.model, tmp_path / "adapter", base_digest=setting.base.digest)
    second = train(tmp_path / "second", warm=tmp_path / "adapter")
    assert second.losses[0] == pytest.approx(0.6931, abs=1e-3)  # its reference is where it began
    assert not same(weights(second.model), weights(first.model))

    def die(progress: Progress) -> None:
        if (progress.step or 0) >= 3:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "killed", die, tmp_path / "adapter")
    resumed = train(tmp_path / "killed", warm=tmp_path / "adapter")
    assert resumed.resumed_from_step > 0
    assert resumed.losses == second.losses
    assert same(weights(resumed.model), weights(second.model))
