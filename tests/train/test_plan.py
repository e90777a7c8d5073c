"""Training plans, complete for the profiles of a GPU machine, and the reasons that they carry."""

from __future__ import annotations

import pytest

from engine.config import DirectoryWeights, EndpointProfile, Inference, ModelProfile, ScriptedProfile, Training, TrainOverrides
from engine.errors import ArgumentInvalid, ConfigInvalid
from engine.loading import load_clusters
from engine.train.plan import plan_training
from tests.conftest import REPOSITORY


def managed(**changes: object) -> ModelProfile:
    fields: dict[str, object] = {
        "title": "Small",
        "license": "Apache-2.0",
        "parameters_billion": 0.135,
        "weights": DirectoryWeights(path="models/small"),
        "inference": Inference(max_model_len=2048),
    }
    return ModelProfile.model_validate({**fields, **changes})


def shipped(name: str) -> ModelProfile:
    profile = load_clusters(REPOSITORY).models[name]
    assert isinstance(profile, ModelProfile)
    return profile


def test_the_plan_of_an_8b_with_bf16_lora() -> None:
    plan = plan_training(shipped("llama-3.1-8b"), TrainOverrides(), rows=8000, device="cuda", seed=17, merge=False)
    assert plan.model_dump() == {
        "method": "sft",
        "warm_start": False,
        "lora": {"rank": 32, "alpha": 64, "dropout": 0.05, "target_modules": "all-linear", "first_layer": 0},
        "dtype": "bfloat16",
        "base_quantization": "none",
        "learning_rate": 2e-4,
        "epochs": 2.0,
        "batch_size": 16,
        "micro_batch_size": 4,
        "max_length": 4096,
        "warmup_share": 0.03,
        "scheduler": "cosine",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": True,
        "checkpoint_every_steps": 50,
        "seed": 17,
        "merge": False,
        "grpo": None,
        "dpo": None,
        "reasons": (),
    }


def test_the_plan_of_a_32b_on_a_4_bit_base() -> None:
    plan = plan_training(shipped("qwen2.5-32b-nf4"), TrainOverrides(), rows=8000, device="cuda", seed=17, merge=False)
    assert plan.model_dump() == {
        "method": "sft",
        "warm_start": False,
        "lora": {"rank": 16, "alpha": 32, "dropout": 0.05, "target_modules": "all-linear", "first_layer": 0},
        "dtype": "bfloat16",
        "base_quantization": "nf4",
        "learning_rate": 1e-4,
        "epochs": 2.0,
        "batch_size": 16,
        "micro_batch_size": 1,
        "max_length": 4096,
        "warmup_share": 0.03,
        "scheduler": "cosine",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": True,
        "checkpoint_every_steps": 50,
        "seed": 17,
        "merge": False,
        "grpo": None,
        "dpo": None,
        "reasons": (),
    }


def test_a_4_bit_base_is_refused_without_a_gpu() -> None:
    with pytest.raises(ConfigInvalid, match="needs a GPU"):
        plan_training(shipped("qwen2.5-32b-nf4"), TrainOverrides(), rows=8000, device="cpu", seed=17, merge=False)


def test_every_override_of_the_domain_is_applied_and_explained() -> None:
    overrides = TrainOverrides(epochs=4, learning_rate=1e-3, rank=8, max_length=256)
    plan = plan_training(managed(), overrides, rows=1000, device="cpu", seed=17, merge=True)
    assert (plan.epochs, plan.learning_rate, plan.max_length) == (4, 1e-3, 256)
    assert (plan.lora.rank, plan.lora.alpha) == (8, 16)
    assert plan.merge
    for name in ("epochs is 4", "learning_rate is 0.001", "rank is 8", "max_length is 256"):
        assert any(reason.startswith(name) for reason in plan.reasons), name


def test_a_row_is_never_allowed_to_be_longer_than_the_server_could_answer() -> None:
    plan = plan_training(managed(inference=Inference(max_model_len=256)), TrainOverrides(), rows=1000, device="cpu", seed=17, merge=True)
    assert plan.max_length == 256
    assert "never be answered" in plan.reasons[0]


@pytest.mark.parametrize(
    ("batch", "micro", "rows", "expected"), [(8, 3, 100, (8, 2)), (8, 8, 5, (5, 5)), (32, 8, 100, (32, 8)), (7, 4, 100, (7, 1)), (8, 16, 100, (8, 8))]
)
def test_the_micro_batch_always_divides_the_batch(batch: int, micro: int, rows: int, expected: tuple[int, int]) -> None:
    profile = managed(training=Training(batch_size=batch, micro_batch_size=micro))
    plan = plan_training(profile, TrainOverrides(), rows=rows, device="cpu", seed=17, merge=True)
    assert (plan.batch_size, plan.micro_batch_size) == expected
    assert plan.reasons


def test_a_later_round_throws_other_dice_and_says_so() -> None:
    plan = plan_training(managed(), TrainOverrides(), rows=1000, device="cpu", seed=17, merge=True, iteration=3)
    assert plan.seed == 19
    assert "round 3" in plan.reasons[0]


def test_a_training_that_another_round_may_go_on_from_lets_its_rate_fall_only_at_the_end() -> None:
    plans = [
        plan_training(profile, TrainOverrides(), rows=800, device="cpu", seed=17, merge=False, may_go_on=may_go_on)
        for profile, may_go_on in ((managed(), False), (managed(), True), (managed(training=Training(scheduler="constant")), True))
    ]
    assert [plan.scheduler for plan in plans] == ["cosine", "wsd", "constant"]
    assert any("another round may go on" in reason for reason in plans[1].reasons)


def test_few_steps_are_pointed_out() -> None:
    plan = plan_training(managed(), TrainOverrides(epochs=1), rows=40, device="cpu", seed=17, merge=True)
    assert any("Only 5 optimiser steps" in reason for reason in plan.reasons)


def test_an_endpoint_cannot_be_trained_and_no_rows_cannot_train() -> None:
    endpoint = EndpointProfile(title="Far away", base_url="https://example.org/v1", model="far")
    with pytest.raises(ArgumentInvalid, match="endpoint"):
        plan_training(endpoint, TrainOverrides(), rows=10, device="cpu", seed=17, merge=False)
    with pytest.raises(ArgumentInvalid, match="no rows"):
        plan_training(ScriptedProfile(), TrainOverrides(), rows=0, device="cpu", seed=17, merge=False)
