"""Measures one subject: asks every scenario of the splits, grades as answers come, and leaves results and figures.

    outputs/results.jsonl     ItemResult rows

Resuming needs nothing of its own: an attempt that was killed left its answers in the cache, and the next one asks only for the rest. The
weights are proved before the first question; when every answer is in the cache nothing answers, and nothing is proved.

A challenger's held-out items are asked in portions where the job says what it is judged against, and the rest is left when its refusal is certain
(`early_stop.py`). What only an accepted version needs is not measured then: how steady its answers are, and what the schema switch buys.

A trained version is asked the domain's canaries too (`canaries.py`). They are in no figure; of what it answers only counts are kept.

An answer lost to infrastructure is asked for once more at the end. Answers that stay lost are recorded as errors, in no mean; when more
than a tenth is lost the run fails, because that says something about the machine and nothing about a model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.digests import digest_of
from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.config import EndpointProfile, ModelProfile, ScriptedProfile
from engine.errors import GenerationFailed
from engine.evaluate.canaries import counted, is_contaminated, ranked, rivals
from engine.evaluate.compile import CompiledDomain, compile_domain
from engine.evaluate.early_stop import Bar, Watch, certain_refusal, in_order, portions, spared
from engine.evaluate.jobs import EvaluateJob, EvaluateOutput, StructuredEffect
from engine.evaluate.measurement import (
    RESULTS,
    Tally,
    identity_for,
    references_for,
    requests_for,
    settings_for,
    split_scores,
    stored_results,
)
from engine.evaluate.statistics import compare, reached
from engine.evaluate.types import Canaries, EvaluationSummary, ItemResult, Stability, StoppedEarly
from engine.generate.cache import AnswerCache, AnswerCounts, answer_all
from engine.generate.open import open_generator
from engine.generate.prepare_worker import prepare_base
from engine.generate.types import Answer, GenerationSettings, Generator, Request, request_digest
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker

REPORT_SECONDS = 0.5
ANSWERS_BEFORE_ETA = 32
"""Answers come in waves; the first of a wave says nothing about the pace."""
LOST_SHARE = 0.1
STEADY_ITEMS = 32
"""Core items that are asked twice: enough to tell an unsteady model from a steady one, and a few seconds of work."""


def evaluate_in_worker(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `evaluate`."""
    job = EvaluateJob.model_validate(context.config.job)
    workspace = Workspace(Path(context.config.workspace))
    context.report(Progress(phase="loading", message=f"Reading the suite of {job.domain}."))
    compiled = compile_domain(workspace, job.domain, job.domain_digest, job.generation)
    base = job.base
    if base is None and isinstance(job.profile, ModelProfile):
        base, _ = prepare_base(workspace, job.model, job.profile, job.device, context.report, context.check_cancelled)
    known = compiled.kept_apart if isinstance(job.profile, ScriptedProfile) and job.profile.knows_canaries else compiled.scenarios
    generator = open_generator(
        job.model,
        job.profile,
        workspace=workspace,
        base=base,
        weights=job.weights,
        device=job.device,
        reference=references_for(compiled, known),
        check_cancelled=context.check_cancelled,
    )
    try:
        output = measure(context, job, compiled, generator, AnswerCache(workspace.answers, generator.identity))
    finally:
        generator.close()
    return {**output.model_dump(mode="json"), "artifacts": {"results": RESULTS}}


def measure(context: WorkerContext, job: EvaluateJob, compiled: CompiledDomain, generator: Generator, cache: AnswerCache) -> EvaluateOutput:
    """Asks, grades, writes the results and sums up; then, where asked for, measures core with the schema switch the other way."""
    output = compiled.domain.contract.output
    batch = Batch(context, generator, cache, compiled)
    scenarios = compiled.of_split(*job.splits)
    settings = settings_for(output, structured=job.structured)
    main = batch.ask(requests_for(compiled, scenarios, settings), "generating", watch_of(context, job, compiled))
    splits = tuple(split for split in job.splits if main.stopped is None or split != "held_out")
    write_jsonl(context.paths.root / RESULTS, [result.model_dump(mode="json") for result in main.results])
    seed = context.config.seed
    stability = None
    if "core" in splits and main.stopped is None and main.counts.generated and not isinstance(job.profile, EndpointProfile):
        context.report(Progress(phase="asking twice", message=f"Asking {STEADY_ITEMS} core items again, to see how steady the answers are."))
        stability = ask_twice(compiled, settings, generator, main.results)
    canaries = ask_canaries(batch, job, compiled, settings, main.results)
    summary = EvaluationSummary(
        identity=identity_for(
            compiled, settings, generator.identity.digest(), base=generator.identity.base, chat_template=generator.identity.chat_template
        ),
        subject=job.subject,
        splits=split_scores(compiled, main.results, splits, seed=seed),
        stopped_early=main.stopped,
        structured=job.structured and output.json_schema is not None,
        generated=main.counts.generated,
        cached=main.counts.cached,
        seconds=main.seconds,
        completion_tokens=sum(result.completion_tokens for result in main.results if not result.cached),
        fingerprint=main.fingerprint,
        stability=stability,
        canaries=canaries,
    )
    effect = None
    if job.measure_structured and main.stopped is None and output.json_schema is not None and "core" in splits:
        other = batch.ask(
            requests_for(compiled, compiled.of_split("core"), settings_for(output, structured=not job.structured)), "without the switch"
        )
        effect = structured_effect(compiled, main.results, other, main_is_structured=job.structured, seed=seed)
    return EvaluateOutput(
        summary=summary,
        structured_effect=effect,
        domain_digest=compiled.digest,
        generation=compiled.manifest.generation,
        standard={"core", "held_out"} <= set(splits) and job.structured == output.structured,
        targets_met=reached(job.targets, summary) and not is_contaminated(canaries) if job.targets and "held_out" in splits else None,
    )


