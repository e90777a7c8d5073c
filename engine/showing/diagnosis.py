"""A diagnosis as pages: failure patterns, the scenarios of one, trends over the cluster's rounds, and what is asked of people. Core only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.diagnose.taxonomy import TAXONOMY
from engine.diagnose.types import Diagnosis, FailurePattern, RelabelItem, ScenarioProposal, Trend
from engine.evaluate.types import ItemResult, Scenario
from engine.showing.pages import Page
from engine.views import DiagnosisPage, FailureExample, NextCall, PatternLine


class Diagnosed(NamedTuple):
    """A measurement with what its diagnosis found."""

    evaluation_id: str
    subject: str
    found: Diagnosis


def patterns_page(diagnosed: Diagnosed, cluster: str, page: Page) -> DiagnosisPage:
    """A page of failure patterns."""
    evaluation_id, subject, found = diagnosed
    shown = page.of(found.patterns)
    largest = f" The largest pattern: {found.patterns[0].name} ({found.patterns[0].items})." if found.patterns else ""
    following = [
        NextCall(
            tool="diagnose",
            arguments={"cluster": cluster, "evaluation_id": evaluation_id, "pattern": pattern.pattern},
            why=f"the {pattern.items} scenarios of this pattern",
        )
        for pattern in shown[:1]
    ]
    following.append(NextCall(tool="iterate", arguments={"cluster": cluster}, why="train on these patterns"))
    return DiagnosisPage(
        summary=f"{subject} fails {found.failed} of {found.graded} core scenarios, in {len(found.patterns)} patterns.{largest}",
        next=tuple(following),
        evaluation_id=evaluation_id,
        subject=subject,
        failed=found.failed,
        graded=found.graded,
        patterns=tuple(pattern_line(pattern) for pattern in shown),
        next_cursor=page.next_cursor(len(found.patterns)),
    )


def pattern_line(pattern: FailurePattern) -> PatternLine:
    """A failure pattern in a list."""
    return PatternLine(
        pattern=pattern.pattern,
        name=pattern.name,
        items=pattern.items,
        share=pattern.share,
        failure_class=pattern.failure_class,
        confidence=round(pattern.confidence, 2),
        trend=pattern.trend,
        remedy=pattern.remedy_in_words,
        gain="" if pattern.gain is None else pattern.gain.words,
        examples=pattern.scenario_ids[:3],
    )


def examples_page(
    diagnosed: Diagnosed, pattern: FailurePattern, scenarios: Mapping[str, Scenario], results: Mapping[str, ItemResult], page: Page
) -> DiagnosisPage:
    """A page of the failed scenarios of one pattern, with its plan. `scenarios` and `results` are those of core, by id."""
    evaluation_id, subject, found = diagnosed
    return DiagnosisPage(
        summary=f"{pattern.name}: {pattern.items} of {found.failed} failures. {TAXONOMY[pattern.failure_class].runbook}",
        evaluation_id=evaluation_id,
        subject=subject,
        failed=found.failed,
        graded=found.graded,
        plan=None if pattern.plan is None else pattern.plan.model_dump(mode="json"),
        examples=tuple(example(scenarios[each], results[each]) for each in page.of(pattern.scenario_ids)),
        next_cursor=page.next_cursor(pattern.items),
    )


def example(scenario: Scenario, result: ItemResult) -> FailureExample:
    """A failed core scenario with what was answered."""
    return FailureExample(
        scenario_id=scenario.id,
        score=result.score,
        input=scenario.input,
        expected=scenario.expected,
        answer=result.answer,
        observations=result.observations,
    )


def trends_page(diagnosed: Diagnosed, over_time: Sequence[Trend], page: Page) -> DiagnosisPage:
    """A page of patterns over a cluster's rounds: what came back and what never moved first."""
    rounds = len(over_time[0].items) - 1 if over_time else 0
    counts = Counter(trend.verdict for trend in over_time)
    told = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in sorted(counts.items()))
    sentence = f"{len(over_time)} patterns over {rounds} rounds: {told}." if over_time else "No round on this suite has been recorded yet."
    return lines_page(sentence, diagnosed, [trend.model_dump(mode="json") for trend in over_time], page)


def requests_page(
    diagnosed: Diagnosed, doubted: Sequence[RelabelItem], rows: Sequence[RelabelItem], wanted: Sequence[ScenarioProposal], page: Page
) -> DiagnosisPage:
    """A page of labels that people should look at again, of core and of the training rows, and of scenarios that are wanted."""
    sentence = f"{len(doubted)} core labels and {len(rows)} training labels are in doubt; {len(wanted)} patterns want more scenarios."
    lines = [*(asked("relabel_request", each) for each in (*doubted, *rows)), *(asked("scenario_proposal", each) for each in wanted)]
    return lines_page(sentence, diagnosed, lines, page)


def lines_page(sentence: str, diagnosed: Diagnosed, lines: Sequence[dict[str, Any]], page: Page) -> DiagnosisPage:
    """A page of another view of a diagnosis."""
    return DiagnosisPage(
        summary=sentence,
        evaluation_id=diagnosed.evaluation_id,
        subject=diagnosed.subject,
        failed=diagnosed.found.failed,
        graded=diagnosed.found.graded,
        lines=page.of(lines),
        next_cursor=page.next_cursor(len(lines)),
    )


def asked(what: str, request: RelabelItem | ScenarioProposal) -> dict[str, Any]:
    """A request to people as a line of a page."""
    return {"request": what} | {name: value for name, value in request.model_dump(mode="json").items() if name != "kind"}
