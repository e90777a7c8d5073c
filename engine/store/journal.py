"""The journal: every accepted command, one line each, chained by hash and on disk before anyone is told "done".

    crc32 {"arguments":…,"at":…,"identity":…,"key":…,"op":…,"previous":…,"seq":…}\\n

`previous` is the SHA-256 of the line before, so no line can be changed, dropped or moved unseen. The journal is the truth: the database can
be rebuilt from it, never the other way round.

A crash can tear only the last line, because each line is synced before the next is written. So a damaged end is cut (and kept beside the
journal), while a damaged line with intact ones after it, or an intact line out of its chain, is refused with its number: that is no crash.

`append` has three outcomes. It returns: the line is on disk. It raises ResourceExhausted: the line could not be written, what was written of
it is cut off again, and the journal can be used. It raises StoreFailed: the outcome is unknown, and nothing more may be written by this
process. A failed sync is never tried again: after it the kernel may call the same pages clean.
"""

from __future__ import annotations

import errno
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.digests import canonical_json, sha256_hex
from engine.base.files import fsync_directory, write_atomic
from engine.errors import ResourceExhausted, StoreDamaged, StoreFailed, TooLarge

GENESIS = sha256_hex(b"modelsmith journal 1")
"""What the first line follows; names the format."""
MAX_LINE_BYTES = 4 << 20
LINE_START = re.compile(rb'[0-9a-f]{8} \{"arguments":')
"""Found at the start of a line and nowhere else: inside a line, quotes stand behind a backslash."""


class Entry(NamedTuple):
    """One accepted command."""

    seq: int
    at: str
    key: str
    """The idempotency key."""
    op: str
    identity: str
    """Digest of what was asked; the same key with another identity is refused."""
    arguments: dict[str, Any]
    chain: str
    """SHA-256 of this entry's line."""


class Line(NamedTuple):
    """An entry that is not written yet, and its bytes. The entry is parsed from the bytes, so that applying it live and replaying it are one."""

    entry: Entry
    data: bytes


class Journal:
    """The one writer of a journal file."""

    def __init__(self, path: Path, handle: int, size: int, seq: int, head: str) -> None:
        self.path = path
        self.seq = seq
        """Of the last line; 0 when there is none."""
        self.head = head
        """Digest of the last line."""
        self._handle = handle
        self._size = size

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Opens or makes the journal, checks the whole chain, and cuts a torn end. Raises StoreDamaged, naming the line, for any other damage."""
        fresh = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if fresh:
                fsync_directory(path.parent)
            seq, head, size = 0, GENESIS, 0
            for entry, end in _read(path):
                seq, head, size = entry.seq, entry.chain, end
            if os.fstat(handle).st_size > size:
                _cut(path, handle, size, seq)
        except BaseException:
            os.close(handle)
            raise
        return cls(path, handle, size, seq, head)

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """The entries with a sequence number above `after`."""
        return (entry for entry, _ in _read(self.path) if after < entry.seq <= self.seq)

    def line(self, *, at: str, key: str, op: str, identity: str, arguments: dict[str, Any]) -> Line:
        """The next line, not yet written. Raises TooLarge when it is over the limit."""
        data = encode(seq=self.seq + 1, at=at, key=key, op=op, identity=identity, arguments=arguments, previous=self.head)
        parsed = _parse(data)
        assert parsed is not None
        return Line(parsed[0], data)

    def append(self, line: Line) -> None:
        """Writes the line that `line` made and syncs it."""
        try:
            written = os.write(self._handle, line.data)
            if written != len(line.data):
                raise OSError(errno.ENOSPC, f"only {written} of {len(line.data)} bytes were taken")
        except OSError as error:
            self._take_back(error)
            raise ResourceExhausted(
                f"the journal cannot be written: {error.strerror or error}",
                next_step="Free disk space in the workspace, then try again; nothing was changed.",
                path=str(self.path),
            ) from error
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            raise StoreFailed(
                f"the journal cannot be synced: {error.strerror or error}",
                next_step="The daemon stops; check the disk. The next start reads what really is on it.",
                path=str(self.path),
            ) from error
        self.seq, self.head, self._size = line.entry.seq, line.entry.chain, self._size + len(line.data)

    def close(self) -> None:
        os.close(self._handle)

    def _take_back(self, cause: OSError) -> None:
        """Cuts off what was written of a line. A crash before this is on disk leaves a torn end, which `open` cuts."""
        try:
            os.ftruncate(self._handle, self._size)
        except OSError as error:
            raise StoreFailed(
                f"the journal cannot be written ({cause.strerror or cause}) and its end not be cut ({error.strerror or error})",
                next_step="The daemon stops; check the disk. The next start cuts the torn end.",
                path=str(self.path),
            ) from error


def encode(*, seq: int, at: str, key: str, op: str, identity: str, arguments: dict[str, Any], previous: str) -> bytes:
    """A line's bytes; their SHA-256 is what the next line follows. Raises TooLarge when it is over the limit."""
    body = canonical_json({"seq": seq, "at": at, "key": key, "op": op, "identity": identity, "arguments": arguments, "previous": previous})
    if len(body) > MAX_LINE_BYTES:
        raise TooLarge(
            f"the command {op} has {len(body)} bytes; the limit is {MAX_LINE_BYTES}",
            next_step="Keep large content in artefacts and name them by digest.",
            op=op,
        )
    return b"%08x " % zlib.crc32(body) + body + b"\n"


