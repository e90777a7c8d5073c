"""Answers from any OpenAI-compatible endpoint, or any that speaks Anthropic messages.

Its weights cannot be proved, so the fingerprint verdict is `unproved`; it is never trained. The key comes from the environment at the moment of
asking and stands in no record, message or log. Plain HTTP is taken only where nobody else listens: loopback and private addresses.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence

from engine.base.urls import is_private, url_problem
from engine.config import EndpointProfile
from engine.errors import ArgumentInvalid, ConfigInvalid
from engine.generate.chat import Batch, Target
from engine.generate.types import Answer, FingerprintReport, GeneratorIdentity, Request
from engine.generate.wire import DIALECTS

ANTHROPIC_VERSION = "2023-06-01"
"""The version of the messages format that `wire.py` speaks."""
BASE_URL_EXPECTED = "Use an https:// URL up to and including /v1, and put the key into the variable that api_key_env names."


class EndpointGenerator:
    """A generator over one endpoint's model."""

    def __init__(self, name: str, profile: EndpointProfile, *, check_cancelled: Callable[[], None]) -> None:
        if problem := url_problem(profile.base_url):
            raise ConfigInvalid(f"models.{name}.base_url is {problem}", next_step=BASE_URL_EXPECTED)
        self._name = name
        self._profile = profile
        self._check_cancelled = check_cancelled

    @property
    def identity(self) -> GeneratorIdentity:
        model = self._profile.model
        kind = "endpoint" if self._profile.dialect == "openai" else f"endpoint ({self._profile.dialect})"
        return GeneratorIdentity(engine=f"{kind} {self._profile.base_url}", base=model, weights=model, chat_template="", served_as="remote")

    def prove(self) -> FingerprintReport:
        """Nobody can say which weights answer behind a foreign endpoint."""
        return FingerprintReport(verdict="unproved")

    def likelihoods(self, request: Request, answers: Sequence[str]) -> list[float] | None:
        """Foreign endpoints do not say the log-probabilities of a given answer."""
        return None

    def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
        """Answers every request; raises GenerationFailed when nothing succeeds any more."""
        profile = self._profile
        if not profile.structured_output and any(request.settings.json_schema is not None for request in requests):
            raise ArgumentInvalid(
                f"the endpoint of model {self._name} does not take a JSON schema (structured_output is false)",
                next_step="Measure it with structured output switched off.",
            )
        target = Target(
            base_url=profile.base_url.rstrip("/"),
            model=profile.model,
            headers=self._headers(),
            concurrency=profile.concurrency,
            timeout_seconds=profile.request_timeout_seconds,
            managed=False,
            direct=is_private(profile.base_url),
            dialect=profile.dialect,
            sampling=DIALECTS[profile.dialect].samples if profile.sampling is None else profile.sampling,
        )
        source = random.Random()  # noqa: S311 - spreads retries over time, nothing else
        Batch(requests, on_answer, check_cancelled=self._check_cancelled, random_source=source).run(target)

    def close(self) -> None:
        """Nothing is held between batches."""

    def _headers(self) -> dict[str, str]:
        variable = self._profile.api_key_env
        fixed = {"anthropic-version": ANTHROPIC_VERSION} if self._profile.dialect == "anthropic" else {}
        if variable is None:
            return fixed
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ConfigInvalid(
                f"model {self._name} takes its API key from the environment variable {variable}, which is not set",
                next_step=f"Set {variable} where Modelsmith is started.",
            )
        return fixed | ({"x-api-key": key} if self._profile.dialect == "anthropic" else {"Authorization": f"Bearer {key}"})
