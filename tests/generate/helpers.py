"""What the tests of generation share: questions, a scripted server, collected answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from engine.base.digests import tree_sha256
from engine.base.files import write_json
from engine.base.paths import Workspace
from engine.config import ScriptedProfile
from engine.generate.open import open_generator
from engine.generate.plans import ServerPlan, server_plan
from engine.generate.scripted import scripted_base, scripted_fingerprint, write_scripted_weights
from engine.generate.types import Answer, GenerationSettings, Generator, Message, Request, Weights

PROFILE = ScriptedProfile(server=True, base_skill=0.3)


def questions(count: int, *, prefix: str = "q") -> list[Request]:
    settings = GenerationSettings(max_tokens=32)
    return [
        Request(key=f"{prefix}{index}", messages=(Message(role="user", content=f"question {prefix}{index}"),), settings=settings)
        for index in range(count)
    ]


def references(requests: list[Request]) -> dict[str, str]:
    return {request.key: json.dumps({"intent": request.key, "slot": "x"}) for request in requests}


def trained(workspace: Workspace, name: str, skill: float) -> Weights:
    """Weights of the double, as a training run leaves them."""
    directory = workspace.root / "versions" / name
    write_scripted_weights(directory, skill=skill, identity=name)
    digest = tree_sha256(directory)
    fingerprint = workspace.root / "versions" / f"{name}.json"
    write_json(fingerprint, scripted_fingerprint(directory, digest).model_dump())
    return Weights(digest=digest, adapter_dir=str(directory), fingerprint=str(fingerprint))


def scripted(workspace: Workspace, requests: list[Request], weights: Weights | None = None, profile: ScriptedProfile = PROFILE) -> Generator:
    return open_generator("double", profile, workspace=workspace, base=None, weights=weights, device="cpu", reference=references(requests))


def plan_of(workspace: Workspace, profile: ScriptedProfile = PROFILE) -> ServerPlan:
    plan = server_plan(workspace, "double", profile, scripted_base(workspace, "double", profile), "cpu")
    assert plan is not None
    return plan


def server_directory(workspace: Workspace, profile: ScriptedProfile = PROFILE) -> Path:
    return workspace.servers / plan_of(workspace, profile).key


def script_faults(workspace: Workspace, *faults: dict[str, object], profile: ScriptedProfile = PROFILE) -> None:
    directory = server_directory(workspace, profile)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "faults.json").write_text(json.dumps(faults))


def pid_of(workspace: Workspace) -> int:
    return int(json.loads((server_directory(workspace) / "server.json").read_text())["pid"])


class Collected:
    """Answers as they come, and how often each came."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.times: Counter[str] = Counter()

    def __call__(self, answer: Answer) -> None:
        self.answers[answer.key] = answer
        self.times[answer.key] += 1

    def complete(self, requests: list[Request]) -> bool:
        """Every question answered, none twice."""
        return self.times == Counter(request.key for request in requests)

    @property
    def errors(self) -> list[str]:
        return [answer.error for answer in self.answers.values() if answer.error is not None]
