"""The adapter that GRPO and DPO begin with: a new one, or the incumbent's to go on from. Imported by the training worker alone (loads torch)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import AutoTokenizer

from engine.base.files import read_json
from engine.config import ModelProfile
from engine.errors import ArgumentInvalid, ArtifactCorrupt, DependencyMissing
from engine.train.jobs import TrainJob
from engine.train.sft import load_base, lora_config
from engine.train.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS


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
    if job.warm_start is None:
        torch.manual_seed(job.plan.seed)
        return get_peft_model(base, lora_config(job.plan, base))
    directory = Path(job.warm_start)
    check_adapter(directory, job)
    return PeftModel.from_pretrained(base, str(directory), is_trainable=True)


def check_adapter(directory: Path, job: TrainJob) -> None:
    """Raises when the adapter to go on from is not there, belongs to another base, or has another shape than the plan says."""
    if not (directory / ADAPTER_WEIGHTS).is_file() or not (directory / ADAPTER_CONFIG).is_file():
        raise ArtifactCorrupt(f"there is no adapter in {directory.name} to go on from", next_step="Train without a warm start.")
    config = read_json(directory / ADAPTER_CONFIG)
    if config["base_model_name_or_path"] != f"sha256:{job.base.digest}":
        raise ArgumentInvalid(
            f"the adapter to go on from was trained on the base {config['base_model_name_or_path']}, not on {job.base.digest[:12]}",
            next_step="Go on from a version of this base.",
        )
    shape, planned = (config["r"], config["lora_alpha"]), (job.plan.lora.rank, job.plan.lora.alpha)
    if shape != planned:
        raise ArgumentInvalid(
            f"the adapter to go on from has rank {shape[0]} and alpha {shape[1]}, the plan says {planned[0]} and {planned[1]}",
            next_step="Plan with the shape of that adapter, or start anew.",
        )
