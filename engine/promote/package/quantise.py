"""A checkpoint in 8-bit integers, written as compressed-tensors, which vLLM serves on a CPU and on a GPU. Needs torch; imported by workers alone.

Every linear layer but the head holds one scale a row and integers from -127 to 127; activations are scaled token by token while it answers. That
needs no calibration data, so nothing of a training set goes into the form. What it costs in answers, the replay says (`parity.py`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from engine.base.files import read_json, write_json

LARGEST = 127
HEAD = "lm_head"
SCHEME = {
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
            "input_activations": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True},
        }
    },
    "format": "int-quantized",
    "ignore": [HEAD],
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}
"""As compressed-tensors names it (its `QuantizationConfig`)."""


def quantise(source: Path, directory: Path) -> None:
    """Writes the checkpoint in `source` with its linear layers in 8 bits."""
    directory.mkdir(parents=True)
    layers = linear_layers(source)
    for path in sorted(source.iterdir()):
        if path.suffix == ".safetensors":
            save_file(_quantised(path, layers), directory / path.name, metadata={"format": "pt"})
            (directory / path.name).chmod(0o644)
        elif path.name == "config.json":
            write_json(directory / path.name, read_json(path) | {"quantization_config": SCHEME})
        elif not path.name.endswith(".index.json"):  # sizes and places of tensors, which are others now
            shutil.copyfile(path, directory / path.name)


def linear_layers(source: Path) -> frozenset[str]:
    """The names of the linear layers but the head, from the architecture that the configuration names."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source, local_files_only=True))  # type: ignore[no-untyped-call]
    return frozenset(name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != HEAD)


def _quantised(path: Path, layers: frozenset[str]) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(path, framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a mapping
            tensor = weights.get_tensor(name)
            layer = name.removesuffix(".weight")
            if layer in layers and name.endswith(".weight"):
                scale = _scales(tensor)
                tensors[f"{layer}.weight_scale"] = scale
                tensor = (tensor.float() / scale.float()).round().clamp(-LARGEST, LARGEST).to(torch.int8)
            tensors[name] = tensor.contiguous()
    return tensors


def _scales(tensor: torch.Tensor) -> torch.Tensor:
    """One scale a row in the checkpoint's own type: the integers are made with the scale as it is stored. A row of zeros keeps a scale of one."""
    largest = tensor.float().abs().amax(dim=1, keepdim=True)
    return torch.where(largest > 0, largest / LARGEST, torch.ones_like(largest)).to(tensor.dtype)
