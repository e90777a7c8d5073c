"""Which code this is: the released version, and a digest of the engine's sources by their content."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from engine.base.digests import digest_of, file_sha256

VERSION = "0.1.0"


@cache
def engine_digest() -> str:
    """The digest of every source file of the engine, as they were when it was first asked for: equal on two machines with the same code."""
    root = Path(__file__).resolve().parents[1]
    return digest_of([(path.relative_to(root).as_posix(), file_sha256(path)) for path in sorted(root.rglob("*.py"))])
