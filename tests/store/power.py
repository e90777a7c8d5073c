"""Power cuts, simulated: what was done to files is recorded, and every disk that a cut could leave is rebuilt from the record.

Of each file, everything up to its last sync is on the disk. Of what came after, nothing may be there, or all, or any part, or a torn part, or
zeros where data should be. Creating and removing names is taken as ordered, as ext4 and xfs do it. The unsynced modes are harsher than most
disks. Real power was not cut.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

Mode = Literal["none", "all", "subset", "torn", "zeros"]
MODES: tuple[Mode, ...] = ("none", "all", "subset", "torn", "zeros")


class Op(NamedTuple):
    """One thing done to a file, or an acknowledgement given."""

    kind: Literal["create", "write", "truncate", "sync", "unlink", "acknowledge"]
    path: str = ""
    offset: int | None = None
    """Where a write goes (None appends; `placed` says where that is), the new length, or the number acknowledged."""
    data: bytes = b""


def placed(ops: list[Op]) -> list[Op]:
    """Appends with the offset at which they were made: a lost write before one leaves a hole, and does not move it."""
    lengths: dict[str, int] = {}
    result: list[Op] = []
    for op in ops:
        if op.kind == "unlink":
            lengths.pop(op.path, None)
        elif op.kind == "truncate":
            lengths[op.path] = op.offset or 0
        elif op.kind == "write":
            op = op._replace(offset=lengths.get(op.path, 0) if op.offset is None else op.offset)
            lengths[op.path] = max(lengths.get(op.path, 0), (op.offset or 0) + len(op.data))
        result.append(op)
    return result


def disk_after(ops: list[Op], mode: Mode, generator: random.Random) -> dict[str, bytes]:
    """The files after a power cut that follows `ops`."""
    files: dict[str, bytearray] = {}
    unsynced: dict[str, list[Op]] = {}
    for op in ops:
        if op.kind == "create":
            files.setdefault(op.path, bytearray())
            unsynced.setdefault(op.path, [])
        elif op.kind in ("write", "truncate") and op.path in files:
            unsynced[op.path].append(op)
        elif op.kind == "sync" and op.path in files:
            for each in unsynced[op.path]:
                _apply(files[op.path], each)
            unsynced[op.path] = []
        elif op.kind == "unlink":
            files.pop(op.path, None)
            unsynced.pop(op.path, None)
    for path, pending in unsynced.items():
        for number, op in enumerate(pending):
            survivor = _survivor(op, mode, number == len(pending) - 1, generator)
            if survivor is not None:
                _apply(files[path], survivor)
    return {path: bytes(content) for path, content in files.items()}


def _survivor(op: Op, mode: Mode, last: bool, generator: random.Random) -> Op | None:
    match mode:
        case "none":
            return None
        case "subset":
            return op if generator.random() < 0.5 else None
        case "torn" if last and op.kind == "write":
            return op._replace(data=op.data[: generator.randrange(len(op.data) + 1)])
        case "zeros" if op.kind == "write" and generator.random() < 0.5:
            return op._replace(data=bytes(len(op.data)))
    return op


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "truncate":
        length = op.offset or 0
        del content[length:]
        content.extend(bytes(length - len(content)))
        return
    assert op.offset is not None
    offset = op.offset
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(op.data)] = op.data


class FileRecorder:
    """Records what this process does to one file through `os.write`, `os.ftruncate` and `os.fdatasync`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ops = [Op("create", str(path))]

    def patch(self, setattr_: Callable[[Any, str, Any], None]) -> None:
        """Puts the recorder in place; `setattr_` is that of a monkeypatch."""
        for name, note in {"write": self._write, "ftruncate": self._truncate, "fdatasync": self._sync}.items():
            setattr_(os, name, self._recorded(getattr(os, name), note))

    def _recorded(self, real: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        def call(handle: int, *rest: Any) -> Any:
            result = real(handle, *rest)
            if os.readlink(f"/proc/self/fd/{handle}") == str(self.path):
                note(result, *rest)
            return result

        return call

    def _write(self, written: int, data: bytes) -> None:
        self.ops.append(Op("write", str(self.path), None, data[:written]))

    def _truncate(self, _: None, length: int) -> None:
        self.ops.append(Op("truncate", str(self.path), length))

    def _sync(self, _: None) -> None:
        self.ops.append(Op("sync", str(self.path)))


CALLS = "trace=openat,write,pwrite64,fsync,fdatasync,ftruncate,unlink"
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def traced(code: str, folder: Path, log: Path, working_directory: Path) -> list[Op]:
    """Runs Python `code` on `folder` under strace and returns what it did to files there. It acknowledges by `ACK <n>` on stderr."""
    command = ["strace", "-f", "-y", "-xx", "-s", "4000000", "-e", CALLS, "-o", str(log), sys.executable, "-c", code, str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=working_directory)
    ops = (_parsed(line, str(folder)) for line in log.read_text(errors="replace").splitlines())
    return placed([op for op in ops if op is not None])


def _parsed(line: str, folder: str) -> Op | None:
    match = re.match(r"(?:\d+ +)?(\w+)\((.*)\)\s+= (-?\d+)", line)
    if match is None or int(match[3]) < 0:
        return None
    call, arguments = match[1], match[2]
    path = _path(line.rpartition(" = ")[2] if call == "openat" else arguments.partition(",")[0])
    data = _bytes(STRING.search(arguments))
    if call == "write" and arguments.startswith("2<") and data.startswith(b"ACK "):
        return Op("acknowledge", offset=int(data.split()[1]))
    if call == "unlink":
        return Op("unlink", data.decode()) if data.decode().startswith(folder) else None
    if not path.startswith(folder):
        return None
    match call:
        case "write":
            return Op("write", path, None, data)
        case "pwrite64":
            return Op("write", path, int(arguments.rpartition(",")[2]), data)
        case "fsync" | "fdatasync":
            return Op("sync", path)
        case "ftruncate":
            return Op("truncate", path, int(arguments.rpartition(",")[2]))
        case "openat" if "O_CREAT" in arguments:
            return Op("create", path)
    return None


def _path(text: str) -> str:
    match = re.search(r"<([^>]*)>", text)
    if match is None:
        return ""
    return bytes.fromhex(match[1].replace("\\x", "")).decode() if match[1].startswith("\\x") else match[1]


def _bytes(match: re.Match[str] | None) -> bytes:
    return b"" if match is None else bytes.fromhex(match[1].replace("\\x", ""))