def _read(path: Path) -> Iterator[tuple[Entry, int]]:
    """The intact entries with the offset after each; ends before a torn end. Raises StoreDamaged for a break that no crash makes."""
    seq, head, end = 0, GENESIS, 0
    with path.open("rb") as stream:
        for data in stream:
            parsed = _parse(data)
            if parsed is None:
                _refuse_if_more(path, data + stream.read(), seq + 1)
                return
            entry, previous = parsed
            if entry.seq != seq + 1 or previous != head:
                raise _damaged(path, seq + 1, f"it says that it is number {entry.seq} and does not follow the line before it")
            seq, head, end = entry.seq, entry.chain, end + len(data)
            yield entry, end


def _parse(data: bytes) -> tuple[Entry, str] | None:
    """The entry of a line and what it follows; None when the line is torn or its bytes are not what was written."""
    if len(data) < 11 or not data.endswith(b"\n") or data[8:9] != b" ":
        return None
    try:
        if int(data[:8], 16) != zlib.crc32(data[9:-1]):
            return None
        body = json.loads(data[9:-1])
        entry = Entry(body["seq"], body["at"], body["key"], body["op"], body["identity"], body["arguments"], sha256_hex(data))
        return entry, body["previous"]
    except (ValueError, KeyError, TypeError):
        return None


def _refuse_if_more(path: Path, rest: bytes, number: int) -> None:
    """A torn line is the last one. An intact line in `rest` was synced after it, also when a damaged newline joins the two."""
    for start in LINE_START.finditer(rest):
        if _parse(rest[start.start() : rest.find(b"\n", start.start()) + 1]) is not None:
            raise _damaged(path, number, "its bytes are not what was written, and intact lines follow it")


def _damaged(path: Path, number: int, why: str) -> StoreDamaged:
    return StoreDamaged(
        f"line {number} of {path.name} is damaged: {why}",
        next_step=f"Put {path.name} back from a backup. Do not edit it: its lines are chained by hash.",
        line=number,
        path=str(path),
    )


def _cut(path: Path, handle: int, size: int, seq: int) -> None:
    """Moves the torn end into a file of its own. A crash in between finds the end still there, and writes the same file again."""
    with path.open("rb") as stream:
        stream.seek(size)
        torn = stream.read()
    write_atomic(path.with_name(f"{path.name}.torn-after-{seq}-{sha256_hex(torn)[:8]}"), torn, mode=0o600)
    os.ftruncate(handle, size)
    os.fdatasync(handle)
