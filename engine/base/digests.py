"""Canonical JSON and SHA-256: the one way in which this project names content.

Two values that are equal as JSON have one canonical form (sorted keys, no spaces, no NaN), so a digest names a value, not a spelling of it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> bytes:
    """`value` as UTF-8 JSON with sorted keys and no spaces. NaN and infinity raise ValueError: no digest may rest on them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of `data`, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """The SHA-256 of the canonical JSON of `value`."""
    return sha256_hex(canonical_json(value))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, read in blocks of 1 MiB."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def tree_sha256(directory: Path) -> str:
    """The digest of a directory: of its sorted (relative path, file digest) pairs. Symbolic links are not followed and raise ValueError."""
    entries: list[tuple[str, str]] = []
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            raise ValueError(f"{path} is a symbolic link; a content-addressed directory holds plain files")
        if path.is_file():
            entries.append((path.relative_to(directory).as_posix(), file_sha256(path)))
    return digest_of(entries)
