"""Rewards are what evaluation gives, and a step's figures are those of its answers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ArgumentInvalid
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.grading import grade
from engine.evaluate.types import Scenario
from engine.generate.types import Answer
from engine.train.reward import Rubric, Sampled, step_figures
from tests.train.tiny import letters_domain


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> CompiledDomain:
    return letters_domain(tmp_path_factory.mktemp("letters"))[1]


@given(text=st.text("abz ", max_size=6), ended=st.booleans(), at=st.integers(0, 23))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reward_is_the_score_that_evaluation_gives_the_same_answer(compiled: CompiledDomain, text: str, ended: bool, at: int) -> None:
    row = compiled.pool[at]
    rubric = Rubric(compiled, [row.id])
    item = Scenario(id=row.id, input=row.input, expected=row.expected, split="held_out")
    asked = Answer(key=row.id, text=text, finish_reason="stop" if ended else "length", completion_tokens=3)
    result = rubric.grade(Sampled(row.id, text, 3, ended))
    assert result.score == grade(compiled.domain, item, asked).score
    if not set(text) & {"a", "b"}:
        assert result.score == 0.0  # the safety net
    assert ("truncated" in result.observations) == (not ended)


def test_figures_tell_reward_spread_length_cuts_form_and_diversity_apart(compiled: CompiledDomain) -> None:
    first, second = compiled.pool[0], compiled.pool[1]  # references ab and ba
    rubric = Rubric(compiled, [first.id, second.id])
    answers = [
        Sampled(first.id, "ab", 3, True),
        Sampled(first.id, "a", 2, True),
        Sampled(second.id, "ab", 3, True),
        Sampled(second.id, "ab", 8, False),
    ]
    figures = step_figures(7, answers, rubric, [rubric.grade(answer) for answer in answers])
    assert figures.step == 7
    assert figures.reward == pytest.approx((1.0 + 0.5 + 0.5 + 0.5) / 4)
    assert figures.zero_spread == 0.5
    assert figures.length == 4.0
    assert (figures.cut, figures.outside) == (0.25, 0.75)
    assert figures.distinct == pytest.approx((1 / 2 + 2 / 2) / 2)


def test_a_row_without_a_reference_is_refused(compiled: CompiledDomain) -> None:
    with pytest.raises(ArgumentInvalid, match="no reference"):
        Rubric(compiled, [compiled.pool[0].id, "stranger"])
    assert Rubric(compiled, [row.id for row in compiled.pool]).references([row.id for row in compiled.pool]) == 4


def test_no_evaluation_item_can_be_rewarded(compiled: CompiledDomain) -> None:
    with pytest.raises(ArgumentInvalid):
        Rubric(compiled, [compiled.scenarios[0].id])