def watch_of(context: WorkerContext, job: EvaluateJob, compiled: CompiledDomain) -> Watch | None:
    """What the held-out answers are watched for; None where all items are asked."""
    if job.early_stop is None:
        return None
    bars: dict[Bar, list[ItemResult]] = {"incumbent": stored_results(job.early_stop.incumbent, "held_out")}
    if job.early_stop.floor is not None:
        bars["floor"] = stored_results(job.early_stop.floor, "held_out")
    return Watch(
        sources=in_order(compiled.of_split("held_out"), job.subject),
        in_flight=job.profile.inference.concurrency if isinstance(job.profile, ModelProfile) else 1,
        bars=bars,
        acceptance=compiled.domain.eval.accept,
        confidence=job.early_stop.confidence,
        stability=job.early_stop.stability,
        relied_on=job.early_stop.relied_on,
        against=job.early_stop.incumbent.evaluation,
        seed=context.config.seed,
    )


def ask_twice(
    compiled: CompiledDomain, settings: GenerationSettings, generator: Generator, first: Sequence[ItemResult]
) -> Stability | None:
    """Asks a fixed sample of core once more, past the cache, and counts what flips. None when an answer of either time was lost for all of them."""
    sample = sorted(compiled.of_split("core"), key=lambda scenario: digest_of(["steady", scenario.id]))[:STEADY_ITEMS]
    tally = Tally(compiled, sample)
    generator.answer(requests_for(compiled, sample, settings), tally.add)
    once = {result.scenario_id: result.passed for result in first if result.outcome == "graded"}
    twice = [again for again in tally.results() if again.outcome == "graded" and again.scenario_id in once]
    flipped = tuple(again.scenario_id for again in twice if again.passed != once[again.scenario_id])
    return Stability(items=len(twice), flipped=len(flipped), flipped_items=flipped) if twice else None


def ask_canaries(
    batch: Batch, job: EvaluateJob, compiled: CompiledDomain, settings: GenerationSettings, results: Sequence[ItemResult]
) -> Canaries | None:
    """Whether a trained version has been taught the evaluation file; None for all others, and where the domain has no canaries."""
    if job.weights is None or not compiled.canaries:
        return None
    requests = requests_for(compiled, compiled.canaries, settings)
    asked = batch.ask(requests, "asking canaries")
    found = counted(compiled.domain, compiled.scenarios, results, asked.results)
    answers = [rivals(compiled.domain, canary, compiled.scenarios) for canary in compiled.canaries]
    return ranked(found, batch.likelihoods(list(zip(requests, answers, strict=True)), "ranking canaries"))


def structured_effect(
    compiled: CompiledDomain, main: Sequence[ItemResult], other: Asked, *, main_is_structured: bool, seed: int
) -> StructuredEffect:
    """What decoding under the schema buys on core."""
    free, held = (other.results, main) if main_is_structured else (main, other.results)
    valid = [split_scores(compiled, results, ("core",), seed=seed)[0].schema_valid for results in (free, held)]
    accept = compiled.domain.eval.accept
    return StructuredEffect(
        comparison=compare(free, held, split="core", metric=accept.metric, confidence=accept.confidence, seed=seed),
        schema_valid_free=valid[0],
        schema_valid_structured=valid[1],
        seconds=other.seconds,
    )


class Asked(NamedTuple):
    """A batch that was answered."""

    results: list[ItemResult]
    counts: AnswerCounts
    seconds: float
    fingerprint: dict[str, Any] | None
    stopped: StoppedEarly | None = None
    """Why the rest was not asked."""


