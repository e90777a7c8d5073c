"""Writes trained weights: the adapter under a canonical form, and merged into a copy of the base. Needs torch; imported by workers alone.

An adapter directory holds `adapter_model.safetensors` and `adapter_config.json`, nothing else: no path, no time, no pickle. So its digest
depends on its content only, and names the version. A merged directory is a copy of the base with the adapted matrices changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.base.files import read_json, write_json
from engine.errors import ArgumentInvalid, ArtifactCorrupt
from engine.train.jobs import TrainJob

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_COPIED_SUFFIXES = (".json", ".jinja", ".model", ".txt")


def save_adapter(model: Any, directory: Path, *, base_digest: str) -> None:
    """Writes the adapter that `model` (a PEFT model) holds."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(get_peft_model_state_dict(model, save_embedding_layers=False).items())
    }
    save_file(tensors, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    (directory / ADAPTER_WEIGHTS).chmod(0o644)
    lora = model.peft_config["default"]
    targets: str | Sequence[str] = lora.target_modules
    write_json(
        directory / ADAPTER_CONFIG,
        {
            "base_model_name_or_path": f"sha256:{base_digest}",
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "layers_to_transform": lora.layers_to_transform,
            "lora_alpha": lora.lora_alpha,
            "lora_dropout": lora.lora_dropout,
            "modules_to_save": None,
            "peft_type": "LORA",
            "r": lora.r,
            "target_modules": targets if isinstance(targets, str) else sorted(targets),
            "task_type": "CAUSAL_LM",
            "use_dora": False,
            "use_rslora": False,
        },
    )


def go_on_from(model: Any, job: TrainJob) -> None:
    """Puts the adapter that the job goes on from into `model`'s new one. Raises ArtifactCorrupt where the two are not of one shape. A run that
    is resumed reads its checkpoint afterwards, which holds what was learnt since."""
    if job.plan.warm_start != (job.warm_start is not None):
        named = "names no adapter" if job.plan.warm_start else "names an adapter"
        raise ArgumentInvalid(
            f"the plan's warm_start is {job.plan.warm_start}, and the job {named}",
            next_step="Start the iterate run again; it names the incumbent's adapter where its plan goes on from it.",
        )
    if job.warm_start is None:
        return
    if not (Path(job.warm_start) / ADAPTER_WEIGHTS).is_file():
        raise ArtifactCorrupt(f"there is no adapter in {Path(job.warm_start).name} to go on from", next_step="Train without a warm start.")
    stored = load_file(Path(job.warm_start) / ADAPTER_WEIGHTS)
    config = read_json(Path(job.warm_start) / ADAPTER_CONFIG)
    current = get_peft_model_state_dict(model, save_embedding_layers=False)
    same = {name: tuple(tensor.shape) for name, tensor in stored.items()} == {name: tuple(tensor.shape) for name, tensor in current.items()}
    if not same or config["lora_alpha"] != job.plan.lora.alpha or config["base_model_name_or_path"] != f"sha256:{job.base.digest}":
        raise ArtifactCorrupt(
            f"the adapter that training was to go on from does not fit: rank {config['r']}, alpha {config['lora_alpha']}, {len(stored)} matrices, of "
            f"{config['base_model_name_or_path'][:19]}; the plan has rank {job.plan.lora.rank}, alpha {job.plan.lora.alpha}, {len(current)} matrices",
            next_step="Train anew: start the iterate run again after a change of lora in the model's profile.",
        )
    set_peft_model_state_dict(model, stored)


def merge(base: Path, adapter: Path, directory: Path) -> None:
    """Writes `base` with `adapter` added into its weights: W + alpha / r * B A, summed in 32 bits and rounded once to the base's type."""
    directory.mkdir(parents=True, exist_ok=True)
    config = read_json(adapter / ADAPTER_CONFIG)
    scale = config["lora_alpha"] / config["r"]
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as stored:
        factors = {name.removeprefix(_PREFIX): stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
    merged: set[str] = set()
    for source in sorted(base.glob("*.safetensors")):
        tensors: dict[str, torch.Tensor] = {}
        with safe_open(source, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                tensor = weights.get_tensor(name)
                module = name.removesuffix(".weight")
                if f"{module}.lora_A.weight" in factors:
                    down, up = factors[f"{module}.lora_A.weight"].float(), factors[f"{module}.lora_B.weight"].float()
                    tensor = (tensor.float() + scale * (up @ down)).to(tensor.dtype)
                    merged.add(module)
                tensors[name] = tensor.contiguous()
        save_file(tensors, directory / source.name, metadata={"format": "pt"})
        (directory / source.name).chmod(0o644)
    missed = {name.split(".lora_")[0] for name in factors} - merged
    if missed:
        raise ArtifactCorrupt(
            f"{len(missed)} adapted modules are not in the base, such as {sorted(missed)[0]}",
            next_step="The adapter was trained on another base: prepare the base again and train.",
        )
    for path in sorted(base.iterdir()):
        if path.is_file() and path.suffix in _COPIED_SUFFIXES:
            shutil.copyfile(path, directory / path.name)
