"""Groups failed scenarios into patterns by what the checks saw.

One pass over the results of a core split: each failed item is put under its most telling observation (the order of `KINDS`: a broken
answer explains a wrong field, not the other way round), then groups too small to act on are merged into their kind. Pure: no model, no
text similarity, no clock. It never sees held-out items; the caller passes core results only, and a result of another split is refused.

The observations come from `engine/evaluate/checks.py`, as `kind` or `kind:detail`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.diagnose.types import Diagnosis, FailurePattern, Remedy
from engine.evaluate.types import ItemResult


class Kind(NamedTuple):
    """One kind of observation: how to say it, and what to do about it."""

    name: Callable[[str], str]
    remedy: Remedy
    remedy_in_words: str


def _pair(detail: str) -> str:
    expected, _, got = detail.partition("->")
    return f"{expected!r} answered as {got!r}"


_FORMAT = "Decode under the schema (contract.output.structured), then train on the format."
_ROWS_LIKE_THESE = "Train on more rows like these."
_BOTH_LABELS = "Train on more rows of both labels, side by side."
_WITH_FIELD = "Train on more rows that have this field."
_WITH_AND_WITHOUT = "Train on rows with and without it."

KINDS: dict[str, Kind] = {
    "infrastructure": Kind(lambda d: f"no answer: {d or 'infrastructure'}", "retry", "Not the model's doing: asked again at the next measurement."),
    "empty": Kind(lambda d: "empty answer", "targeted_training", "Train on rows like these; check that the prompt ends where an answer begins."),
    "refusal": Kind(lambda d: "refusal", "targeted_training", "Train on rows like these, so that the model answers instead of declining."),
    "truncated": Kind(lambda d: "cut off at the answer limit", "raise_limit", "Raise contract.output.max_tokens, or train for shorter answers."),
    "invalid_json": Kind(lambda d: "not valid JSON", "constrain_decoding", _FORMAT),
    "fenced_json": Kind(lambda d: "JSON inside a Markdown fence", "constrain_decoding", _FORMAT),
    "schema": Kind(lambda d: f"violates the output schema at {d or 'the top'}", "constrain_decoding", _FORMAT),
    "invented_label": Kind(lambda d: f"answers {d!r}, which is not a label", "constrain_decoding", "Decode under the schema: only known labels."),
    "wrong_label": Kind(_pair, "targeted_training", _BOTH_LABELS),
    "missing_field": Kind(lambda d: f"leaves out {d!r}", "targeted_training", _WITH_FIELD),
    "missing_item": Kind(lambda d: f"leaves out {d}", "targeted_training", "Train on more rows that have this item."),
    "invented_field": Kind(lambda d: f"adds {d!r} where there is none", "targeted_training", _WITH_AND_WITHOUT),
    "invented_item": Kind(lambda d: f"adds {d} where there is none", "targeted_training", _WITH_AND_WITHOUT),
    "wrong_field": Kind(lambda d: f"wrong value in {d!r}", "targeted_training", _WITH_FIELD),
    "ungrounded": Kind(lambda d: f"a value in {d!r} that the input lacks", "targeted_training", "Train on rows that copy it from the input."),
    "pattern_missing": Kind(lambda d: f"lacks the required pattern{f' at {d!r}' if d else ''}", "targeted_training", _ROWS_LIKE_THESE),
    "missing_text": Kind(lambda d: f"lacks a required text{f' at {d!r}' if d else ''}", "targeted_training", _ROWS_LIKE_THESE),
    "forbidden_text": Kind(lambda d: f"holds a forbidden text{f' at {d!r}' if d else ''}", "targeted_training", _ROWS_LIKE_THESE),
    "mismatch": Kind(lambda d: f"differs from the expected answer{f' at {d!r}' if d else ''}", "targeted_training", _ROWS_LIKE_THESE),
    "breach": Kind(lambda d: f"breaches the safety net {d!r}", "inspect", "Read the examples: a breach overrides every other check."),
}
"""In order of precedence: an item belongs to the first kind that it shows."""

UNKNOWN = Kind(lambda d: "failed for a reason that no check names", "inspect", "Read the examples; a check that names the cause helps.")


def diagnose(results: Sequence[ItemResult], *, minimum_items: int = 2, most_patterns: int = 24) -> Diagnosis:
    """Groups the failures among `results`. Groups of fewer than `minimum_items`, and those past `most_patterns`, join their kind's `other`."""
    foreign = {result.split for result in results} - {"core"}
    if foreign:
        raise ValueError(f"diagnosis reads the core split only; it was given {', '.join(sorted(foreign))}")
    graded = [result for result in results if result.outcome == "graded"]
    failed = [result for result in graded if not result.passed]
    groups: dict[tuple[str, str], list[ItemResult]] = defaultdict(list)
    for result in failed:
        groups[telling_observation(result)].append(result)
    groups = _merge_rare(groups, minimum_items, most_patterns)
    patterns = [_pattern(kind, detail, members, len(graded)) for (kind, detail), members in groups.items()]
    patterns.sort(key=lambda pattern: (-pattern.items, pattern.pattern))
    return Diagnosis(graded=len(graded), failed=len(failed), lost=len(results) - len(graded), patterns=tuple(patterns))


def telling_observation(result: ItemResult) -> tuple[str, str]:
    """The (kind, detail) that says most about why `result` failed; `("unknown", "")` when no observation names a cause."""
    observations = [f"breach:{net}" for net in result.breached] + list(result.observations)
    order = list(KINDS)
    known = [(order.index(kind), kind, detail) for kind, _, detail in (o.partition(":") for o in observations) if kind in KINDS]
    if not known:
        return "unknown", ""
    rank = min(known)[0]
    details = [detail for position, _, detail in known if position == rank]
    return order[rank], details[0]


def _merge_rare(
    groups: dict[tuple[str, str], list[ItemResult]], minimum_items: int, most_patterns: int
) -> dict[tuple[str, str], list[ItemResult]]:
    by_size = sorted(groups, key=lambda key: (-len(groups[key]), key))
    merged: dict[tuple[str, str], list[ItemResult]] = defaultdict(list)
    for position, (kind, detail) in enumerate(by_size):
        keep = len(groups[kind, detail]) >= minimum_items and position < most_patterns
        merged[kind, detail if keep else ""].extend(groups[kind, detail])
    return merged


def _pattern(kind_name: str, detail: str, members: list[ItemResult], graded: int) -> FailurePattern:
    kind = KINDS.get(kind_name, UNKNOWN)
    worst_first = sorted(members, key=lambda result: (result.score, result.scenario_id))
    return FailurePattern(
        pattern=pattern_id(kind_name, detail),
        kind=kind_name,
        detail=detail,
        name=pattern_name(kind_name, detail),
        items=len(members),
        share=len(members) / graded,
        remedy=kind.remedy,
        remedy_in_words=kind.remedy_in_words,
        scenario_ids=tuple(result.scenario_id for result in worst_first),
    )


def pattern_id(kind: str, detail: str) -> str:
    """The id of a group: the observation that it shares, or `<kind>:other` for a kind's rare ones."""
    return f"{kind}:{detail}" if detail else (kind if kind in _WITHOUT_DETAIL else f"{kind}:other")


def pattern_name(kind: str, detail: str) -> str:
    """A group in words."""
    if detail or kind in _WITHOUT_DETAIL:
        return KINDS.get(kind, UNKNOWN).name(detail)
    return f"{kind.replace('_', ' ')}, various"


_WITHOUT_DETAIL = frozenset({"empty", "refusal", "truncated", "invalid_json", "unknown"})
