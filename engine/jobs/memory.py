"""Whether the kernel has ended processes for want of memory, as far as it tells.

It counts such kills for the machine (/proc/vmstat) and for each control group, and a process may read the counts of its own. A count that rose
while a worker ran is evidence that the kernel took it, since workers offer themselves first (`OOM_SCORE` in `worker.py`); it is no proof, so what
follows from it must be harmless where it is wrong. Where no count can be read there is no evidence.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Processes that the kernel has ended for want of memory, here and in this process's control group. Only its growth means something."""
    return sum(_count(path) for path in (proc / "vmstat", *_group_files(proc, cgroups)))


def _group_files(proc: Path, cgroups: Path) -> list[Path]:
    """Where this process's control groups count: one file in version 2, another in version 1 of the interface."""
    try:
        lines = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    groups = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    unified = [cgroups / group.lstrip("/") / "memory.events" for _, controllers, group in groups if not controllers]
    named = [cgroups / "memory" / group.lstrip("/") / "memory.oom_control" for _, controllers, group in groups if controllers == "memory"]
    return [*unified, *named]


def _count(path: Path) -> int:
    """The count in a file of `name number` lines; 0 where there is none."""
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0
