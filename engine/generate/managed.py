"""Answers from a managed server: the real one (vLLM), or the stand-in of the scripted double. To this file they are the same.

A server that dies or hangs in the middle of a batch is replaced, loaded with the same weights, proved, and asked what is still unanswered.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from engine.errors import ServerFailed
from engine.generate import server_control
from engine.generate.chat import Batch, Target
from engine.generate.plans import ServerPlan
from engine.generate.server_control import ServerUnwell
from engine.generate.servers import ModelServers, Session, mismatch_error
from engine.generate.types import Answer, FingerprintReport, GeneratorIdentity, Request, Weights

MAX_RESTARTS = 5
"""Servers that one batch may lose."""


class ManagedGenerator:
    """A generator over one plan of a server and one set of weights."""

    def __init__(
        self,
        identity: GeneratorIdentity,
        servers: ModelServers,
        plan: ServerPlan,
        weights: Weights,
        *,
        concurrency: int,
        request_timeout_seconds: float,
        check_cancelled: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._servers = servers
        self._plan = plan
        self._weights = weights
        self._concurrency = concurrency
        self._request_timeout_seconds = request_timeout_seconds
        self._check_cancelled = check_cancelled

    @property
    def identity(self) -> GeneratorIdentity:
        return self._identity

    def prove(self) -> FingerprintReport:
        """Probes which weights answer now, after loading them where needed."""
        reason = ""
        for _ in range(2):
            with self._servers.answering(self._plan, self._weights, check_cancelled=self._check_cancelled) as session:
                if session.report is not None:
                    return session.report
                try:
                    report = self._servers.measure(session, self._weights)
                except ServerUnwell as unwell:
                    reason = str(unwell)
                    self._servers.discard(session)
                    continue
                if report.verdict == "mismatch":
                    self._servers.discard(session)
                    raise mismatch_error(self._plan.model, self._weights, report)
            return report
        raise ServerFailed(f"the server of model {self._plan.model} answers no probe: {reason}", next_step="Run the same command again.")

    def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
        """Answers every request, replacing the server when it is lost."""
        source = random.Random()  # noqa: S311 - spreads retries over time, nothing else
        batch = Batch(requests, on_answer, check_cancelled=self._check_cancelled, random_source=source)
        reason = ""
        for _ in range(MAX_RESTARTS + 1):
            with self._servers.answering(self._plan, self._weights, check_cancelled=self._check_cancelled) as session:
                target = Target(
                    base_url=session.address.base_url,
                    model=session.answers_to,
                    headers={"Authorization": f"Bearer {session.address.api_key}"},
                    concurrency=self._concurrency,
                    timeout_seconds=self._request_timeout_seconds,
                    managed=True,
                    direct=True,
                )
                reason = batch.run(target, responds=lambda: self._servers.responds(session))
            if not reason:
                return
        raise ServerFailed(
            f"the server of model {self._plan.model} was lost {MAX_RESTARTS + 1} times in one batch: {reason}",
            next_step="Read its log in .modelsmith/servers/; what was answered is kept, so running the same command again goes on from there.",
            unanswered=len(batch.unanswered),
        )

    def likelihoods(self, request: Request, answers: Sequence[str]) -> list[float] | None:
        """Asks for the tokens of question and answers, then for their log-probabilities as a prompt. None when a server was lost over it twice."""
        for _ in range(2):
            with self._servers.answering(self._plan, self._weights, check_cancelled=self._check_cancelled) as session:
                model = session.answers_to
                try:
                    question = server_control.tokens_of(session.address, model, request.messages)
                    return [self._likelihood(session, question, answer) for answer in answers]
                except ServerUnwell:
                    self._servers.responds(session)  # ends one that does not, so that the next session has another
        return None

    def _likelihood(self, session: Session, question: tuple[int, ...], answer: str) -> float:
        self._check_cancelled()
        tokens = server_control.tokens_of(session.address, session.answers_to, answer)
        values = server_control.probe(session.address, session.answers_to, (*question, *tokens))[-len(tokens) :]
        return sum(values) / max(1, len(tokens))

    def close(self) -> None:
        """Nothing to let go of: the server belongs to the workspace."""
