"""What is sent to an OpenAI-compatible server, or to one that speaks Anthropic messages, and what is made of its replies. Pure.

A reply is hostile: it comes from a model that read somebody's text, through a server that may be broken. Whatever it holds, the result is an
Answer that can be stored, or a Refused / Unusable that says why not.

Structured output is asked for in each dialect's own way: `response_format` with a JSON schema, or one tool that must be called, whose input is
the answer. The second is a request and no grammar, so that what comes back is checked against the schema by whoever uses it (grading does).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from engine.config import WireDialect
from engine.generate.types import Answer, Message, Request

MAX_TEXT_CHARACTERS = 200_000
"""An answer is cut here and counts as truncated. Far above any `max_tokens` in use, and far below what would hurt the store."""
MOST_TOKENS = 2
"""Times `max_tokens`. A reply that says it is longer comes from a broken server, and is no answer of a model; some count a little otherwise."""
MAX_REPLY_BYTES = 8 << 20
"""A longer reply is not read to its end."""
RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Replies that may be better next time. 529 is an overloaded Anthropic endpoint."""
ANSWER_TOOL = "answer"
"""The tool whose input is a structured answer in the Anthropic dialect."""


class Unusable(Exception):
    """A reply that is no answer; asking again may help."""


class Refused(Exception):
    """A reply that will not change however often one asks."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.of_everyone = status in (401, 403, 404)
        """The key, the path or the model is wrong, so that no other request will fare better."""


class Content(NamedTuple):
    """What a reply says, as it came."""

    text: str
    cut: bool
    """At max_tokens."""
    prompt_tokens: int
    completion_tokens: int


def chat_body(request: Request, model: str, *, sampling: bool = True) -> dict[str, Any]:
    """The JSON body of a chat completion."""
    settings = request.settings
    body: dict[str, Any] = {
        "model": model,
        "messages": [message.model_dump() for message in request.messages],
        "max_tokens": settings.max_tokens,
    }
    if sampling:
        body["temperature"] = settings.temperature
    if sampling and settings.temperature > 0:
        body["seed"] = settings.seed
    if settings.json_schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": settings.json_schema, "strict": True}}
    return body


def read_choice(document: Any) -> Content:
    """What a chat completion says. Raises what broken documents raise."""
    choice = document["choices"][0]
    text = choice["message"]["content"] or ""
    if not isinstance(text, str):
        raise TypeError("content is not text")
    usage = document.get("usage") or {}
    cut = choice.get("finish_reason") == "length"
    return Content(text, cut, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))


def messages_body(request: Request, model: str, *, sampling: bool = False) -> dict[str, Any]:
    """The JSON body of an Anthropic message: system texts apart from the turns. There is no seed."""
    settings = request.settings
    system = "\n\n".join(message.content for message in request.messages if message.role == "system")
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": settings.max_tokens,
        "messages": [message.model_dump() for message in request.messages if message.role != "system"],
    }
    if system:
        body["system"] = system
    if sampling:
        body["temperature"] = min(1.0, settings.temperature)
    if settings.json_schema is not None:
        body["tools"] = [{"name": ANSWER_TOOL, "description": "Takes the answer.", "input_schema": settings.json_schema}]
        body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL}
    return body


def read_message(document: Any) -> Content:
    """What an Anthropic message says: the answer tool's input as JSON, or its text. Raises what broken documents raise."""
    blocks = document["content"]
    inputs = [block["input"] for block in blocks if block["type"] == "tool_use" and block["name"] == ANSWER_TOOL]
    if inputs:
        text = json.dumps(inputs[0], ensure_ascii=False, separators=(",", ":"))
    else:
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
    usage = document.get("usage") or {}
    prompt = sum(int(usage.get(part) or 0) for part in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
    return Content(text, document.get("stop_reason") == "max_tokens", prompt, int(usage.get("output_tokens") or 0))


class Dialect(NamedTuple):
    """How one kind of endpoint is asked and understood."""

    path: str
    """Below the base URL."""
    body: Callable[..., dict[str, Any]]
    read: Callable[[Any], Content]
    samples: bool
    """Takes a temperature unless told otherwise. Anthropic's models from Opus 4.7 on refuse one (HTTP 400)."""


DIALECTS: dict[WireDialect, Dialect] = {
    "openai": Dialect("/chat/completions", chat_body, read_choice, True),
    "anthropic": Dialect("/messages", messages_body, read_message, False),
}


def read_reply(
    request: Request, status: int, reply: bytes, *, latency_seconds: float, attempts: int, dialect: WireDialect = "openai"
) -> Answer:
    """The answer in a reply. Raises Unusable or Refused with a short reason."""
    if status != 200:
        reason = f"HTTP {status}: {excerpt(reply)}"
        raise Unusable(reason) if status in RETRIED_STATUS else Refused(reason, status)
    try:
        content = DIALECTS[dialect].read(json.loads(reply))
        clean = clean_text(content.text)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, RecursionError) as reason:
        raise Unusable(f"a reply that is no chat completion ({type(reason).__name__}): {excerpt(reply)}") from reason
    if content.completion_tokens > MOST_TOKENS * request.settings.max_tokens:
        raise Unusable(f"{content.completion_tokens} tokens where {request.settings.max_tokens} were asked for: {excerpt(reply)}")
    return Answer(
        key=request.key,
        text=clean[:MAX_TEXT_CHARACTERS],
        finish_reason="length" if content.cut or len(clean) > MAX_TEXT_CHARACTERS else "stop",
        prompt_tokens=max(0, content.prompt_tokens),
        completion_tokens=max(0, content.completion_tokens),
        latency_seconds=round(latency_seconds, 4),
        attempts=attempts,
    )


def clean_text(text: str) -> str:
    """`text` without NUL and lone surrogates, which neither JSON files nor the store take."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def excerpt(reply: bytes, limit: int = 200) -> str:
    """The beginning of a reply, fit for an error message: one line, printable."""
    text = reply[: limit * 4].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text)[:limit]


def probe_body(token_ids: tuple[int, ...], model: str) -> dict[str, Any]:
    """The JSON body of a completion that returns the log-probability of each token of its prompt."""
    return {"model": model, "prompt": list(token_ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}


def tokens_body(text: str | Sequence[Message], model: str) -> dict[str, Any]:
    """The JSON body that asks for the tokens of a text as an answer has them, or of messages as they stand before an answer."""
    if isinstance(text, str):
        return {"model": model, "prompt": text, "add_special_tokens": False}
    return {"model": model, "messages": [message.model_dump() for message in text], "add_generation_prompt": True}


def read_tokens(reply: bytes) -> tuple[int, ...]:
    """The tokens in the reply; Unusable when they are not there."""
    try:
        return tuple(int(token) for token in json.loads(reply)["tokens"])
    except (ValueError, KeyError, TypeError) as reason:
        raise Unusable(f"a reply without tokens ({type(reason).__name__}): {excerpt(reply)}") from reason


def read_probe(token_ids: tuple[int, ...], reply: bytes) -> list[float]:
    """The log-probabilities in the reply to a probe; Unusable when they are not there."""
    try:
        rows = json.loads(reply)["choices"][0]["prompt_logprobs"]
        return [float(row[str(token)]["logprob"]) for token, row in zip(token_ids[1:], rows[1:], strict=True)]
    except (ValueError, KeyError, IndexError, TypeError) as reason:
        raise Unusable(f"a reply without prompt log-probabilities ({type(reason).__name__}): {excerpt(reply)}") from reason
