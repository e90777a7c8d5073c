"""Asks a teacher within its budget: which questions go out, and what comes back.

Answers go into the answer cache under the teacher's identity, so a run that was killed, or a second one, asks for nothing twice. What may be asked
is for the worker to see to: rows of the training pool, and nothing of an evaluation item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from engine.base.paths import Workspace
from engine.config import Device, ModelProfile, Profile, Teacher
from engine.curate.teach import Asking, affordable, in_words, tokens_of
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.prompts import render_messages
from engine.evaluate.types import TrainingRow
from engine.generate.cache import AnswerCache, answer_all
from engine.generate.open import open_generator
from engine.generate.prepare_worker import prepare_base
from engine.generate.types import Answer, GenerationSettings, PreparedBase, Request, request_digest
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext


def requests_of(compiled: CompiledDomain, rows: Sequence[TrainingRow], how: Asking) -> list[Request]:
    """The domain's own prompts for these rows, with the form asked for in the way that the teacher understands."""
    contract = compiled.domain.contract
    schema = contract.output.json_schema if how != "none" else None
    settings = GenerationSettings(max_tokens=contract.output.max_tokens, json_schema=schema if how == "schema" else None)
    rendered = {row.id: render_messages(contract, row.input) for row in rows}
    if how == "words":
        rendered = {name: in_words(messages, schema or {}) for name, messages in rendered.items()}
    return [Request(key=row.id, messages=rendered[row.id], settings=settings) for row in rows]


class Asker:
    """One teacher, open for questions. What it took is remembered from one batch to the next: all of them share its budget."""

    def __init__(
        self,
        context: WorkerContext,
        terms: Teacher,
        profile: Profile,
        *,
        base: PreparedBase | None,
        device: Device,
        reference: Mapping[str, str],
    ) -> None:
        workspace = Workspace(Path(context.config.workspace))
        if base is None and isinstance(profile, ModelProfile):
            base, _ = prepare_base(workspace, terms.name, profile, device, context.report, context.check_cancelled)
        self._context = context
        self._budget = terms.max_tokens
        self._generator = open_generator(
            terms.name,
            profile,
            workspace=workspace,
            base=base,
            weights=None,
            device=device,
            reference=reference,
            check_cancelled=context.check_cancelled,
        )
        self._cache = AnswerCache(workspace.answers, self._generator.identity)
        self._proved = False
        self._spent: list[int] = []
        self.generated = 0
        self.cached = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cache.close()
        self._generator.close()

    @property
    def name(self) -> str:
        """What answers: engine and model."""
        identity = self._generator.identity
        return f"{identity.engine}, {identity.base[:64]}"

    @property
    def tokens(self) -> int:
        """Of all questions and answers so far; those from the cache count as what they took once."""
        return sum(self._spent)

    def ask(self, requests: Sequence[Request], on_answer: Callable[[Answer], None] = lambda _: None) -> dict[str, Answer]:
        """The answers by key, as far as the budget goes, in batches that grow with what is known of the price. What was lost is asked for once
        more."""
        self._prove(requests)
        answers: dict[str, Answer] = {}
        while count := affordable(self._budget, self._spent, len(requests) - len(answers)):
            batch = requests[len(answers) : len(answers) + count]
            came: dict[str, Answer] = {}
            first = answer_all(self._generator, batch, keeping(came, on_answer), self._cache)
            lost = [request for request in batch if came[request.key].error is not None]
            if lost:
                answer_all(self._generator, lost, keeping(came, on_answer), self._cache)
            self.generated, self.cached = self.generated + first.generated, self.cached + first.cached
            self._spent.extend(tokens_of(request, came[request.key]) for request in batch)
            answers |= came
        return answers

    def _prove(self, requests: Sequence[Request]) -> None:
        """Proves which weights answer, once, unless nothing is left to be asked for."""
        if not self._proved and any(self._cache.get(request_digest(request)) is None for request in requests):
            self._context.report(Progress(phase="loading", message="Loading the teacher and proving which weights answer."))
            self._generator.prove()
            self._proved = True


def keeping(came: dict[str, Answer], then: Callable[[Answer], None]) -> Callable[[Answer], None]:
    """Notes each answer before passing it on."""

    def on_answer(answer: Answer) -> None:
        came[answer.key] = answer
        then(answer)

    return on_answer
