"""Groups failed scenarios into patterns, each with its class, its trend and a plan.

One pass over the results of a core split. What is known across measurements comes first (an item whose label is in doubt is no matter of
training, whatever the checks saw); then each failed item is put under its most telling observation (the order of `OBSERVATIONS` in
`engine/diagnose/taxonomy.py`); what no observation tells apart is grouped by the checks that failed and then by similar inputs; last, groups
too small to act on are merged into their kind. Pure: no model, no store, no clock. It never sees held-out items; the caller passes core
results only, and a result of another split is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from engine.diagnose.facts import Evidence
from engine.diagnose.gains import FixRate, expected_gain, fix_rates
from engine.diagnose.remedies import plan_remedy
from engine.diagnose.taxonomy import LIKE, class_of, known_observations, pattern_id, pattern_name, telling_observation
from engine.diagnose.trends import trend_of
from engine.diagnose.types import Diagnosis, FailureClass, FailurePattern, Remedy
from engine.evaluate.similarity import near_duplicates_within
from engine.evaluate.types import ItemResult

ALIKE = 0.2
"""Jaccard similarity of 5-grams at which two inputs of one unexplained failure are grouped: the same wording with other fillings."""
UNTOLD = frozenset({"unknown", "mismatch"})
"""Kinds that say little when they have no detail: what they leave together is grouped further."""
BROKEN: frozenset[FailureClass] = frozenset({"truncation", "over_refusal", "refusal", "format"})
NOTHING = Evidence()

_Groups = dict[tuple[str, str], list[ItemResult]]


def diagnose(results: Sequence[ItemResult], evidence: Evidence = NOTHING, *, minimum_items: int = 2, most_patterns: int = 24) -> Diagnosis:
    """Groups the failures among `results`. Groups of fewer than `minimum_items`, and those past `most_patterns`, join their kind's `other`."""
    foreign = {result.split for result in results} - {"core"}
    if foreign:
        raise ValueError(f"diagnosis reads the core split only; it was given {', '.join(sorted(foreign))}")
    graded = [result for result in results if result.outcome == "graded"]
    failed = [result for result in graded if not result.passed]
    groups: _Groups = defaultdict(list)
    for result in failed:
        groups[_cause(result, evidence)].append(result)
    groups = _merge_rare(_tell_apart(groups, evidence.texts), minimum_items, most_patterns)
    rates = fix_rates(evidence.rounds, evidence.trials)
    patterns = [_pattern(kind, detail, members, len(graded), evidence, rates) for (kind, detail), members in groups.items()]
    patterns.sort(key=lambda pattern: (-pattern.items, pattern.pattern))
    return Diagnosis(graded=len(graded), failed=len(failed), lost=len(results) - len(graded), patterns=tuple(patterns))


def _cause(result: ItemResult, evidence: Evidence) -> tuple[str, str]:
    """What a failed item is put under: a fact across measurements, else its most telling observation."""
    fact = evidence.facts.get(result.scenario_id)
    return (fact.failure_class, "") if fact is not None else telling_observation(result)


def _tell_apart(groups: _Groups, texts: Mapping[str, str]) -> _Groups:
    """The groups, with those that say little split by the checks that failed, and by similar inputs where the texts are known."""
    told: _Groups = defaultdict(list)
    for (kind, detail), members in groups.items():
        if kind not in UNTOLD or detail:
            told[kind, detail].extend(members)
            continue
        by_checks: dict[str, list[ItemResult]] = defaultdict(list)
        for result in members:
            by_checks[", ".join(sorted({check.name for check in result.checks if check.value < 1.0}))].append(result)
        for checks, those in by_checks.items():
            split = checks if kind == "unknown" and len(by_checks) > 1 else ""
            for name, alike in _alike(those, texts).items():
                told[kind, name or split].extend(alike)
    return told


def _alike(members: Sequence[ItemResult], texts: Mapping[str, str]) -> dict[str, list[ItemResult]]:
    """Members in groups of similar inputs (connected by pairs of at least ALIKE); under "" those that are like no other."""
    known = [result for result in members if result.scenario_id in texts]
    leader = list(range(len(known)))

    def find(position: int) -> int:
        while leader[position] != position:
            leader[position] = leader[leader[position]]
            position = leader[position]
        return position

    for pair in near_duplicates_within([texts[result.scenario_id] for result in known], ALIKE):
        low, high = sorted((find(pair.left), find(pair.right)))
        leader[high] = low
    clusters: dict[int, list[ItemResult]] = defaultdict(list)
    for position, result in enumerate(known):
        clusters[find(position)].append(result)
    groups: dict[str, list[ItemResult]] = defaultdict(list)
    groups[""].extend(result for result in members if result.scenario_id not in texts)
    for cluster in clusters.values():
        everyone = len(cluster) == len(members)
        name = "" if len(cluster) == 1 or everyone else LIKE + min(result.scenario_id for result in cluster)
        groups[name].extend(cluster)
    return {name: found for name, found in groups.items() if found}


def _merge_rare(groups: _Groups, minimum_items: int, most_patterns: int) -> _Groups:
    by_size = sorted(groups, key=lambda key: (-len(groups[key]), key))
    merged: _Groups = defaultdict(list)
    for position, (kind, detail) in enumerate(by_size):
        keep = len(groups[kind, detail]) >= minimum_items and position < most_patterns
        merged[kind, detail if keep else ""].extend(groups[kind, detail])
    return merged


def _pattern(
    kind: str, detail: str, members: list[ItemResult], graded: int, evidence: Evidence, rates: Mapping[tuple[FailureClass, Remedy], FixRate]
) -> FailurePattern:
    identity, name, share = pattern_id(kind, detail), pattern_name(kind, detail), len(members) / graded
    learned = evidence.learned.get(identity) if class_of(kind) == "unknown" else None
    own = learned or class_of(kind)
    stuck = 2 * sum(result.scenario_id in evidence.persistent for result in members) >= len(members) and bool(evidence.persistent)
    failure_class: FailureClass = "persistent" if stuck else own
    worst_first = sorted(members, key=lambda result: (result.score, result.scenario_id))
    plan = plan_remedy(failure_class, kind, identity, name, worst_first, evidence, own if stuck else None)
    by_observation = bool(detail) and not detail.startswith(LIKE) and kind != "unknown"
    return FailurePattern(
        pattern=identity,
        kind=kind,
        detail=detail,
        name=name,
        items=len(members),
        share=share,
        failure_class=failure_class,
        underlying=own if stuck else None,
        confidence=1.0 if learned else fmean(_agreement(result, own, evidence) for result in members),
        trend=trend_of(evidence.rounds, kind, detail, [result.scenario_id for result in members], by_observation=by_observation),
        remedy=plan.remedy,
        remedy_in_words=plan.words,
        plan=plan,
        gain=expected_gain(share, own, plan.remedy, rates),
        scenario_ids=tuple(result.scenario_id for result in worst_first),
    )


def _agreement(result: ItemResult, failure_class: FailureClass, evidence: Evidence) -> float:
    """1 when everything observed points to this class, 0 when something else was seen as well; of a fact, its strength. Of a broken answer
    everything else that is wrong with it is a consequence."""
    fact = evidence.facts.get(result.scenario_id)
    if fact is not None:
        return fact.strength
    return float(failure_class in BROKEN or {class_of(kind) for kind, _ in known_observations(result)} == {failure_class})
