"""Whether an adapter changes anything at all, read from its file without torch.

A LoRA begins with its second matrices (`lora_B`) at zero, where it is the base. One that still is has not been trained: handed in as a result
it would pass the base off as a version. The format is a length, a JSON header with the place of each tensor, and the tensors' bytes
(safetensors).
"""

from __future__ import annotations

import json
from pathlib import Path

from engine.errors import FingerprintMismatch

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_NEGATIVE_ZERO = 0x80
"""The only byte besides 0 in a floating-point zero, little-endian, at the end of each number."""


def refuse_untrained(directory: Path) -> None:
    """Raises FingerprintMismatch unless some second matrix of the adapter holds a number other than zero."""
    data = (directory / ADAPTER_WEIGHTS).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    seconds = [about["data_offsets"] for name, about in header.items() if "lora_B" in name]
    if not any(set(data[start + low : start + high]) - {0, _NEGATIVE_ZERO} for low, high in seconds):
        raise FingerprintMismatch(
            f"the adapter changes nothing: all of its {len(seconds)} second matrices are zero, so it is the base itself",
            next_step="Train again; when it comes out the same, look at the learning rate and at which modules the profile adapts.",
        )
