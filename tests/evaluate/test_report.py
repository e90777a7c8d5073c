"""The page: everything a person needs, nothing that runs, nothing of held-out but aggregates."""

from __future__ import annotations

import re

import pytest

from engine.evaluate.report import PatternRow, Rival, render_report
from engine.evaluate.statistics import compare, flips, summarise_split
from engine.evaluate.types import EvaluationSummary, ItemResult, ScoreIdentity
from tests.evaluate.samples import result
from tests.pages import assert_harmless

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


def subject(name: str, gain: float) -> tuple[EvaluationSummary, list[ItemResult]]:
    rows = [
        result(
            n,
            min(1.0, n % 5 / 5 + gain),
            split="core" if n % 2 else "held_out",
            tags={"kind": HOSTILE if n % 3 else "bus"},
            scenario_id=f"s{n}{HOSTILE}",
        )
        for n in range(40)
    ]
    identity = ScoreIdentity(suite="a" * 64, grading="b" * 64, prompt="c" * 64, settings="d" * 64, generator="e" * 64)
    splits = tuple(summarise_split(rows, split, slices=("kind",)) for split in ("core", "held_out"))
    return EvaluationSummary(identity=identity, subject=name, splits=splits, structured=True, generated=40, cached=0, seconds=1.5), rows


@pytest.fixture
def page() -> str:
    (before, old), (after, new) = subject("base", 0.0), subject("v-1", 0.3)
    paired = compare(old, new, split="held_out")
    return render_report(
        title=HOSTILE,
        evaluation_id="evaluate-1",
        created_at="2026-11-21T05:12:00.000Z",
        description="Sorts messages.",
        summary=after,
        rivals=[Rival("base", before, paired)],
        patterns=[PatternRow(HOSTILE, 3, 0.15, "Train on more rows like these.")],
        flips=flips(old, new, split="core"),
        flips_against="base",
        structured_effect=compare(old, new, split="core"),
    )


def test_hostile_text_stays_text_and_nothing_is_loaded(page):
    assert_harmless(page)
    assert "&lt;script&gt;" in page


def test_the_page_says_how_it_stands_against_each_rival(page):
    assert '<b class="good">better</b>' in page
    assert re.search(r"exact McNemar p (=|&lt;|<) ", page)
    assert "v-1" in page
    assert "a" * 64 in page


def test_held_out_items_are_not_on_the_page(page):
    even = [number for number in range(0, 40, 2) if f"s{number}&lt;" in page]
    assert even == []
    assert "s1&lt;" in page


def test_a_measurement_on_its_own_has_a_page():
    summary, _ = subject("base", 0.0)
    page = render_report(title="t", evaluation_id="e", created_at="now", description="d", summary=summary)
    assert "paired on the same items" not in page
    assert "Score on held-out" in page
