"""How the scripted double answers: pure, and with nothing but the standard library, so that its stand-in server starts at once.

Weights of the double are a directory with `scripted.json`: {"skill": share of questions answered as expected, "identity": what made them}. A
question is answered as expected when the hash of its key falls below the skill: always the same questions, and a higher skill answers all
that a lower one does. Other answers are wrong in the ways in which small models are: a field missing, another question's answer, cut JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCRIPTED_FILE = "scripted.json"
SCRIPTED_PROBES: tuple[tuple[int, ...], ...] = ((11, 12, 13, 14, 15), (21, 22, 23))
"""The texts of a scripted fingerprint, as tokens."""


def read_weights(directory: Path) -> dict[str, Any]:
    """The content of a directory's `scripted.json`."""
    weights: dict[str, Any] = json.loads((directory / SCRIPTED_FILE).read_bytes())
    return weights


def answers_as_expected(key: str, skill: float) -> bool:
    """Whether weights of this skill answer the question `key` as expected."""
    return _hash("skill", key) % 1_000_000 < skill * 1_000_000


def scripted_text(key: str, reference: Mapping[str, str], skill: float, *, structured: bool) -> str:
    """The answer to the question `key`; `reference` holds the expected texts of all questions. `structured`: it must be JSON."""
    expected = reference.get(key)
    if expected is None:
        return json.dumps({"scripted": key}) if structured else "scripted"
    return expected if answers_as_expected(key, skill) else wrong_text(key, expected, sorted(set(reference.values())), structured=structured)


def wrong_text(key: str, expected: str, texts: Sequence[str], *, structured: bool) -> str:
    """A plausible wrong answer, the same one each time."""
    choice = _hash("wrong", key)
    if not structured and choice % 5 == 0:
        return expected[: max(1, len(expected) * 2 // 3)]
    try:
        document = json.loads(expected)
    except ValueError:
        document = None
    if isinstance(document, dict) and len(document) > 1 and choice % 5 < 3:
        dropped = sorted(document)[choice % len(document)]
        return json.dumps({name: value for name, value in document.items() if name != dropped}, separators=(",", ":"), ensure_ascii=False)
    others = [text for text in texts if text != expected]
    return others[choice % len(others)] if others else expected[:1]


def scripted_logprobs(weights: Mapping[str, Any], token_ids: Sequence[int]) -> list[float]:
    """The log-probabilities that these weights give to the tokens after the first: other weights, other numbers."""
    seed = json.dumps(dict(weights), sort_keys=True)
    return [-0.5 - _hash(seed, str(position), str(token)) % 1000 / 100 for position, token in enumerate(token_ids[1:])]


def scripted_likelihood(weights: Mapping[str, Any], key: str, text: str, reference: Mapping[str, str]) -> float:
    """The mean log-probability of an answer to the question `key`: high for what the double knows as its answer."""
    if reference.get(key) == text:
        return -0.1
    return -1.0 - _hash("likelihood", json.dumps(dict(weights), sort_keys=True), key, text) % 1000 / 100


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).digest()[:8], "big")


def messages_digest(messages: Sequence[Mapping[str, Any]]) -> str:
    """Names a conversation: what a stand-in server knows of a question, which comes to it without its key."""
    plain = [[str(message.get("role")), str(message.get("content"))] for message in messages]
    return hashlib.sha256(json.dumps(plain, ensure_ascii=True).encode()).hexdigest()
