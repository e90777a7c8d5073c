"""Rows as tokens: what is shared, what is refused, where the completion begins. With a tokenizer of one character a token."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import DomainInvalid, TooLarge
from engine.generate.types import Message
from engine.train.rows import CuratedRow, TokenRow, shared_prefix, tokenise


class Characters:
    """One token for each character; the only special token is `<end>`."""

    unk_token_id = 0

    def convert_tokens_to_ids(self, token: str) -> int:
        return 1 if token == "<end>" else 0

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> str:
        return "".join(f"{message['role']}:{message['content']}\n" for message in messages) + "assistant:"

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(character) for character in text] for text in texts]}


def row(name: str, user: str, completion: str = "ok", system: str = "Answer in a word, please.") -> CuratedRow:
    return CuratedRow(id=name, messages=(Message(role="system", content=system), Message(role="user", content=user)), completion=completion)


def test_a_row_is_its_prompt_then_its_completion_then_the_stop_token() -> None:
    (tokens,) = tokenise([row("a", "hello", "yes")], Characters(), stop_token="<end>", max_length=200)
    assert tokens.input_ids[tokens.prompt_tokens :] == [*map(ord, "yes"), 1]
    assert "".join(map(chr, tokens.input_ids[: tokens.prompt_tokens])).endswith("user:hello\nassistant:")


def test_rows_over_the_limit_are_all_named_and_none_is_cut() -> None:
    rows = [row("short", "hi"), row("long-1", "x" * 300), row("long-2", "y" * 300)]
    with pytest.raises(TooLarge, match="2 of 3 rows") as caught:
        tokenise(rows, Characters(), stop_token="<end>", max_length=200)
    assert caught.value.details["rows"] == ["long-1", "long-2"]


def test_a_stop_token_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(DomainInvalid, match="<nowhere>"):
        tokenise([row("a", "hi")], Characters(), stop_token="<nowhere>", max_length=200)


def test_the_shared_beginning_ends_where_prompts_differ_and_leaves_each_prompt_a_token() -> None:
    tokens = tokenise([row("a", "hello"), row("b", "help me")], Characters(), stop_token="<end>", max_length=200)
    shared = shared_prefix(tokens)
    assert "".join(map(chr, tokens[0].input_ids[:shared])).endswith("user:hel")
    same = [TokenRow("a", list(range(40)), 20), TokenRow("b", list(range(50)), 30)]
    assert shared_prefix(same) == 19
    assert shared_prefix([TokenRow("a", list(range(40)), 20), TokenRow("b", [0, 1, 9, *range(40)], 20)]) == 0
