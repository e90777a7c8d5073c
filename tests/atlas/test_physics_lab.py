"""`physics_lab`, as its callers see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import ArgumentInvalid, NotFound
from tests.workspaces import make_workspace
from tools.lab import PHYSICS_LAB
from tools.tool import call


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = Engine.open(make_workspace(tmp_path))
    yield opened
    opened.close()


def lab(engine: Engine, **knobs: Any) -> dict[str, Any]:
    return call(engine, PHYSICS_LAB, {"model": "Qwen/Qwen3-4B", "accelerator": "L4"} | knobs)


def test_it_names_what_it_took_and_reckons_with_the_catalogues_price_unless_one_is_given(engine: Engine) -> None:
    usual, own = lab(engine), lab(engine, usd_per_hour=1.61)
    assert usual["accelerator"] == "L4 24GB"
    assert usual["usd_per_hour"] == 0.805
    assert own["months"][-1]["usd"]["value"] == pytest.approx(2 * usual["months"][-1]["usd"]["value"], rel=0.01)


def test_what_is_not_held_has_no_times_and_costs_nothing(engine: Engine) -> None:
    page = lab(engine, concurrency=512)
    assert "does not fit" in page["summary"]
    assert page["months"] == []
    assert "tpot_ms" not in page["loads"][-1]
    assert "tpot_ms" in page["loads"][0]


def test_each_figure_has_its_interval_or_none_and_says_so(engine: Engine) -> None:
    page = lab(engine)
    methods = {line["method"]: line for line in page["training"]}
    assert methods["LoRA"]["peak_gib"].keys() == {"value", "low", "high"}
    assert methods["full fine-tuning"]["peak_gib"].keys() == {"value"}
    assert any("have no interval" in words for words in page["assumptions"])


def test_stages_and_experts_on_cards_of_their_own_take_more_cards_and_say_that_nobody_measured_them(engine: Engine) -> None:
    staged = lab(engine, cards=2, pipeline=2)
    assert staged["accelerators"] == 4
    assert any("Stages" in words for words in staged["assumptions"])
    assert lab(engine, model="openai/gpt-oss-20b", quantisation="mxfp4", experts_over=4)["accelerators"] == 4


def test_names_that_are_not_there_are_refused_with_those_that_are(engine: Engine) -> None:
    with pytest.raises(ArgumentInvalid) as refused:
        lab(engine, quantisation="int3")
    assert "int4" in refused.value.next_step
    with pytest.raises(NotFound):
        lab(engine, model="nope")
