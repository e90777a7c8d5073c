"""One measurement as it grows: requests out, answers in, results graded as they come, and the figures at the end.

Used by the worker of models and by the worker of floors alike, so both are graded by the same code on the same items.

    outputs/results.jsonl     ItemResult rows, one a scenario, in the suite's order
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.base.digests import digest_of, file_sha256
from engine.base.files import read_jsonl
from engine.config import Output
from engine.errors import ArtifactCorrupt
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.grading import grade
from engine.evaluate.jobs import StoredResults
from engine.evaluate.prompts import render_messages, render_target
from engine.evaluate.statistics import summarise_split
from engine.evaluate.types import ItemResult, Scenario, ScoreIdentity, Split, SplitScore
from engine.generate.types import Answer, GenerationSettings, Request

RESULTS = "outputs/results.jsonl"


def settings_for(output: Output, *, structured: bool) -> GenerationSettings:
    """How answers are generated: greedily, held to the schema or not."""
    return GenerationSettings(max_tokens=output.max_tokens, json_schema=output.json_schema if structured else None)


def requests_for(compiled: CompiledDomain, scenarios: Sequence[Scenario], settings: GenerationSettings) -> list[Request]:
    """One request for each scenario, under its id."""
    contract = compiled.domain.contract
    return [Request(key=scenario.id, messages=render_messages(contract, scenario.input), settings=settings) for scenario in scenarios]


def references_for(compiled: CompiledDomain, scenarios: Sequence[Scenario]) -> dict[str, str]:
    """The text of each scenario's reference answer; only the scripted double may see it."""
    return {scenario.id: render_target(compiled.domain.contract, scenario.expected) for scenario in scenarios}


def identity_for(
    compiled: CompiledDomain, settings: GenerationSettings | None, generator: str, *, base: str = "", chat_template: str = ""
) -> ScoreIdentity:
    """What a score rests on. `settings` is null where nothing was generated."""
    return ScoreIdentity(
        suite=compiled.suite_digest,
        grading=compiled.grading_digest,
        prompt=compiled.prompt_digest,
        settings=digest_of(settings.model_dump(mode="json") if settings else None),
        generator=generator,
        base=base,
        chat_template=chat_template,
    )


def split_scores(compiled: CompiledDomain, results: Iterable[ItemResult], splits: Sequence[Split], *, seed: int) -> tuple[SplitScore, ...]:
    """The figures of each split that was measured."""
    rows = list(results)
    domain = compiled.domain
    return tuple(
        summarise_split(
            rows,
            split,
            slices=domain.eval.slices,
            slice_minimum=domain.eval.accept.slice_minimum,
            json_output=domain.contract.output.kind == "json",
            confidence=domain.eval.accept.confidence,
            seed=seed,
        )
        for split in splits
    )


def stored_results(stored: StoredResults, split: Split) -> list[ItemResult]:
    """One split's results of another measurement. ArtifactCorrupt when the file is not the one that was named."""
    path = Path(stored.path)
    if not path.is_file() or file_sha256(path) != stored.digest:
        raise ArtifactCorrupt(f"the results of {stored.evaluation} are not the ones that this run was given", next_step="Start the same run again.")
    return [ItemResult.model_validate(row) for row in read_jsonl(path) if row["split"] == split]


class Tally:
    """Results of a batch as its answers come in."""

    def __init__(self, compiled: CompiledDomain, scenarios: Sequence[Scenario]) -> None:
        self._compiled = compiled
        self._scenarios = {scenario.id: scenario for scenario in scenarios}
        self._results: dict[str, ItemResult] = {}
        self._graded = 0
        self._points = 0.0

    def add(self, answer: Answer) -> None:
        """Grades one answer. A second answer to the same scenario replaces the first, as after a retry."""
        before = self._results.get(answer.key)
        result = grade(self._compiled.domain, self._scenarios[answer.key], answer)
        self._results[answer.key] = result
        for one, sign in ((before, -1), (result, 1)):
            if one is not None and one.outcome == "graded" and one.split == "core":
                self._graded += sign
                self._points += sign * one.score

    @property
    def answered(self) -> int:
        return len(self._results)

    @property
    def score(self) -> float | None:
        """The mean of core so far; progress is shown, and held-out figures go through the ladder."""
        return self._points / self._graded if self._graded else None

    def lost(self) -> list[str]:
        """Scenarios without an answer because of infrastructure."""
        return [name for name, result in self._results.items() if result.outcome == "error"]

    def results(self) -> list[ItemResult]:
        """Every result, in the suite's order."""
        return [self._results[name] for name in self._scenarios if name in self._results]
