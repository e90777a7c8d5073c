"""Two measurements side by side. Held-out answers totals only, and where the ladder keeps a challenger's figures back, what it says instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from engine.evaluate.holdout import in_words
from engine.evaluate.statistics import MADE_BY, made_otherwise
from engine.evaluate.types import EvaluationSummary, Flip, PairedComparison, Reported, Split
from engine.showing.pages import Page
from engine.views import ComparisonPage, NextCall


def comparison_page(
    before: EvaluationSummary,
    after: EvaluationSummary,
    paired: PairedComparison,
    moved: Sequence[Flip],
    *,
    split: Split,
    metric: Literal["score", "pass_rate"],
    next_call: dict[str, Any],
    page: Page,
) -> ComparisonPage:
    """A comparison with its figures and a page of the items that moved."""
    return ComparisonPage(
        summary=comparison_sentence(before, after, paired, split),
        next=(why_it_fails(next_call),),
        before=before.subject,
        after=after.subject,
        split=split,
        metric=metric,
        before_score=paired.before,
        after_score=paired.after,
        difference=paired.difference,
        better=paired.better,
        worse=paired.worse,
        mcnemar_p=paired.mcnemar_p,
        detectable_difference=paired.detectable_difference,
        missing=paired.missing,
        flips=page.of(moved),
        next_cursor=page.next_cursor(len(moved)),
    )


def comparison_sentence(before: EvaluationSummary, after: EvaluationSummary, paired: PairedComparison, split: Split) -> str:
    """Which of the two is better, by how much, and what else differs between them."""
    low, high = paired.difference.low, paired.difference.high
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not shown to differ from"
    differ = made_otherwise(before.identity, after.identity)
    remark = f" They differ in {' and in '.join(MADE_BY[name] for name in differ)} too." if differ else ""
    return (
        f"{after.subject} is {verdict} {before.subject} on {split}: {paired.before.mean:.3f} -> {paired.after.mean:.3f}, "
        f"difference {paired.difference.mean:+.3f} [{low:+.3f}, {high:+.3f}], n={paired.difference.n}.{remark}"
    )


def kept_comparison(
    before: EvaluationSummary,
    after: EvaluationSummary,
    evaluation_id: str,
    said: Reported,
    *,
    metric: Literal["score", "pass_rate"],
    next_call: dict[str, Any],
) -> ComparisonPage:
    """A comparison on held-out whose figures are kept back."""
    return ComparisonPage(
        summary=f"{evaluation_id} on held-out is {in_words(said)}. Compare core, which shows figures and items.",
        next=(why_it_fails(next_call),),
        before=before.subject,
        after=after.subject,
        split="held_out",
        metric=metric,
        missing=0,
    )


def why_it_fails(arguments: dict[str, Any]) -> NextCall:
    """What makes sense after a comparison."""
    return NextCall(tool="diagnose", arguments=arguments, why="why the second one still fails")
