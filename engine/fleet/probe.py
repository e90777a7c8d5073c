"""What this machine has: cores, memory, disk, GPUs. Looks, decides nothing, loads no GPU library.

GPUs are what `nvidia-smi` reports within its time limit; a driver that hangs or answers nonsense means none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from engine.base.record import Record
from engine.config import Device

NVIDIA_SMI_SECONDS = 5.0


class Gpu(Record):
    """One GPU."""

    name: str
    memory_bytes: int


class HostProbe(Record):
    """A machine as it is now."""

    cores: int
    """Cores that this process may use."""
    memory_bytes: int
    memory_available_bytes: int
    """What new processes can take without swapping, by the kernel's estimate."""
    disk_free_bytes: int
    """On the file system of the probed folder."""
    load: float
    """Runnable processes, averaged over the last minute."""
    gpus: tuple[Gpu, ...] = ()


def probe_local(folder: Path = Path()) -> HostProbe:
    """This machine; the disk is the one that holds `folder`."""
    memory = parse_meminfo(Path("/proc/meminfo").read_text(encoding="ascii"))
    return HostProbe(
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=memory["MemTotal"],
        memory_available_bytes=memory["MemAvailable"],
        disk_free_bytes=shutil.disk_usage(folder).free,
        load=os.getloadavg()[0],
        gpus=_gpus(),
    )


def device(probe: HostProbe) -> Device:
    """Where models run on such a machine."""
    return "cuda" if probe.gpus else "cpu"


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes by name."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number, *unit = rest.split()
        values[name] = int(number) * (1024 if unit == ["kB"] else 1)
    return values


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """`nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits`: a name and MiB a line; other lines are left out.

    A GPU with unified memory reports no size of its own (`[N/A]`) and counts with 0.
    """
    gpus: list[Gpu] = []
    for line in text.splitlines():
        name, comma, memory = line.rpartition(",")
        if comma and name.strip():
            gpus.append(Gpu(name=name.strip(), memory_bytes=int(memory) * 2**20 if memory.strip().isdecimal() else 0))
    return tuple(gpus)


def _gpus() -> tuple[Gpu, ...]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_nvidia_smi(answer.stdout)
