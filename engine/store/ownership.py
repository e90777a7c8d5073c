"""Who owns the store: one process, elected by a lock on a file of its own.

DuckDB's own lock cannot elect the owner. It is a POSIX lock, which the kernel drops when the process closes *any* handle on the database
file; another process could then write, be acknowledged, and lose everything at the first one's next checkpoint. `flock` belongs to the open
file, so only closing that one handle, or the end of the process, gives it up. Neither lock can be trusted on a network file system, so such
a workspace is refused.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

from engine.errors import PathRefused, StoreOwned

NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "beegfs", "glusterfs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "gcsfuse", "davfs")}
)


class OwnerLock:
    """Held for as long as the process owns the store."""

    def __init__(self, path: Path) -> None:
        """Takes the lock, or raises StoreOwned with the pid of the process that has it."""
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
            os.close(self._handle)
            raise StoreOwned(
                f"another process{f' (pid {holder})' if holder else ''} owns the store in {path.parent}",
                next_step="Ask the running daemon instead; `modelsmith fleet-status` finds it.",
                pid=holder,
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._handle)


def refuse_network_filesystem(folder: Path, mounts: str | None = None) -> None:
    """Raises PathRefused when `folder` lies on a network file system. `mounts` is the text of /proc/self/mountinfo."""
    if mounts is None:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    kind = filesystem_of(folder.resolve(), mounts)
    if kind in NETWORK_FILESYSTEMS:
        raise PathRefused(
            f"{folder} is on a {kind} file system, where file locks cannot be trusted to keep two daemons apart",
            next_step="Put the workspace on a local disk.",
            filesystem=kind,
        )


def filesystem_of(folder: Path, mounts: str) -> str:
    """The type of the file system that holds `folder`, by the longest mount point above it; empty when none is listed."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        mount_point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))  # a space is written as \040
        depth = len(mount_point.parts)
        if depth >= best and (mount_point == folder or mount_point in folder.parents):
            best, kind = depth, after.split()[0]
    return kind
