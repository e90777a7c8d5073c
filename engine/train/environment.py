"""The environment of a training process: what must be set before torch is imported.

Each entry was measured to matter on a 2-core machine: tcmalloc takes a fifth off a step, passive waiting keeps OpenMP threads from spinning
against whatever else runs. Nothing here changes results; a machine without tcmalloc trains the same weights, slower.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.config import Device

TCMALLOC = ("libtcmalloc_minimal.so.4", "libtcmalloc_minimal.so", "libtcmalloc.so.4")
LIBRARY_DIRECTORIES = (
    Path(sys.prefix) / "lib",
    Path("/usr/lib/x86_64-linux-gnu"),
    Path("/usr/lib/aarch64-linux-gnu"),
    Path("/usr/lib64"),
    Path("/usr/lib"),
)


def training_environment(device: Device = "cpu", directories: Iterable[Path] = LIBRARY_DIRECTORIES) -> dict[str, str]:
    """Variables to add to a training worker's environment."""
    variables = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if device == "cuda":
        variables["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it cuBLAS may sum in another order each time
        variables["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
        return variables
    library = find_tcmalloc(directories)
    if library is not None:
        variables["LD_PRELOAD"] = str(library)
    return variables


def find_tcmalloc(directories: Iterable[Path] = LIBRARY_DIRECTORIES) -> Path | None:
    """The first tcmalloc library in `directories`."""
    candidates = (directory / name for directory in directories for name in TCMALLOC)
    return next((path for path in candidates if path.is_file()), None)


def enter_environment(variables: Mapping[str, str]) -> None:
    """Replaces this process by itself with `variables` set, unless they are. What is read when a program is loaded cannot be set later; the
    process keeps its id and command line, so whoever watches it sees nothing of this."""
    if any(os.environ.get(name) != value for name, value in variables.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **variables})  # noqa: S606 - no shell wanted
