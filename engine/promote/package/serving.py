"""How a package is served elsewhere: a shell script and a compose file, with the arguments that the replay was served with. Pure.

What belongs to this machine stays here: paths, ports, the guard of the development endpoints. The server listens on loopback unless it is told
otherwise, and asks for a key in any case.
"""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from engine.config import Device, HubWeights, ModelProfile, Profile
from engine.generate.vllm_command import engine_arguments
from engine.promote.types import FormName

SCRIPT = "serve.sh"
COMPOSE = "compose.yaml"
SERVER = ("python3", "-m", "vllm.entrypoints.openai.api_server")
"""Works with vLLM's CPU and CUDA builds alike; `vllm serve` fails with the CPU one."""
IMAGES: dict[Device, str] = {"cpu": "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo", "cuda": "vllm/vllm-openai"}
"""Where vLLM's documentation says its images are."""
PORT = 8000
NO_KEY = "${VLLM_API_KEY:?set a key that callers have to send}"
NO_BASE = "${BASE_MODEL:?set the directory of the base model}"
ALIVE = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/health')"


def serving_arguments(profile: ModelProfile, device: Device, form: FormName, name: str, *, root: str, base: str) -> list[str]:
    """What follows the server's module on its command line. `root` is where the package lies, `base` the base model's place for an adapter."""
    adapters = form == "adapter"
    arguments = ["--model", base if adapters else f"{root}/{form}"]
    arguments += ["--lora-modules", f"{name}={root}/adapter"] if adapters else ["--served-model-name", name]
    return arguments + engine_arguments(profile, device, adapters=adapters)


def serving_script(profile: ModelProfile, device: Device, form: FormName, name: str) -> str:
    """serve.sh. Further arguments are handed on to the server."""
    arguments = serving_arguments(profile, device, form, name, root=".", base="BASE")
    words = " ".join('"$BASE_MODEL"' if word == "BASE" else shlex.quote(word) for word in (*SERVER, *arguments))
    lines = [
        "#!/bin/sh",
        f"# Serves {name} on loopback, port {PORT} unless PORT says otherwise. Needs vLLM; callers send the key.",
        "set -eu",
        'cd "$(dirname "$0")"',
        f': "{NO_KEY}"',
    ]
    if form == "adapter":
        repository = base_repository(profile)
        lines.append(f'BASE_MODEL="${{BASE_MODEL:-{repository}}}"' if repository else f': "{NO_BASE}"')
    lines += [f"export {variable}={shlex.quote(value)}" for variable, value in _environment(profile, device).items()]
    lines.append(f'exec {words} --host "${{HOST:-127.0.0.1}}" --port "${{PORT:-{PORT}}}" "$@"')
    return "\n".join(lines) + "\n"


def compose_file(profile: ModelProfile, device: Device, form: FormName, name: str, vllm_version: str) -> str:
    """compose.yaml. The image is of the version of vLLM that the replay was served with; VLLM_IMAGE names another."""
    service: dict[str, Any] = {
        "image": f"${{VLLM_IMAGE:-{IMAGES[device]}:v{vllm_version}}}",
        "entrypoint": list(SERVER),
        "command": [*serving_arguments(profile, device, form, name, root="/package", base="/base"), "--host", "0.0.0.0", "--port", str(PORT)],  # noqa: S104 - inside the container
        "environment": {"VLLM_API_KEY": NO_KEY, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **_environment(profile, device)},
        "volumes": [f"./{form}:/package/{form}:ro", *([f"{NO_BASE}:/base:ro"] if form == "adapter" else [])],
        "ports": [f"127.0.0.1:${{PORT:-{PORT}}}:{PORT}"],
        "shm_size": "4gb",
        "healthcheck": {"test": ["CMD", "python3", "-c", ALIVE], "interval": "10s", "start_period": f"{profile.inference.start_timeout_seconds:g}s"},
        "restart": "unless-stopped",
    }
    if device == "cuda":
        gpus = {"driver": "nvidia", "count": profile.inference.tensor_parallel, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [gpus]}}}
    return yaml.safe_dump({"services": {name: service}}, sort_keys=False, width=1000)


def _environment(profile: ModelProfile, device: Device) -> dict[str, str]:
    return {"VLLM_CPU_KVCACHE_SPACE": str(profile.inference.cpu_kv_cache_gib)} if device == "cpu" else {}


def base_repository(profile: Profile) -> str:
    """The base on the Hugging Face hub; empty where it came from elsewhere."""
    return profile.weights.repo if isinstance(profile, ModelProfile) and isinstance(profile.weights, HubWeights) else ""
