"""What is sent to an OpenAI-compatible server and what is made of its replies. Pure.

A reply is hostile: it comes from a model that read somebody's text, through a server that may be broken. Whatever it holds, the result is an
Answer that can be stored, or a Refused / Unusable that says why not.
"""

from __future__ import annotations

import json
from typing import Any

from engine.generate.types import Answer, Request

MAX_TEXT_CHARACTERS = 200_000
"""An answer is cut here and counts as truncated. Far above any `max_tokens` in use, and far below what would hurt the store."""
MAX_REPLY_BYTES = 8 << 20
"""A longer reply is not read to its end."""
RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Replies that may be better next time."""


class Unusable(Exception):
    """A reply that is no answer; asking again may help."""


class Refused(Exception):
    """A reply that will not change however often one asks."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.of_everyone = status in (401, 403, 404)
        """The key, the path or the model is wrong, so that no other request will fare better."""


def chat_body(request: Request, model: str) -> dict[str, Any]:
    """The JSON body of a chat completion."""
    settings = request.settings
    body: dict[str, Any] = {
        "model": model,
        "messages": [message.model_dump() for message in request.messages],
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
    }
    if settings.temperature > 0:
        body["seed"] = settings.seed
    if settings.json_schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": settings.json_schema, "strict": True}}
    return body


def read_reply(request: Request, status: int, reply: bytes, *, latency_seconds: float, attempts: int) -> Answer:
    """The answer in a reply. Raises Unusable or Refused with a short reason."""
    if status != 200:
        reason = f"HTTP {status}: {excerpt(reply)}"
        raise Unusable(reason) if status in RETRIED_STATUS else Refused(reason, status)
    try:
        document = json.loads(reply)
        choice = document["choices"][0]
        text = choice["message"]["content"] or ""
        if not isinstance(text, str):
            raise TypeError("content is not text")
        usage = document.get("usage") or {}
        prompt_tokens, completion_tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        finish = choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, RecursionError) as reason:
        raise Unusable(f"a reply that is no chat completion ({type(reason).__name__}): {excerpt(reply)}") from reason
    clean = clean_text(text)
    return Answer(
        key=request.key,
        text=clean[:MAX_TEXT_CHARACTERS],
        finish_reason="length" if finish == "length" or len(clean) > MAX_TEXT_CHARACTERS else "stop",
        prompt_tokens=max(0, prompt_tokens),
        completion_tokens=max(0, completion_tokens),
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


def read_probe(token_ids: tuple[int, ...], reply: bytes) -> list[float]:
    """The log-probabilities in the reply to a probe; Unusable when they are not there."""
    try:
        rows = json.loads(reply)["choices"][0]["prompt_logprobs"]
        return [float(row[str(token)]["logprob"]) for token, row in zip(token_ids[1:], rows[1:], strict=True)]
    except (ValueError, KeyError, IndexError, TypeError) as reason:
        raise Unusable(f"a reply without prompt log-probabilities ({type(reason).__name__}): {excerpt(reply)}") from reason
