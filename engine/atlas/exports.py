"""A configuration as the files that start it. Pure.

Every one follows from one model profile, the same that clusters.json takes, and its vLLM arguments from that profile
(`engine/generate/vllm_command.py`), so that what is planned here is what Modelsmith itself would start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import yaml

from engine.config import HubWeights, Inference, ModelProfile
from engine.generate.vllm_command import engine_arguments

PORT = 8000
IMAGE = "vllm/vllm-openai"
TGI_QUANTISE = {"fp8": "fp8", "awq": "awq"}
LENGTH_STEP = 64
LEAST_LENGTH = 128
VLLM_QUANTISATION = {"bf16": "none", "fp8": "fp8", "int4": "awq", "mxfp4": "none"}
"""What vLLM is told; `int4` needs a checkpoint that is quantised already."""
READY_MADE = frozenset({"int4"})


class Chosen(NamedTuple):
    """What is exported."""

    model: str
    title: str
    licence: str
    parameters_billion: float
    repository: str
    """What is served: the model's own repository, or one with its quantised checkpoint."""
    revision: str | None
    """A commit or tag; None: whatever is newest there."""
    accelerator: str
    cards: int
    quantisation: str
    as_published: bool
    """The repository's weights are held so already, and vLLM is told nothing."""
    context_tokens: int
    longest_tokens: int
    """The model's own context."""
    concurrency: int
    utilisation: float
    vllm_version: str
    """Installed here; empty where it is not."""
    figures: dict[str, Any]
    """Estimates with their intervals."""
    report: str
    """In words."""


def profile(chosen: Chosen) -> ModelProfile:
    """The profile of clusters.json; its weights are pinned to the revision."""
    length = max(LEAST_LENGTH, min(-(-chosen.context_tokens // LENGTH_STEP) * LENGTH_STEP, chosen.longest_tokens))
    return ModelProfile(
        title=chosen.title,
        license=chosen.licence,
        parameters_billion=chosen.parameters_billion,
        weights=HubWeights(repo=chosen.repository, revision=chosen.revision or ""),
        inference=Inference(
            max_model_len=length,
            max_num_seqs=chosen.concurrency,
            quantization="none" if chosen.as_published else VLLM_QUANTISATION[chosen.quantisation],  # type: ignore[arg-type]
            tensor_parallel=chosen.cards,
            gpu_memory_utilization=chosen.utilisation,
            concurrency=chosen.concurrency,
        ),
    )


def arguments(chosen: Chosen) -> list[str]:
    """vLLM's, after the model's name."""
    revision = ["--revision", chosen.revision] if chosen.revision else []
    return [*revision, *engine_arguments(profile(chosen), "cuda", adapters=False)]


def vllm_yaml(chosen: Chosen) -> str:
    """For `vllm serve --config FILE`."""
    words = arguments(chosen)
    settings: dict[str, Any] = {"model": chosen.repository}
    at = 0
    while at < len(words):
        value = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("--") else True
        settings[words[at].removeprefix("--")] = value
        at += 1 if value is True else 2
    return _yaml(settings | {"host": "127.0.0.1", "port": PORT})


def tgi_yaml(chosen: Chosen) -> str:
    """The launcher's options of text-generation-inference, each as `--option value`."""
    inference = profile(chosen).inference
    settings = {
        "model-id": chosen.repository,
        **({"revision": chosen.revision} if chosen.revision else {}),
        "hostname": "127.0.0.1",
        "num-shard": chosen.cards,
        "max-total-tokens": inference.max_model_len,
        "max-concurrent-requests": chosen.concurrency,
        "cuda-memory-fraction": chosen.utilisation,
        **({"quantize": TGI_QUANTISE[inference.quantization]} if inference.quantization != "none" else {"dtype": "bfloat16"}),
    }
    return _yaml(settings)


def compose_yaml(chosen: Chosen) -> str:
    """compose.yaml of one server on loopback that asks for a key."""
    gpus = {"driver": "nvidia", "count": chosen.cards, "capabilities": ["gpu"]}
    service = {
        "image": f"${{VLLM_IMAGE:-{image(chosen)}}}",
        "command": ["--model", chosen.repository, *arguments(chosen)],
        "environment": {"VLLM_API_KEY": "${VLLM_API_KEY:?set a key that callers have to send}", "HF_TOKEN": "${HF_TOKEN:-}", "HF_HOME": "/models"},
        "volumes": ["models:/models"],
        "ports": [f"127.0.0.1:${{PORT:-{PORT}}}:8000"],
        "ipc": "host",
        "deploy": {"resources": {"reservations": {"devices": [gpus]}}},
        "restart": "unless-stopped",
    }
    return _yaml({"services": {"model": service}, "volumes": {"models": {}}})


def kubernetes_yaml(chosen: Chosen) -> str:
    """A deployment and a service inside the cluster; the key is a secret that is there."""
    labels = {"app": name(chosen)}
    key = {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": f"{name(chosen)}-key", "key": "key"}}}
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": f"{name(chosen)}-key", "key": "hf-token", "optional": True}}}
    container = {
        "name": "vllm",
        "image": image(chosen),
        "args": ["--model", chosen.repository, *arguments(chosen)],
        "env": [key, token, {"name": "HF_HOME", "value": "/models"}],
        "ports": [{"containerPort": 8000}],
        "resources": {"limits": {"nvidia.com/gpu": chosen.cards}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 10, "failureThreshold": 180},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "models", "mountPath": "/models"}],  # noqa: S108 - the container's own
    }
    volumes = [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "models", "emptyDir": {}}]
    pod = {"containers": [container], "volumes": volumes}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name(chosen), "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name(chosen)},
        "spec": {"selector": labels, "ports": [{"port": PORT, "targetPort": 8000}]},
    }
    return "---\n".join(_yaml(each) for each in (deployment, service))


