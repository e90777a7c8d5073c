"""What a test leaves running: nothing may belong to its folder when it is over."""

from __future__ import annotations

import os
from pathlib import Path

from tests.server.daemons import until


def processes_of(root: Path) -> list[str]:
    """Command lines of the processes that belong to a folder."""
    wanted, found = str(root).encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if wanted in line:
                found.append(line.replace(b"\0", b" ").decode())
    return found


def nothing_left(root: Path) -> None:
    """A worker whose result was taken in ends by itself, soon after; whatever stays was left behind."""
    until(lambda: not processes_of(root))
