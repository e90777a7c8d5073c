"""Answers by the content of what made them, so that grading again never generates again.

    answers/<digest of the generator's identity>.jsonl      one line an answer: crc32 canonical-json

Promises: an answer is returned only for an equal request to an equal generator; an infrastructure error is never kept; several processes may
write one file at once; a line torn by a crash or damaged later is skipped, and costs one generation. It is a cache: nothing is synced, and
a lost line is generated again.

Not here: forgetting. The files grow with the number of distinct questions asked, and may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.base.digests import canonical_json
from engine.generate.types import Answer, Generator, GeneratorIdentity, Request, request_digest


class AnswerCounts(NamedTuple):
    """Where the answers of one batch came from."""

    generated: int
    cached: int
    errors: int
    """Of the generated ones, how many are infrastructure errors."""


class AnswerCache:
    """The answers of one generator identity."""

    def __init__(self, directory: Path, identity: GeneratorIdentity) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.identity = identity
        self._path = directory / f"{identity.digest()}.jsonl"
        self._answers = dict(_read(self._path))
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def get(self, digest: str) -> Answer | None:
        """The answer to the request with this digest."""
        return self._answers.get(digest)

    def put(self, digest: str, answer: Answer) -> None:
        """Keeps an answer. One that is an infrastructure error is not kept."""
        if answer.error is not None:
            return
        self._answers[digest] = answer
        body = canonical_json({"request": digest, "answer": answer.model_dump()})
        # One write in append mode lands whole between other writers' lines. The leading newline ends a line that a crash tore.
        os.write(self._handle, b"\n%08x %b\n" % (zlib.crc32(body), body))

    def close(self) -> None:
        os.close(self._handle)


def _read(path: Path) -> Iterator[tuple[str, Answer]]:
    if not path.exists():
        return
    with path.open("rb") as stream:
        for line in stream:
            body = line[9:-1]
            try:
                intact = int(line[:8], 16) == zlib.crc32(body)
            except ValueError:
                continue
            if intact:
                record = json.loads(body)
                yield record["request"], Answer.model_validate(record["answer"])


def answer_all(generator: Generator, requests: Sequence[Request], on_answer: Callable[[Answer], None], cache: AnswerCache) -> AnswerCounts:
    """Answers every request once: from the cache where it can, from the generator otherwise. Requests of equal content are asked once.

    `cache` must be the one of the generator's identity. What was answered before an exception is in the cache.
    """
    if cache.identity != generator.identity:
        raise ValueError("the cache belongs to another generator")
    waiting: dict[str, list[Request]] = {}
    for request in requests:
        digest = request_digest(request)
        known = cache.get(digest)
        if known is not None:
            on_answer(known.model_copy(update={"key": request.key, "cached": True}))
        else:
            waiting.setdefault(digest, []).append(request)
    digests = {same[0].key: digest for digest, same in waiting.items()}
    errors = 0

    def keep(answer: Answer) -> None:
        nonlocal errors
        digest = digests[answer.key]
        cache.put(digest, answer)
        errors += answer.error is not None
        for index, request in enumerate(waiting[digest]):
            on_answer(answer if index == 0 else answer.model_copy(update={"key": request.key, "cached": True}))

    if waiting:
        generator.answer([same[0] for same in waiting.values()], keep)
    return AnswerCounts(generated=len(waiting), cached=len(requests) - len(waiting), errors=errors)
