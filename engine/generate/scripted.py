"""The scripted double: a generator for fast tests of everything around a model.

Its rule is in `scripted_rule.py`. Here it answers in process; with `server = true` in its profile the same rule answers through a managed
stand-in server (`stand_in_server.py`), so that the whole life of a server is tested without vLLM.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.base.digests import sha256_hex, tree_sha256
from engine.base.files import write_atomic, write_json
from engine.base.paths import Workspace
from engine.config import ScriptedProfile
from engine.generate.fingerprint import compare, load_fingerprint
from engine.generate.scripted_rule import SCRIPTED_FILE, SCRIPTED_PROBES, read_weights, scripted_likelihood, scripted_logprobs, scripted_text
from engine.generate.server_record import locked
from engine.generate.servers import expected_fingerprint, mismatch_error
from engine.generate.types import Answer, Fingerprint, FingerprintProbe, FingerprintReport, GeneratorIdentity, PreparedBase, Request, Weights

ENGINE = "scripted 1"


def write_scripted_weights(directory: Path, *, skill: float, identity: str) -> None:
    """Makes `directory` hold weights of the double. Equal arguments give equal bytes. `identity` names what made them: plan, data, seed."""
    directory.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"identity": identity, "skill": skill}, sort_keys=True).encode()
    write_atomic(directory / SCRIPTED_FILE, content)
    write_atomic(directory / "adapter_model.safetensors", _weights_file(identity))


def scripted_fingerprint(directory: Path, digest: str) -> Fingerprint:
    """The fingerprint of weights of the double."""
    weights = read_weights(directory)
    return Fingerprint(
        weights=digest,
        probes=tuple(FingerprintProbe(token_ids=ids, logprobs=tuple(scripted_logprobs(weights, ids))) for ids in SCRIPTED_PROBES),
    )


def scripted_base(workspace: Workspace, name: str, profile: ScriptedProfile) -> PreparedBase:
    """The double's base: a few bytes, written where they are missing, so that nothing needs to be prepared."""
    directory = workspace.models / f"{name}-scripted-{profile.base_skill:g}"
    weights, fingerprint = directory / "weights", directory / "fingerprint.json"
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock", exclusive=True):
        if not fingerprint.exists():
            write_scripted_weights(weights, skill=profile.base_skill, identity=f"base of {name}")
            write_json(fingerprint, scripted_fingerprint(weights, tree_sha256(weights)).model_dump())
    return PreparedBase(directory=str(weights), digest=load_fingerprint(str(fingerprint)).weights, chat_template="", fingerprint=str(fingerprint))


def scripted_identity(base: PreparedBase, weights: Weights) -> GeneratorIdentity:
    """What makes the double's answers."""
    served = "base" if weights.digest == base.digest else "merged"
    return GeneratorIdentity.model_validate(
        {"engine": ENGINE, "base": base.digest, "weights": weights.digest, "chat_template": "", "served_as": served}
    )


def weights_directory(base: PreparedBase, weights: Weights) -> Path:
    """Where the weights that should answer lie."""
    return Path(weights.merged_dir or weights.adapter_dir or base.directory)


class ScriptedGenerator:
    """The double, in process."""

    def __init__(
        self,
        profile: ScriptedProfile,
        base: PreparedBase,
        weights: Weights,
        *,
        reference: Mapping[str, str],
        check_cancelled: Callable[[], None],
    ) -> None:
        self._profile = profile
        self._base = base
        self._weights = weights
        self._reference = dict(reference)
        self._check_cancelled = check_cancelled

    @property
    def identity(self) -> GeneratorIdentity:
        return scripted_identity(self._base, self._weights)

    def prove(self) -> FingerprintReport:
        """Compares the weights' fingerprint with what they give now."""
        expected = expected_fingerprint(self._base, self._weights)
        if expected is None:
            return FingerprintReport(verdict="unproved")
        weights = read_weights(weights_directory(self._base, self._weights))
        report = compare(expected, [scripted_logprobs(weights, probe.token_ids) for probe in expected.probes])
        if report.verdict == "mismatch":
            raise mismatch_error("scripted", self._weights, report)
        return report

    def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
        """Answers one after another, taking the profile's delay for each."""
        skill = float(read_weights(weights_directory(self._base, self._weights))["skill"])
        for request in requests:
            self._check_cancelled()
            time.sleep(self._profile.delay_seconds)
            text = scripted_text(request.key, self._reference, skill, structured=request.settings.json_schema is not None)
            on_answer(Answer(key=request.key, text=text, completion_tokens=len(text) // 4 + 1, latency_seconds=self._profile.delay_seconds))

    def likelihoods(self, request: Request, answers: Sequence[str]) -> list[float] | None:
        """What it was taught is likely; of other answers each is as likely as chance has it."""
        weights = read_weights(weights_directory(self._base, self._weights))
        return [scripted_likelihood(weights, request.key, answer, self._reference) for answer in answers]

    def close(self) -> None:
        """Nothing is held."""


def _weights_file(identity: str) -> bytes:
    """A safetensors file of the shape that the pretended training writes (`engine/train/scripted.py`): one tensor of 32 bytes."""
    header = json.dumps({"chain": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}, separators=(",", ":")).encode()
    return len(header).to_bytes(8, "little") + header + bytes.fromhex(sha256_hex(identity.encode()))
