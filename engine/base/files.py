"""Files that survive a crash: atomic writes, append-only spools, and paths that stay inside their root.

A reader sees the old file or the new one, never half of one: `write_atomic` writes a temporary name in the same directory, syncs it,
renames it and syncs the directory. A spool is append-only JSON lines, each with a sequence number and a CRC; a torn or damaged tail is not
returned by `read_spool`, and is cut when the spool is opened for writing again.
"""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.digests import canonical_json
from engine.errors import PathRefused

MAX_JSON_BYTES = 16 << 20
MAX_JSON_DEPTH = 64


def disk_is_full(error: BaseException) -> bool:
    """Whether a write failed because there is no room left for it."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def fsync_directory(directory: Path) -> None:
    """Makes the names inside `directory` durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Makes what anybody has written to `path` so far durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes `data` to `path` so that a crash leaves the old content or the new, and the new is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, written atomically. NaN raises ValueError."""
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_jsonl(path: Path, rows: list[Any]) -> None:
    """`rows` as canonical JSON lines, written atomically."""
    write_atomic(path, b"".join(canonical_json(row) + b"\n" for row in rows))


def read_json(path: Path) -> Any:
    """The value in a file that this project wrote itself. For a file that somebody else wrote, use `parse_strict`."""
    return json.loads(path.read_bytes())


def read_jsonl(path: Path) -> list[Any]:
    """The rows of a JSON-lines file that this project wrote itself."""
    with path.open("rb") as stream:
        return [json.loads(line) for line in stream if line.strip()]


def parse_strict(data: bytes) -> Any:
    """JSON as the specification has it: no duplicate keys, NaN, numbers beyond a float, NUL, lone surrogates or over-deep nesting. Raises ValueError
    in a sentence."""
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"the document has {len(data)} bytes; the limit is {MAX_JSON_BYTES}")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in items:
            if key in found:
                raise ValueError(f"the key {key[:80]!r} occurs twice in one object")
            found[key] = item
        return found

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    text = data.decode("utf-8")
    depth = deepest = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    if deepest > MAX_JSON_DEPTH * 4:
        raise ValueError(f"nesting is deeper than {MAX_JSON_DEPTH} levels")
    value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    _check_values(value, 0)
    return value


def _check_values(value: Any, depth: int) -> None:
    if depth > MAX_JSON_DEPTH:
        raise ValueError(f"nesting is deeper than {MAX_JSON_DEPTH} levels")
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("a string holds a NUL character")
        value.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, which is a ValueError
    elif isinstance(value, float) and not math.isfinite(value):  # 1e999 is read as infinity
        raise ValueError("a number is larger than any that can be computed with")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_values(key, depth + 1)
            _check_values(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_values(item, depth + 1)


def inside(root: Path, relative: str) -> Path:
    """The path `relative` under `root`, refused when it is absolute, has a NUL, or leaves the root, also by a symbolic link."""
    refused = PathRefused(
        f"the path {relative[:200]!r} leaves {root.name}/",
        next_step="Give a path relative to the workspace, without '..' and not through a symbolic link that leads out of it.",
        path=relative[:200],
    )
    if "\x00" in relative or relative.startswith(("/", "~")):
        raise refused
    base = root.resolve()
    target = (base / relative).resolve()
    if target != base and base not in target.parents:
        raise refused
    return target


class SpoolLine(NamedTuple):
    """One intact line of a spool."""

    seq: int
    at: str
    data: dict[str, Any]
    end_offset: int


def encode_spool_line(seq: int, at: str, data: dict[str, Any]) -> bytes:
    """`crc32 canonical-json\\n`; the CRC covers the JSON."""
    body = canonical_json({"seq": seq, "at": at, "data": data})
    return b"%08x " % zlib.crc32(body) + body + b"\n"


def read_spool(path: Path, offset: int = 0) -> Iterator[SpoolLine]:
    """The intact lines from byte `offset` on; stops before the first torn or damaged one. A file that is not there has no lines."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(offset)
        for line in stream:
            if len(line) < 11 or not line.endswith(b"\n"):
                return
            try:
                intact = int(line[:8], 16) == zlib.crc32(line[9:-1])
            except ValueError:
                return
            if not intact:
                return
            offset += len(line)
            record = json.loads(line[9:-1])
            yield SpoolLine(record["seq"], record["at"], record["data"], offset)


class Spool:
    """The writing end of a spool: one writer, one file. Opening it again continues after the last intact line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.seq = 0
        good = 0
        for line in read_spool(path):
            self.seq, good = line.seq, line.end_offset
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._handle, good)

    def append(self, at: str, data: dict[str, Any], *, sync: bool = False) -> int:
        """Appends one line and returns its sequence number, which starts at 1. With `sync`, it is on disk when this returns."""
        self.seq += 1
        os.write(self._handle, encode_spool_line(self.seq, at, data))
        if sync:
            os.fdatasync(self._handle)
        return self.seq

    def close(self) -> None:
        os.close(self._handle)