def plan_json(chosen: Chosen) -> str:
    """Model, hardware, serving and performance, for programs."""
    inference = profile(chosen).inference
    document = {
        "model": {"id": chosen.model, "repository": chosen.repository, "revision": chosen.revision, "licence": chosen.licence,
                  "parameters_billion": chosen.parameters_billion, "quantisation": chosen.quantisation},
        "hardware": {"accelerator": chosen.accelerator, "cards": chosen.cards, "memory_utilisation": chosen.utilisation},
        "serving": {"engine": "vllm", "version": chosen.vllm_version, "arguments": arguments(chosen), "max_model_len": inference.max_model_len,
                    "concurrency": chosen.concurrency},
        "performance": chosen.figures,
    }  # fmt: skip
    return json.dumps(document, indent=2) + "\n"


def profile_json(chosen: Chosen) -> str:
    """The entry that `onboard_model` takes as it is."""
    return json.dumps(profile(chosen).model_dump(mode="json"), indent=2) + "\n"


def image(chosen: Chosen) -> str:
    """vLLM's CUDA image, of the version that is installed here and whose parser takes the arguments."""
    return f"{IMAGE}:v{chosen.vllm_version}" if chosen.vllm_version else f"{IMAGE}:latest"


def name(chosen: Chosen) -> str:
    """A name that Kubernetes takes."""
    plain = re.sub(r"[^a-z0-9]+", "-", chosen.model.split("/")[-1].lower())
    return f"model-{plain[:40].strip('-')}".strip("-")


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=1000)


FORMATS: dict[str, tuple[str, Callable[[Chosen], str]]] = {
    "vllm": ("vllm.yaml", vllm_yaml),
    "tgi": ("tgi.yaml", tgi_yaml),
    "compose": ("compose.yaml", compose_yaml),
    "kubernetes": ("kubernetes.yaml", kubernetes_yaml),
    "json": ("plan.json", plan_json),
    "profile": ("profile.json", profile_json),
    "report": ("plan.md", lambda chosen: chosen.report),
}
"""By format: the file's name, and what makes its content."""