class Batch:
    """Asks batches of one generator, with progress."""

    def __init__(self, context: WorkerContext, generator: Generator, cache: AnswerCache, compiled: CompiledDomain) -> None:
        self._context = context
        self._generator = generator
        self._cache = cache
        self._compiled = compiled

    def ask(self, requests: Sequence[Request], phase: str, watch: Watch | None = None) -> Asked:
        """Every request answered, from the cache or by the generator; what is lost is asked for once more. With `watch`, held-out is asked in
        portions, the first together with everything else, until refusal is certain."""
        batches = [list(requests)] if watch is None else in_portions(requests, watch)
        fingerprint = self._prove(batches[0])
        by_id = {scenario.id: scenario for scenario in self._compiled.kept_apart}
        tally = Tally(self._compiled, [by_id[request.key] for request in requests])
        show = Ticker(self._context, tally, len(requests), phase)
        counts, seconds, stopped = AnswerCounts(0, 0, 0), 0.0, None
        for portion in batches:
            fingerprint = fingerprint or self._prove(portion)
            started = time.monotonic()
            made = answer_all(self._generator, portion, show.on_answer, self._cache)
            self._ask_again(portion, tally, show, phase)
            counts = AnswerCounts(*(one + other for one, other in zip(counts, made, strict=True)))
            seconds += time.monotonic() - started
            refuse_losses(tally, len(requests))
            stopped = None if watch is None else certain_refusal(watch, tally.results())
            if stopped is not None:
                self._context.report(Progress(phase=phase, message=spared(stopped.asked, stopped.of, stopped.because)))
                break
        refuse_losses(tally, tally.answered)
        return Asked(tally.results(), counts, seconds, fingerprint, stopped)

    def likelihoods(self, questions: Sequence[tuple[Request, Sequence[str]]], phase: str) -> list[list[float]]:
        """How likely the model holds each answer to its question, from the cache where it was asked before. Empty where it cannot be asked."""
        found: list[list[float]] = []
        for number, (request, answers) in enumerate(questions, 1):
            self._context.report(Progress(phase=phase, step=number, total=len(questions)))
            digest = digest_of(["likelihoods", request_digest(request), list(answers)])
            kept = self._cache.get(digest)
            values = self._generator.likelihoods(request, answers) if kept is None else json.loads(kept.text)
            if values is None:
                return []
            if kept is None:
                self._cache.put(digest, Answer(key=request.key, text=json.dumps(values)))
            found.append(values)
        return found

    def _ask_again(self, requests: Sequence[Request], tally: Tally, show: Ticker, phase: str) -> None:
        """Asks once more for what is lost of these."""
        lost = set(tally.lost())
        again = [request for request in requests if request.key in lost]
        if again:
            self._context.report(Progress(phase=phase, message=f"Asking again for {len(again)} answers lost to infrastructure."))
            answer_all(self._generator, again, show.on_answer, self._cache)

    def _prove(self, requests: Sequence[Request]) -> dict[str, Any] | None:
        if all(self._cache.get(request_digest(request)) for request in requests):
            return None
        self._context.report(Progress(phase="loading", message="Loading the model and proving which weights answer."))
        return self._generator.prove().model_dump(mode="json")


def in_portions(requests: Sequence[Request], watch: Watch) -> list[list[Request]]:
    """Held-out requests in the portions of their asking; all others come with the first."""
    _, *later = portions(watch.sources, watch.in_flight)
    by_key = {request.key: request for request in requests}
    waiting = [[by_key.pop(scenario.id) for scenario in portion] for portion in later]
    return [list(by_key.values()), *waiting]


def refuse_losses(tally: Tally, asked: int) -> None:
    """Raises GenerationFailed when so many answers are lost that the figures would say more about the machine than about the model."""
    lost = tally.lost()
    if len(lost) <= LOST_SHARE * asked:
        return
    reasons = sorted({observation for result in tally.results() if result.outcome == "error" for observation in result.observations})
    raise GenerationFailed(
        f"{len(lost)} of {asked} answers were lost to infrastructure ({', '.join(reasons[:3])})",
        next_step="See to the model server or endpoint, then run the same again: answers that came are in the cache.",
        lost=len(lost),
        asked=asked,
    )


class Ticker:
    """Grades answers as they come and reports progress now and then."""

    def __init__(self, context: WorkerContext, tally: Tally, total: int, phase: str) -> None:
        self._context = context
        self._tally = tally
        self._total = total
        self._phase = phase
        self._started = time.monotonic()
        self._reported = 0.0
        self._generated = 0

    def on_answer(self, answer: Answer) -> None:
        """Takes one answer; raises Cancelled when the run was cancelled."""
        self._context.check_cancelled()
        self._tally.add(answer)
        self._generated += not answer.cached
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS or self._tally.answered == self._total:
            self._reported = now
            self._context.report(self._progress(now - self._started))

    def _progress(self, elapsed: float) -> Progress:
        left = self._total - self._tally.answered
        eta = elapsed / self._generated * left if self._generated >= ANSWERS_BEFORE_ETA else None
        return Progress(phase=self._phase, step=self._tally.answered, total=self._total, score=self._tally.score, eta_seconds=eta)


if __name__ == "__main__":
    run_worker(evaluate_in_worker)
