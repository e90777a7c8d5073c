"""A model's files on disk: its `config.json`, how many parameters its weights hold, and the head of its card."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.atlas.importing import entry_from
from engine.base.files import inside, parse_strict
from engine.config import CatalogueModel
from engine.errors import ArgumentInvalid, NotFound, TooLarge
from engine.loading import parse_yaml

MAX_CONFIG_BYTES = 4 << 20
MAX_CARD_BYTES = 4 << 20
MAX_HEADER_BYTES = 100 << 20
"""The limit of the safetensors format itself."""
LENGTH_BYTES = 8
MOST_PARAMETERS = 10**14
"""Beyond this the heads do not tell of a model."""


class ModelFiles(NamedTuple):
    """What was found."""

    config: dict[str, Any]
    parameters: int | None
    """Counted in the heads of its safetensors files; None without any, or where they are quantised into other shapes."""
    card: dict[str, Any]


def read_model(root: Path, relative: str, name: str) -> CatalogueModel:
    """The entry of the model whose files lie in the folder `relative` below `root`, or beside the `config.json` that it names. Nothing is read
    through a link that leads out of `root`."""
    folder = relative.removesuffix("config.json").rstrip("/") or "."
    return entry_of(read_files(root, folder), name=name, label=f"{folder}/config.json", source=f"{folder}/config.json, imported")


def entry_of(files: ModelFiles, *, name: str, label: str, source: str) -> CatalogueModel:
    """The entry that follows from a model's files. Raises ArgumentInvalid, naming `label`, where they are no language model's."""
    try:
        return entry_from(files.config, name=name, total=files.parameters, card=files.card, source=source)
    except ValueError as problem:
        raise ArgumentInvalid(
            f"{label} is of no language model that can be read: {problem}",
            next_step="Give the folder of a language model as transformers saves it, or write its entry into atlas.json by hand.",
        ) from None


def read_files(root: Path, folder: str) -> ModelFiles:
    """What lies in the folder. Raises NotFound without a `config.json`, ArgumentInvalid where it is no JSON object, PathRefused outside of `root`."""
    path = inside(root, f"{folder}/config.json")
    if not path.is_file():
        raise NotFound(f"{folder} has no config.json", next_step="Name a folder with the files of a model as the Hugging Face hub keeps them.")
    try:
        config = parse_strict(_up_to(path, MAX_CONFIG_BYTES))
    except ValueError as problem:
        raise ArgumentInvalid(f"{folder}/config.json: {problem}", next_step="Give the file as the model's makers published it.") from None
    if not isinstance(config, dict):
        raise ArgumentInvalid(f"{folder}/config.json is no JSON object", next_step="Give the file as the model's makers published it.")
    weights = [inside(root, f"{folder}/{name}") for name in _weight_files(root / folder)]
    quantised = bool(config.get("quantization_config"))
    return ModelFiles(config, None if quantised else _parameters(weights), _card(inside(root, f"{folder}/README.md")))


def _up_to(path: Path, limit: int) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"{path.name} has more than {limit} bytes", next_step="Name the folder of a model; this is no such file.")
    return data


def _weight_files(folder: Path) -> list[str]:
    """The files that make up the model: those that its index lists, or else all but a second copy of them in one file."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(_up_to(index, MAX_HEADER_BYTES))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return []
        return names if all(isinstance(name, str) and Path(name).name == name for name in names) else []
    return sorted(found.name for found in folder.glob("*.safetensors") if not found.name.startswith("consolidated"))


def _parameters(weights: Sequence[Path]) -> int | None:
    """The sizes of all tensors, from the heads of the files: no tensor is read."""
    total = 0
    for path in weights:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
            if length > MAX_HEADER_BYTES:
                return None
            try:
                head = json.loads(stream.read(length))
                total += sum(math.prod(tensor["shape"]) for tensor_name, tensor in head.items() if tensor_name != "__metadata__")
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                return None
    return total if 0 < total < MOST_PARAMETERS else None


def _card(path: Path) -> dict[str, Any]:
    """The head of a model card: YAML between two lines of three dashes. One that cannot be read says nothing."""
    if not path.is_file():
        return {}
    parts = _up_to(path, MAX_CARD_BYTES).split(b"---", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        head = parse_yaml(parts[1])
    except ValueError:
        return {}
    return head if isinstance(head, dict) else {}
