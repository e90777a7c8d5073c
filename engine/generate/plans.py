"""Which server a profile wants: vLLM for a managed model, the stand-in for the scripted double."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.base.paths import Workspace
from engine.config import ModelProfile, ScriptedProfile
from engine.generate.host_facts import host_facts, installed_vllm
from engine.generate.servers import ServerPlan
from engine.generate.types import PreparedBase
from engine.generate.vllm_command import Command, Device, served_as, vllm_command

VLLM_HEALTH_SECONDS = 30.0
STAND_IN_HEALTH_SECONDS = 3.0
STAND_IN_START_SECONDS = 30.0
GIB = 1 << 30


def vllm_plan(workspace: Workspace, name: str, profile: ModelProfile, base: PreparedBase, device: Device) -> ServerPlan:
    """The vLLM server of a managed model."""
    host = host_facts()
    distribution, _ = installed_vllm()
    inference = profile.inference

    def command(served_name: str, port: int) -> Command:
        return vllm_command(
            profile,
            model_dir=Path(base.directory),
            served_name=served_name,
            port=port,
            device=device,
            installed_distribution=distribution,
            host=host,
            cache_dir=workspace.state / "vllm-cache",
        )

    return ServerPlan(
        model=name,
        base=base,
        adapters=served_as(profile, device) == "adapter",
        quantised=inference.quantization != "none",
        command=command,
        start_timeout_seconds=inference.start_timeout_seconds,
        health_seconds=VLLM_HEALTH_SECONDS,
        idle_stop_seconds=inference.idle_stop_seconds,
        memory_bytes=int(inference.memory_gib * GIB),
    )


def stand_in_plan(workspace: Workspace, name: str, profile: ScriptedProfile, base: PreparedBase) -> ServerPlan:
    """The stand-in server of the scripted double."""
    host = host_facts()
    directory = workspace.servers / f"{name}-{base.digest[:12]}"

    def command(served_name: str, port: int) -> Command:
        argv = [
            sys.executable, "-m", "engine.generate.stand_in_server",
            "--model", base.directory,
            "--served-model-name", served_name,
            "--port", str(port),
            "--reference", str(directory / "reference.json"),
            "--faults", str(directory / "faults.json"),
            "--delay", f"{profile.delay_seconds:g}",
        ]  # fmt: skip
        return Command(tuple(argv), dict(host.inherited) | {"PYTHONPATH": host.source_root}, ())

    return ServerPlan(
        model=name,
        base=base,
        adapters=False,
        quantised=False,
        command=command,
        start_timeout_seconds=STAND_IN_START_SECONDS,
        health_seconds=STAND_IN_HEALTH_SECONDS,
        idle_stop_seconds=60.0,
        memory_bytes=32 << 20,
    )
