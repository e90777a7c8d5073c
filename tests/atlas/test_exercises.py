"""Exercises about the atlas: what is asked has one right answer, which follows from the formulas."""

from __future__ import annotations

import pytest

from engine.atlas.calibration import calibration
from engine.atlas.catalogue import Catalogue, catalogue
from engine.atlas.exercises import EXERCISES, TOLERANCE, Exercise, Subject, exercises, is_right
from engine.atlas.types import Deployment

L4 = Deployment("L4 24GB", 1, "bf16", 1024, 256, 8)


def asked(name: str, model: str = "Qwen/Qwen3-4B", where: Deployment = L4, atlas: Catalogue | None = None) -> Exercise | None:
    found = exercises([name], atlas or catalogue(), Subject((model,), where), calibration())
    return found[0] if found else None


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_asked_has_one_answer_that_is_right_and_is_not_asked_where_something_is_not_known(name: str) -> None:
    found = [each for model in catalogue().models if (each := asked(name, model)) is not None]
    assert found
    for each in found:
        assert is_right(each, str(each.right))
        assert not is_right(each, "")
        assert not is_right(each, "nan")
        if each.choices:
            assert len(set(each.choices)) == len(each.choices)
            assert [choice for choice in each.choices if is_right(each, choice)] == [each.right]
        else:
            assert isinstance(each.right, float)
            assert not is_right(each, str(each.right * (1 + 2 * TOLERANCE)))


def test_the_weights_of_a_model_are_its_parameters_times_their_bits() -> None:
    found = asked("weights")
    model = catalogue().models["Qwen/Qwen3-4B"]
    assert found
    assert model.vocabulary
    assert model.hidden_size
    assert model.parameters_billion
    table = model.vocabulary * model.hidden_size
    assert is_right(found, str(((model.parameters_billion * 1e9 - table) * 4.25 + table * 16) / 8 / 2**30))


def test_idle_hours_are_paid_for() -> None:
    found = asked("cost")
    assert found
    assert "4 times the price" in found.because


def test_one_pass_over_the_weights_bounds_the_time_of_a_token() -> None:
    one, two = asked("floor"), asked("floor", where=L4._replace(cards=2))
    assert one
    assert two
    assert one.right == pytest.approx(2 * float(two.right))


def test_nothing_is_asked_about_hardware_that_is_not_named_or_does_not_hold_the_load() -> None:
    nowhere, crowded = L4._replace(accelerator=None), L4._replace(concurrency=4096)
    for name in ("cost", "doubled"):
        assert asked(name, where=crowded) is None
    for name in ("cost", "doubled", "floor", "largest"):
        assert asked(name, where=nowhere) is None


def test_with_more_requests_in_flight_caches_outgrow_the_weights() -> None:
    few, many = asked("largest", where=L4._replace(concurrency=1)), asked("largest", where=L4._replace(concurrency=16))
    assert few
    assert many
    assert (few.right, many.right) == ("the weights", "the caches")


def test_four_hundred_items_tell_a_share_to_five_points() -> None:
    found = asked("items")
    assert found
    assert found.right == pytest.approx(385)


def test_without_a_model_a_usual_one_stands_in() -> None:
    found = exercises(["weights"], catalogue(), Subject((), L4), calibration())
    assert len(found) == 1
