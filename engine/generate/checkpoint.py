"""Whether a directory holds whole safetensors weights, read from the files' headers alone.

vLLM replaces weights in place: told to load a checkpoint that is torn or of another shape, it fails half-way, loses the weights that it had,
still says that it is healthy, and dies at the next question. So a checkpoint is looked at before a server is told to load it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

MAX_HEADER_BYTES = 64 << 20


class Tensor(NamedTuple):
    """A tensor as a header describes it."""

    dtype: str
    shape: tuple[int, ...]


def checkpoint_problem(directory: Path, *, like: Path | None) -> str:
    """What is wrong with the safetensors files in `directory`, in a sentence; empty when nothing is.

    With `like`, its tensors must have the names, types and shapes of those in that directory.
    """
    try:
        tensors = read_tensors(directory)
        if like is not None:
            return _difference(read_tensors(like), tensors)
    except (OSError, ValueError) as reason:
        return str(reason)
    return ""


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """The tensors of all safetensors files in `directory`. ValueError when there is none, or when a file is torn."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors |= _read_file(path)
    if not tensors:
        raise ValueError("no safetensors file with tensors")
    return tensors


def _read_file(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise ValueError(f"{path.name} is not a safetensors file, or is torn")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"the header of {path.name} is not an object")
    header.pop("__metadata__", None)
    try:
        tensors = {name: Tensor(str(entry["dtype"]), tuple(entry["shape"])) for name, entry in header.items()}
        end = max((_end(entry) for entry in header.values()), default=0)
    except (KeyError, TypeError, IndexError) as reason:
        raise ValueError(f"the header of {path.name} does not describe tensors") from reason
    if size != 8 + length + end:
        raise ValueError(f"{path.name} has {size} bytes, its header says {8 + length + end}")
    return tensors


def _end(entry: Any) -> int:
    return int(entry["data_offsets"][1])


def _difference(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        return f"{len(missing)} tensors are missing and {len(extra)} unknown, such as {(missing + extra)[0]}"
    for name, tensor in expected.items():
        if found[name] != tensor:
            return f"{name} is {found[name].dtype} {list(found[name].shape)}, the base has {tensor.dtype} {list(tensor.shape)}"
    return ""
