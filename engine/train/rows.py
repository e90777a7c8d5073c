"""Curated rows as token ids: what the model reads, and which of it it is taught to write.

The prompt is encoded exactly as the server will see it (chat template with the generation prompt), the completion apart from it and ended
by the profile's stop token, so that training and serving agree on every token boundary. A row that is too long is refused by name: cutting
one would teach an unfinished answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.digests import file_sha256
from engine.base.files import read_jsonl
from engine.base.record import Record
from engine.errors import ArtifactCorrupt, DomainInvalid, TooLarge
from engine.generate.types import Message

_NAMED_ROWS = 10
_SHORTEST_SHARED = 16


class CuratedRow(Record):
    """One line of a dataset."""

    id: str
    messages: tuple[Message, ...]
    """The rendered prompt."""
    completion: str
    """The answer to be learnt."""


class PairRow(Record):
    """One line of a dataset for DPO: two answers to one prompt."""

    id: str
    """Of the training row; several pairs may share it."""
    messages: tuple[Message, ...]
    """The rendered prompt."""
    chosen: str
    """The answer to be preferred."""
    rejected: str
    """The answer that failed."""


class TokenPair(NamedTuple):
    """A pair as the model reads it, each answer ended by the stop token."""

    id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class TokenRow(NamedTuple):
    """A row as the model reads it; the loss counts from position `prompt_tokens` on."""

    id: str
    input_ids: list[int]
    prompt_tokens: int


def read_dataset(path: Path, digest: str) -> list[CuratedRow]:
    """The rows of the dataset whose SHA-256 is `digest`."""
    return [CuratedRow.model_validate(row) for row in _verified_rows(path, digest)]


def read_pairs(path: Path, digest: str) -> list[PairRow]:
    """The pairs of the dataset whose SHA-256 is `digest`."""
    return [PairRow.model_validate(row) for row in _verified_rows(path, digest)]


def tokenise_pairs(pairs: Sequence[PairRow], tokenizer: Any, *, stop_token: str, max_length: int) -> list[TokenPair]:
    """Every pair as tokens, with the checks of `tokenise` for both of its answers."""
    chosen, rejected = (
        tokenise(
            [CuratedRow(id=pair.id, messages=pair.messages, completion=getattr(pair, side)) for pair in pairs],
            tokenizer,
            stop_token=stop_token,
            max_length=max_length,
        )
        for side in ("chosen", "rejected")
    )
    return [
        TokenPair(good.id, good.input_ids[: good.prompt_tokens], good.input_ids[good.prompt_tokens :], bad.input_ids[bad.prompt_tokens :])
        for good, bad in zip(chosen, rejected, strict=True)
    ]


def _verified_rows(path: Path, digest: str) -> list[Any]:
    if not path.is_file() or (found := file_sha256(path)) != digest:
        state = f"has the SHA-256 {found[:12]}" if path.is_file() else "is not there"
        raise ArtifactCorrupt(
            f"the dataset {path.name} {state}; the run was given {digest[:12]}",
            next_step="Curate again: the artifact store lost it.",
            expected=digest,
        )
    return read_jsonl(path)


def tokenise(rows: Sequence[CuratedRow], tokenizer: Any, *, stop_token: str, max_length: int) -> list[TokenRow]:
    """Every row as tokens. Raises TooLarge naming the rows over `max_length`, DomainInvalid when the stop token is unknown to the tokenizer."""
    stop_id = tokenizer.convert_tokens_to_ids(stop_token)
    if stop_id is None or stop_id == tokenizer.unk_token_id:
        raise DomainInvalid(
            f"the stop token {stop_token!r} is not in this model's vocabulary",
            next_step="Set stop_token in the model's profile to the token that ends an assistant's turn in its chat template.",
            stop_token=stop_token,
        )
    prompts = [
        tokenizer.apply_chat_template([message.model_dump() for message in row.messages], tokenize=False, add_generation_prompt=True) for row in rows
    ]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    completion_ids = tokenizer([row.completion for row in rows], add_special_tokens=False)["input_ids"]
    tokens = [
        TokenRow(row.id, [*prompt, *completion, stop_id], len(prompt))
        for row, prompt, completion in zip(rows, prompt_ids, completion_ids, strict=True)
    ]
    over = [row for row in tokens if len(row.input_ids) > max_length]
    if over:
        named = ", ".join(f"{row.id} ({len(row.input_ids)})" for row in over[:_NAMED_ROWS])
        raise TooLarge(
            f"{len(over)} of {len(tokens)} rows are longer than {max_length} tokens: {named}{' and more' if len(over) > _NAMED_ROWS else ''}",
            next_step="Raise training.max_length in the model's profile (or train.max_length in the domain), or take these rows out of the pool.",
            rows=[row.id for row in over[:_NAMED_ROWS]],
            max_length=max_length,
        )
    return tokens


def shared_prefix(rows: Sequence[TokenRow]) -> int:
    """How many tokens all prompts begin with alike (the system message, mostly); 0 when that is too few to be worth anything.

    At least one token of every prompt is left over, because the first token of the completion is predicted from it.
    """
    first = rows[0].input_ids
    shared = min(row.prompt_tokens for row in rows) - 1
    for row in rows:
        shared = next((at for at in range(shared) if row.input_ids[at] != first[at]), shared)
    return shared if shared >= _SHORTEST_SHARED else 0
