"""Which code this is: the released version, and a digest of the sources as they are on disk now.

A client compares the digest on disk with the one its daemon started from, so that after an update the old daemon is asked to make way. The
sources are identified by size and modification time: reading them all would cost more than the call that asks.
"""

from __future__ import annotations

from pathlib import Path

from engine.base.digests import digest_of
from engine.base.sources import VERSION

__all__ = ["VERSION", "code_version"]


def code_version() -> str:
    """`0.1.0+3f2a9c01`, of the files as they are now."""
    root = Path(__file__).resolve().parent.parent
    entries = []
    for package in ("engine", "server", "tools"):
        for path in sorted((root / package).rglob("*.py")):
            facts = path.stat()
            entries.append([path.relative_to(root).as_posix(), facts.st_size, facts.st_mtime_ns])
    return f"{VERSION}+{digest_of(entries)[:8]}"
