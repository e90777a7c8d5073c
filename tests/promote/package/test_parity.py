"""What counts as the same model: judged on answers, score, log-probabilities and on what is missing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import Inference, ModelProfile, PackageWeights, ScriptedProfile
from engine.evaluate.types import ItemResult
from engine.generate.types import FingerprintReport
from engine.promote.checks import export_parity
from engine.promote.package.forms import likeness, wanted_forms
from engine.promote.package.parity import SAME_ANSWERS, Replayed, holds, parity_of
from engine.promote.types import Exported, FormParity
from tests.promote.judged import IDENTITY, NOW, grounds

MATCH = FingerprintReport(verdict="match", mean_difference=0.03, limit=0.2)
SMALL = ModelProfile(
    title="Small",
    license="Apache-2.0",
    parameters_billion=0.1,
    weights=PackageWeights(package="p", file="f.gguf"),
    inference=Inference(max_model_len=512),
)


def answers(count: int = 100, *, other: int = 0, score: float = 1.0, other_score: float = 1.0, split: str = "core") -> tuple[ItemResult, ...]:
    """Answers to `count` items; the first `other` of them differ and have their own score."""
    return tuple(
        ItemResult.model_validate(
            {
                "scenario_id": f"s{n}", "split": split, "outcome": "graded", "score": other_score if n < other else score,
                "answer": "otherwise" if n < other else f"answer {n}",
            }
        )
        for n in range(count)
    )  # fmt: skip


def replayed(*results: ItemResult, report: FingerprintReport = MATCH) -> Replayed:
    return Replayed("engine 1 (base)", report, results, 1.0)


def failing(parity: FormParity) -> set[str]:
    return {figure.name for figure in parity.figures if not figure.holds}


def test_the_same_answers_agree() -> None:
    parity = parity_of("merged", "same", answers(), replayed(*answers()))
    assert parity.agrees
    assert {figure.name: figure.figure for figure in parity.figures} == {"answers": 1.0, "lost": 0, "score": 0.0, "logprobs": 0.03}


@pytest.mark.parametrize(("like", "tolerated"), [("same", 10), ("rounded", 20), ("quantised", 50)])
def test_as_many_other_answers_are_tolerated_as_rounding_explains(like: Any, tolerated: int) -> None:
    assert parity_of("merged", like, answers(), replayed(*answers(other=tolerated))).agrees
    one_more = parity_of("merged", like, answers(), replayed(*answers(other=tolerated + 1)))
    assert failing(one_more) == {"answers"}
    shown = next(figure for figure in one_more.figures if figure.name == "answers")
    assert shown.limit == SAME_ANSWERS[like]
    assert f"{99 - tolerated} of 100 answers" in shown.sentence


@pytest.mark.parametrize(("score", "other_score"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_score_that_moves_either_way_is_another_model(score: float, other_score: float) -> None:
    before = answers(score=score)
    assert parity_of("merged", "quantised", before, replayed(*answers(other=5, score=score, other_score=other_score))).agrees
    assert failing(parity_of("merged", "quantised", before, replayed(*answers(other=6, score=score, other_score=other_score)))) == {"score"}


def test_an_item_without_an_answer_is_no_agreement() -> None:
    lost = (*answers()[:-1], ItemResult(scenario_id="s99", split="core", outcome="error"))
    for results in (answers(99), lost):
        assert failing(parity_of("merged", "same", answers(), replayed(*results))) == {"lost"}


def test_weights_that_are_others_agree_in_nothing_for_nothing_was_asked() -> None:
    mismatch = FingerprintReport(verdict="mismatch", mean_difference=0.7, limit=0.2)
    parity = parity_of("merged", "same", answers(), replayed(report=mismatch))
    assert failing(parity) == {"answers", "lost", "score", "logprobs"}
    assert "0.700 nats" in parity.figures[0].sentence


def test_weights_without_a_fingerprint_are_judged_by_their_answers() -> None:
    unproved = FingerprintReport(verdict="unproved")
    assert [figure.name for figure in parity_of("merged", "same", answers(), replayed(*answers(), report=unproved)).figures] == ["answers", "lost", "score"]


def test_held_out_answers_are_looked_at_by_nobody() -> None:
    before = (*answers(10), *answers(10, split="held_out"))
    assert parity_of("merged", "same", before, replayed(*answers(10))).items == 10


def test_nothing_to_compare_is_no_agreement() -> None:
    assert not parity_of("merged", "same", (), replayed()).agrees


@given(name=st.sampled_from(["answers", "lost", "score", "logprobs"]), limit=st.floats(0, 1))
def test_a_figure_that_is_no_number_holds_nowhere(name: str, limit: float) -> None:
    assert not any(holds(name, figure, limit) for figure in (None, math.nan, math.inf, -math.inf))


# ---- the forms -------------------------------------------------------------------------------------------------------------------------


def test_a_profile_is_exported_in_the_forms_that_it_can_have_and_the_rest_is_said() -> None:
    assert wanted_forms(SMALL).forms == ("adapter", "merged")
    assert wanted_forms(SMALL).absent == ("A quantised form: the profile asks for none.",)
    asked = SMALL.model_copy(update={"quantised_export": "int8"})
    assert wanted_forms(asked) == (("adapter", "merged", "int8"), ())
    four_bits = asked.model_copy(update={"inference": SMALL.inference.model_copy(update={"quantization": "bitsandbytes"})})
    assert wanted_forms(four_bits).forms == ("adapter",)
    assert [sentence.split(":")[0] for sentence in wanted_forms(four_bits).absent] == ["Merged weights", "The form int8, which the profile asks for"]
    assert wanted_forms(ScriptedProfile()).forms == ("adapter",)


def test_a_form_is_held_to_more_where_it_is_the_one_that_was_evaluated() -> None:
    assert [likeness(form, SMALL, "cpu") for form in ("adapter", "merged", "int8")] == ["rounded", "same", "quantised"]
    assert [likeness(form, SMALL, "cuda") for form in ("adapter", "merged", "int8")] == ["same", "rounded", "quantised"]
    assert likeness("adapter", ScriptedProfile(), "cpu") == "same"


# ---- the gate --------------------------------------------------------------------------------------------------------------------------


def exported(*forms: FormParity, package: str | None = "a" * 64, prompt: str = IDENTITY.prompt) -> Exported:
    return Exported(run_id="export-1", evaluation_id="evaluate-1", prompt=prompt, sources="s", forms=forms, absent=(), package=package)


SAME = parity_of("merged", "same", answers(), replayed(*answers(other=3)))
OTHER = parity_of("adapter", "rounded", answers(), replayed(*answers(other=40)))


def test_the_gate_shows_the_lowest_share_of_equal_answers() -> None:
    check = export_parity(grounds(exported=exported(SAME)), NOW)
    assert (check.passed, check.figure, check.limit, check.opens) == (True, 0.97, 0.9, "")


def test_the_gate_names_the_form_that_disagrees_with_its_figure_and_its_limit() -> None:
    check = export_parity(grounds(exported=exported(SAME, OTHER, package=None)), NOW)
    assert (check.passed, check.figure, check.limit) == (False, 0.6, 0.8)
    assert check.sentence.startswith("adapter: 60 of 100 answers")
    assert check.opens


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "No package of this version"),
        (exported(SAME, prompt="another contract"), "another contract than the present one"),
        (exported(), "no form that was replayed"),
        (exported(SAME, package=None), "no form that was replayed"),
    ],
)
def test_a_version_without_a_package_of_the_present_contract_stays_where_it_is(found: Exported | None, said: str) -> None:
    check = export_parity(grounds(exported=found), NOW)
    assert not check.passed
    assert check.figure is None
    assert said in check.sentence
    assert check.opens.startswith("promote(")
