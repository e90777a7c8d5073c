"""From a class of failures to a plan: the cheapest remedy that is left, what it would change, and why cheaper ones are not it.

A class lists its remedies in order of cost (`engine/diagnose/taxonomy.py`). A remedy is passed over when it does not apply here (decoding is
held to the schema already) or was measured and is not shown to help. So what is cheap is tried before anything is trained. Pure: this writes
plans; whoever carries one out is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.diagnose.facts import Evidence, ItemFact, RowConflict, Situation
from engine.diagnose.taxonomy import OBSERVATIONS, TAXONOMY, UNKNOWN
from engine.diagnose.types import (
    Change,
    ChangeSetting,
    CheapTrial,
    FailureClass,
    FailurePattern,
    LookAt,
    PassedOver,
    RelabelItem,
    RelabelRequest,
    Remedy,
    RemedyPlan,
    ScenarioProposal,
    ShowExamples,
    TrainOn,
)
from engine.evaluate.statistics import shown_above_zero
from engine.evaluate.types import ItemResult, Scenario, TrainingRow

LONGEST_ANSWER = 32_768
"""What contract.output.max_tokens may be at most."""
EXAMPLES = 3
PROPOSED_SCENARIOS = 4
"""New scenarios asked for each persistent one."""
MOST_LIKE = 8


def plan_remedy(
    failure_class: FailureClass,
    kind: str,
    pattern: str,
    name: str,
    members: Sequence[ItemResult],
    evidence: Evidence,
    underlying: FailureClass | None = None,
) -> RemedyPlan:
    """The plan for one pattern. Its last remedy is taken whatever was found: something is always left to do."""
    remedies = TAXONOMY[failure_class].remedies
    passed_over: list[PassedOver] = []
    for position, remedy in enumerate(remedies):
        why = passed_over_because(remedy, members, evidence)
        if not why or position == len(remedies) - 1:
            words, change = _carry_out(remedy, failure_class, kind, pattern, name, members, evidence, underlying)
            return RemedyPlan(remedy=remedy, words=words, change=change, passed_over=tuple(passed_over), afterwards=remedies[position + 1 :])
        passed_over.append(PassedOver(remedy=remedy, why=why))
    raise ValueError(f"the class {failure_class} has no remedy")


def passed_over_because(remedy: Remedy, members: Sequence[ItemResult], evidence: Evidence) -> str:
    """Why a remedy is not the one here; empty when it is. Without a situation nothing is known against any. A trial speaks for the base alone."""
    now = evidence.situation
    if now is None:
        return ""
    if reason := _does_not_apply(remedy, members, now):
        return reason
    measured = next((each.comparison for each in evidence.trials if now.is_base and each.remedy == remedy), None)
    if remedy == "constrain_decoding" and now.structured_effect is not None:
        measured = now.structured_effect
    if measured is None or shown_above_zero(measured):
        return ""
    gain = measured.difference
    return f"measured on {gain.n} core items and not shown to help: {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _does_not_apply(remedy: Remedy, members: Sequence[ItemResult], now: Situation) -> str:
    if remedy == "constrain_decoding":
        if not now.has_schema:
            return "the output has no schema to hold decoding to"
        return "decoding is held to the schema already" if now.structured else ""
    if remedy == "raise_limit":
        roomy = sum(result.scenario_id in now.needs_room for result in members)
        return "" if 2 * roomy >= len(members) else f"only {roomy} of {len(members)} references are longer than the answer that was cut: it runs on"
    if remedy == "few_shot":
        if not now.is_base:
            return "a trained version has learnt from the rows that would be shown"
        return "" if now.pool_rows else "there are no training rows to show"
    if remedy in ("targeted_sft", "dpo") and not now.pool_rows:
        return "there are no training rows"
    if remedy == "grpo" and not any(0.0 < result.score < 1.0 for result in members):
        return "no item of it earns partial credit, so there is no slope to climb"
    return ""


def _carry_out(
    remedy: Remedy,
    failure_class: FailureClass,
    kind: str,
    pattern: str,
    name: str,
    members: Sequence[ItemResult],
    evidence: Evidence,
    underlying: FailureClass | None,
) -> tuple[str, Change]:
    """What the remedy would change, in words and as data."""
    now = evidence.situation
    items = tuple(result.scenario_id for result in members)
    advice = OBSERVATIONS.get(kind, UNKNOWN).advice
    if remedy == "constrain_decoding":
        return "Decode under the schema.", ChangeSetting(setting="contract.output.structured", before=False, after=True)
    if remedy == "raise_limit":
        before = None if now is None else now.max_tokens
        after = None if before is None else min(LONGEST_ANSWER, 2 * before)
        change = ChangeSetting(setting="contract.output.max_tokens", before=before, after=after)
        return "Raise the answer limit; the references need the room.", change
    if remedy == "few_shot":
        trial = next((each for each in evidence.trials if each.remedy == "few_shot"), None)
        shown = () if trial is None else trial.examples
        bought = "a first iterate run measures what that buys"
        if trial is not None:
            bought = f"measured, it moves core by {trial.comparison.difference.mean:+.3f}"
        return f"Show worked examples in the prompt: {bought}.", ShowExamples(count=len(shown) or EXAMPLES, rows=shown)
    if remedy in ("targeted_sft", "dpo", "grpo"):
        share = 0.0 if now is None else now.replay_share
        words = {
            "targeted_sft": advice,
            "dpo": "Train on pairs of accepted and failed answers to training prompts.",
            "grpo": "Train with the rubric as reward, once its pre-flight finds prompts that are neither hopeless nor solved.",
        }[remedy]
        method = {"targeted_sft": "sft", "dpo": "dpo", "grpo": "grpo"}[remedy]
        return words, TrainOn.model_validate({"method": method, "patterns": (pattern,), "replay_share": share})
    if remedy == "relabel_request":
        return "Have a person look at the labels again.", RelabelRequest(items=relabel_items(items, evidence.facts))
    if remedy == "scenario_proposal":
        proposal = ScenarioProposal(
            pattern=pattern,
            like=items[:MOST_LIKE],
            wanted=PROPOSED_SCENARIOS * min(MOST_LIKE, len(items)),
            why=f"{name} survived rounds that were aimed at it" if failure_class == "persistent" else f"{name} is not moved by the rows there are",
        )
        return "Ask for more scenarios like these, to see what the cause is.", proposal
    words = {
        "retry": "Measure again before acting on it." if failure_class == "instability" else "Ask again at the next measurement.",
        "inspect": "Read the examples first.",
        "escalate": "Hand it to a person: " + (f"{TAXONOMY[underlying].title.lower()}, and " if underlying else "") + "nothing cheaper is left.",
    }[remedy]
    return words, LookAt(items=items)


# ---- requests to people --------------------------------------------------------------------------------------------------------------------


def relabel_items(items: Sequence[str], facts: Mapping[str, ItemFact], scenarios: Mapping[str, Scenario] | None = None) -> tuple[RelabelItem, ...]:
    """The core items among `items` whose label is in doubt, strongest evidence first."""
    doubted = [(item, facts[item]) for item in items if item in facts and facts[item].failure_class in ("suspected_wrong_gold", "unlearnable")]
    doubted.sort(key=lambda pair: (-pair[1].strength, pair[0]))
    return tuple(
        RelabelItem(
            item=item,
            where="core",
            expected=scenarios[item].expected if scenarios and item in scenarios else None,
            suggested=fact.suggested,
            why=fact.why,
        )
        for item, fact in doubted
    )


def relabel_rows(conflicts: Sequence[RowConflict]) -> tuple[RelabelItem, ...]:
    """The training rows that teach two answers to nearly the same input: one entry a pair, named by its first row."""
    return tuple(
        RelabelItem(
            item=conflict.left.id,
            where="training",
            expected=conflict.left.expected,
            suggested=conflict.right.expected,
            why=f"its input is nearly that of training row {conflict.right.id} (similarity {conflict.similarity:.2f}), which expects another answer",
        )
        for conflict in conflicts
    )


def relabel_doubted(doubted: Sequence[tuple[TrainingRow, float]]) -> tuple[RelabelItem, ...]:
    """The training rows that were set aside, each with what is left of its loss (nats a token)."""
    return tuple(
        RelabelItem(
            item=row.id,
            where="training",
            expected=row.expected,
            suggested=None,
            why=f"a model that has learnt the other rows still finds this answer unlikely ({loss:.2f} nats a token), so the row was set aside",
        )
        for row, loss in doubted
    )


def scenario_proposals(patterns: Sequence[FailurePattern]) -> tuple[ScenarioProposal, ...]:
    """What persistent patterns ask for, largest first, whichever remedy comes before it."""
    return tuple(
        ScenarioProposal(
            pattern=pattern.pattern,
            like=pattern.scenario_ids[:MOST_LIKE],
            wanted=PROPOSED_SCENARIOS * min(MOST_LIKE, pattern.items),
            why=f"{pattern.name} survived rounds that were aimed at it",
        )
        for pattern in patterns
        if pattern.failure_class == "persistent"
    )


def best_trial(trials: Sequence[CheapTrial]) -> CheapTrial | None:
    """The trial with the largest gain that is shown to be one."""
    helped = [trial for trial in trials if shown_above_zero(trial.comparison)]
    return max(helped, key=lambda trial: trial.comparison.difference.mean, default=None)
