"""Checkpoints that can be trusted after a kill at any instant.

    work/checkpoints/
      checkpoint-25/          adapter, optimiser, schedule: written by the trainer
        verified.json         step, seconds, tokens and the SHA-256 of every other file: written last

A directory counts only when `verified.json` is there and every hash fits; anything else is what a kill left behind, and is removed before
training goes on. The files are private to the run: optimiser state is a pickle (loaded with `weights_only`) and never leaves `work/`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from engine.base.digests import file_sha256
from engine.base.files import read_json, write_json

MANIFEST = "verified.json"
KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{1,9})")


class Checkpoint(NamedTuple):
    """A verified point to go on from."""

    directory: Path
    step: int
    seconds: float
    """Spent on the steps up to here, over all attempts."""
    tokens: int
    """Seen up to here."""


def seal(directory: Path, *, step: int, seconds: float, tokens: int) -> None:
    """Declares a written checkpoint complete."""
    files = {path.name: file_sha256(path) for path in sorted(directory.iterdir()) if path.is_file() and path.name != MANIFEST}
    write_json(directory / MANIFEST, {"step": step, "seconds": seconds, "tokens": tokens, "files": files})


def latest(root: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies. Everything under `root` that does not is removed, so the trainer cannot pick it up."""
    best: Checkpoint | None = None
    for directory in sorted(root.iterdir()) if root.is_dir() else []:
        found = _verified(directory)
        if found is None:
            shutil.rmtree(directory) if directory.is_dir() and not directory.is_symlink() else directory.unlink()
        elif best is None or found.step > best.step:
            best = found
    return best


def verified(root: Path) -> list[Checkpoint]:
    """Every checkpoint that verifies, oldest step first."""
    found = [_verified(directory) for directory in root.iterdir()] if root.is_dir() else []
    return sorted((point for point in found if point is not None), key=lambda point: point.step)


def _verified(directory: Path) -> Checkpoint | None:
    named = _NAME.fullmatch(directory.name)
    if named is None or directory.is_symlink() or not (directory / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(directory / MANIFEST)
        intact = all(file_sha256(directory / name) == digest for name, digest in manifest["files"].items())
        found = Checkpoint(directory, int(manifest["step"]), float(manifest["seconds"]), int(manifest["tokens"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if intact and manifest["files"] and found.step == int(named[1]) else None
