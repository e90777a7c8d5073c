"""Which generator a profile means. The one place where the kinds of profiles part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.base.digests import canonical_json, digest_of
from engine.base.files import read_json, write_atomic
from engine.base.paths import Workspace
from engine.config import Device, EndpointProfile, ModelProfile, Profile, ScriptedProfile
from engine.errors import NotFound
from engine.generate.endpoint import EndpointGenerator
from engine.generate.host_facts import installed_vllm
from engine.generate.managed import ManagedGenerator
from engine.generate.plans import ServerPlan, server_plan, stand_in_plan, vllm_plan
from engine.generate.scripted import ScriptedGenerator, scripted_base, scripted_identity
from engine.generate.scripted_rule import messages_digest
from engine.generate.server_record import locked
from engine.generate.servers import ModelServers
from engine.generate.types import Answer, FingerprintReport, Generator, GeneratorIdentity, PreparedBase, Request, Weights
from engine.generate.vllm_command import served_as

__all__ = ["ServingPlan", "open_generator", "served_as", "serving_plan"]

STAND_IN_TIMEOUT_SECONDS = 10.0
STAND_IN_CONCURRENCY = 8


def open_generator(
    profile_name: str,
    profile: Profile,
    *,
    workspace: Workspace,
    base: PreparedBase | None,
    weights: Weights | None,
    device: Device,
    reference: Mapping[str, str] | None = None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Generator:
    """The generator that answers as `weights` (the base when None) of this profile.

    Opening is cheap: a server is started at the first question or proof. `check_cancelled` is called several times a second while anything is
    waited for, and may raise to abandon it. `reference` (request key -> expected text) is for the scripted double only.
    """
    if isinstance(profile, EndpointProfile):
        return EndpointGenerator(profile_name, profile, check_cancelled=check_cancelled)
    if isinstance(profile, ScriptedProfile):
        return _open_scripted(profile_name, profile, workspace, base, weights, reference or {}, check_cancelled)
    if base is None:
        raise NotFound(f"the base of model {profile_name} is not prepared", next_step="Measuring a cluster that uses this model prepares it.")
    chosen = weights or Weights(digest=base.digest, fingerprint=base.fingerprint)
    distribution, version = installed_vllm()
    return ManagedGenerator(
        GeneratorIdentity(
            engine=f"{distribution} {version}",
            base=base.digest,
            weights=chosen.digest,
            chat_template=base.chat_template,
            served_as="base" if chosen.digest == base.digest else served_as(profile, device),
            dtype=_dtype(profile),
        ),
        ModelServers(workspace),
        vllm_plan(workspace, profile_name, profile, base, device),
        chosen,
        concurrency=profile.inference.concurrency,
        request_timeout_seconds=profile.inference.request_timeout_seconds,
        check_cancelled=check_cancelled,
    )


def _dtype(profile: ModelProfile) -> str:
    inference = profile.inference
    return inference.dtype if inference.quantization == "none" else f"{inference.dtype} {inference.quantization}"


def _open_scripted(
    name: str,
    profile: ScriptedProfile,
    workspace: Workspace,
    base: PreparedBase | None,
    weights: Weights | None,
    reference: Mapping[str, str],
    check_cancelled: Callable[[], None],
) -> Generator:
    base = base or scripted_base(workspace, name, profile)
    chosen = weights or Weights(digest=base.digest, fingerprint=base.fingerprint)
    if not profile.server:
        return ScriptedGenerator(profile, base, chosen, reference=reference, check_cancelled=check_cancelled)
    merged = _merged_double(chosen)
    plan = stand_in_plan(workspace, name, profile, base)
    generator = ManagedGenerator(
        scripted_identity(base, chosen),
        ModelServers(workspace),
        plan,
        merged,
        concurrency=STAND_IN_CONCURRENCY,
        request_timeout_seconds=STAND_IN_TIMEOUT_SECONDS,
        check_cancelled=check_cancelled,
    )
    return StandInGenerator(generator, workspace.servers / plan.key / "reference.json", reference)


def _merged_double(weights: Weights) -> Weights:
    """The double's adapter directory is also its merged checkpoint."""
    if weights.merged_dir is not None or weights.adapter_dir is None:
        return weights
    return weights.model_copy(update={"merged_dir": weights.adapter_dir, "merged_digest": weights.digest})


class ServingPlan(NamedTuple):
    """What a version that serves is answered from."""

    server: ServerPlan
    weights: Weights
    timeout_seconds: float
    """Of one request."""


def serving_plan(workspace: Workspace, name: str, profile: Profile, base: PreparedBase, weights: Weights, device: Device) -> ServingPlan | None:
    """A server apart from the one that measurements change: of its own for each version's merged weights, one for all adapters. None where a
    profile has no server."""
    plan = server_plan(workspace, name, profile, base, device)
    if plan is None:
        return None
    slot = "serve" if plan.adapters else f"serve-{weights.digest[:12]}"
    timeout = profile.inference.request_timeout_seconds if isinstance(profile, ModelProfile) else STAND_IN_TIMEOUT_SECONDS
    return ServingPlan(plan._replace(slot=slot), weights if isinstance(profile, ModelProfile) else _merged_double(weights), timeout)


class StandInGenerator:
    """The scripted double behind its server: tells the server what the questions of a batch are before they are asked."""

    def __init__(self, inner: ManagedGenerator, reference_file: Path, reference: Mapping[str, str]) -> None:
        self._inner = inner
        self._reference_file = reference_file
        self._reference = dict(reference)

    @property
    def identity(self) -> GeneratorIdentity:
        return self._inner.identity

    def prove(self) -> FingerprintReport:
        """As the managed generator does."""
        return self._inner.prove()

    def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
        """Answers every request."""
        name = digest_of(self._reference)
        keys = {messages_digest([message.model_dump() for message in request.messages]): [request.key, name] for request in requests}
        self._reference_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._reference_file.with_suffix(".lock"), exclusive=True):
            known = read_json(self._reference_file) if self._reference_file.exists() else {"keys": {}, "texts": {}}
            merged = {"keys": known["keys"] | keys, "texts": known["texts"] | {name: self._reference}}
            write_atomic(self._reference_file, canonical_json(merged))
        self._inner.answer(requests, on_answer)

    def likelihoods(self, request: Request, answers: Sequence[str]) -> list[float] | None:
        """As the managed generator does."""
        return self._inner.likelihoods(request, answers)

    def close(self) -> None:
        """Lets go of the server."""
        self._inner.close()
