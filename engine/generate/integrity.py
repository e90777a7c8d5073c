"""Weights are compared with their recorded hash before anything is built on them: a flipped bit in a safetensors file loads without complaint."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from engine.base.digests import tree_sha256
from engine.errors import ArtifactCorrupt

Part = Literal["base", "merged", "adapter"]
"""What a version answers from. Merged weights follow from the two others, a base from its source, an adapter from its training."""
_NEXT_STEP: dict[Part, str] = {
    "base": "Prepare the base again: an iterate run does so by itself.",
    "merged": "Merge them again: an iterate run does so by itself, from an intact adapter.",
    "adapter": "Put the artefact back from a backup. An iterate run trains it again, which helps where that gives the same bytes.",
}


def refuse_altered(part: Part, directory: Path, digest: str) -> None:
    """Raises ArtifactCorrupt unless `directory` has this digest."""
    if tree_sha256(directory) != digest:
        raise altered(part, directory, digest, "its bytes have changed")


def altered(part: Part, directory: Path, digest: str, problem: str) -> ArtifactCorrupt:
    """The error that names what is not what it was."""
    return ArtifactCorrupt(f"{part} {digest[:12]} in {directory}: {problem}", next_step=_NEXT_STEP[part], part=part, weights=digest)
