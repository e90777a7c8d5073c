"""The adapter that GRPO and DPO begin with: a new one, or the incumbent's to go on from. Imported by the training worker alone (loads torch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoTokenizer

from engine.config import ModelProfile
from engine.errors import ArgumentInvalid, DependencyMissing
from engine.train.jobs import TrainJob
from engine.train.sft import load_base, lora_config
from engine.train.weights import go_on_from


def trainable_profile(job: TrainJob) -> ModelProfile:
    """The job's profile. ArgumentInvalid when it is not a model that is trained here, DependencyMissing for a 4-bit base without a GPU."""
    if not isinstance(job.profile, ModelProfile):
        raise ArgumentInvalid(f"{job.model} is no managed model and cannot be trained", next_step="Give the cluster a profile with kind 'managed'.")
    if job.plan.base_quantization == "nf4" and not torch.cuda.is_available():
        raise DependencyMissing("training on an nf4 base needs a GPU that torch can use", next_step="Install the CUDA build of torch.")
    return job.profile


def load_tokenizer(job: TrainJob, profile: ModelProfile) -> Any:
    """The base's tokenizer, with the profile's stop token as the end of an answer."""
    tokenizer = AutoTokenizer.from_pretrained(job.base.directory, local_files_only=True)
    tokenizer.eos_token = profile.stop_token
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def starting_model(job: TrainJob, tokenizer: Any, check_cancelled: Callable[[], None]) -> Any:
    """The base with the adapter that training begins with. `check_cancelled` is called at every forward pass, so also for each token of an answer."""
    base = load_base(job.base.directory, job.plan, job.device)
    base.config.use_cache = True  # answers are generated with it; training passes never ask for one
    base.generation_config.eos_token_id = tokenizer.eos_token_id
    base.generation_config.pad_token_id = tokenizer.pad_token_id
    base.register_forward_pre_hook(lambda *_: check_cancelled())
    torch.manual_seed(job.plan.seed)
    model = get_peft_model(base, lora_config(job.plan, base))
    go_on_from(model, job)
    return model
