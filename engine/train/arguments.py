"""Settings that every trainer is given alike. None of them is left to a library's default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.train.types import TrainPlan

SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup", "wsd": "warmup_stable_decay"}
"""The plan's words for transformers'."""


def common_arguments(plan: TrainPlan, output: Path, *, cpu: bool) -> dict[str, Any]:
    """Keyword arguments for TRL's configurations: optimiser, precision, order, logging and checkpoints. The rows' order already holds all
    epochs, so a trainer sees one."""
    return {
        "output_dir": str(output),
        "num_train_epochs": 1,
        "per_device_train_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.batch_size // plan.micro_batch_size,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": SCHEDULERS[plan.scheduler],
        "warmup_steps": plan.warmup_share,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.max_grad_norm,
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": plan.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if plan.gradient_checkpointing else None,
        "bf16": False,
        "fp16": False,
        "tf32": None,
        "use_cpu": cpu,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not cpu,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": plan.checkpoint_every_steps,
        "push_to_hub": False,
    }
